"""Argo on the real node as a place where our pipelines run: the Python of this machine mounted into every pod, the store in MinIO."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reelspace.core.s3_store import S3Place, S3Store
from reelspace.core.step_records import JournalEntry, read_journal

from .argo import Argo, argo_controller, write_executor_image
from .control_plane import Json
from .images import write_image
from .isolation import isolated_host
from .namespaces import fresh_namespace
from .object_store import ARTIFACTS, ObjectStore, object_store
from .real_node import PACKAGES, RealNode, real_node
from .tools import ARGO, CONTROL_PLANE, NODE, need_programs, need_tools

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/system:test"
OUR_IMAGES = tuple(f"reelspace/python-{kind}:0.1.0" for kind in ("search", "signals", "train"))
LIMIT_S = 900.0
_LINKS = {"/bin": "usr/bin", "/lib": "usr/lib", "/lib64": "usr/lib64"}
# An image with torch has 6 GB: what it would hold is mounted where it lies here, which is where Python was built to find it.
_MOUNTED = (Path("/usr"), Path(sys.prefix), Path(sys.base_prefix))


def write_system_image(path: Path) -> Path:
    """Write an image without any program: links to what is mounted at /usr."""
    return write_image(path, IMAGE, {}, (), _LINKS)


@dataclass(frozen=True, slots=True)
class ArgoPlace:
    """A namespace in which pipelines of a checkout run, and a store of their own; steps read the folders of `data` where they lie here."""

    argo: Argo
    store: ObjectStore
    folder: Path
    store_url: str
    checkout: Path = ROOT
    data: tuple[Path, ...] = ()

    def prepare(self) -> None:
        """Make the claims, the keys of the store, and the file of the place's settings."""
        namespace = self.argo.cluster.namespace
        environment = dict(self.store.environment())
        endpoint = environment.pop("REELSPACE_S3_ENDPOINT")
        self.argo.cluster.apply(
            self.store.secret(),
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store-environment"}, "stringData": environment},
            *(one for number, path in enumerate(self.mounted()) for one in _claim(namespace, f"mounted-{number}", path)),
        )
        variables = {
            "PATH": f"{sys.prefix}/bin:/bin",
            "PYTHONPATH": str(self.checkout),
            "PYTHONDONTWRITEBYTECODE": "1",
            "REELSPACE_S3_ENDPOINT": endpoint,
            "OMP_NUM_THREADS": "1",
        }
        keys = {"secret": "store-keys", "access_key": "access", "secret_key": "secret"}
        options = {
            "s3": {"endpoint": self.store.endpoint, "bucket": ARTIFACTS, "insecure": True, **keys},
            "archive_logs": True,
            "environment": [{"name": name, "value": value} for name, value in variables.items()],
            "environment_secrets": ["store-environment"],
            "mounts": [{"claim": f"mounted-{number}", "path": str(path)} for number, path in enumerate(self.mounted())],
            "images": dict.fromkeys(OUR_IMAGES, IMAGE),
            "retries": 2,
        }
        place = {"namespace": namespace, "api": self._api(), "options": options}
        self.file.write_text(json.dumps(place))

    def mounted(self) -> list[Path]:
        """The folders that pods see, without those that lie in another one."""
        paths = list(dict.fromkeys((*_MOUNTED, self.checkout, *self.data)))
        return [path for path in paths if not any(other in path.parents for other in paths)]

    def _api(self) -> Json:
        cluster, token = self.argo.cluster, self.folder / "token"
        token.write_text(json.loads(cluster.kubeconfig().read_text())["users"][0]["user"]["token"])
        token.chmod(0o600)
        return {"url": cluster.url, "token_file": str(token), "ca_file": str(cluster.folder / "ca.crt")}

    def asked(self, tables: str, sections: Mapping[str, object]) -> list[str]:
        """Arguments that say what to run here, with what."""
        (self.folder / "settings.json").write_text(json.dumps(sections))
        files = [f"--settings={self.folder}/settings.json", f"--place={self.file}", f"--work={self.folder}/work"]
        return [*files, "--where=argo", f"--tables={tables}", f"--store={self.store_url}"]

    def reelspace(self, command: str, *given: str) -> "subprocess.CompletedProcess[str]":
        """Run `reelspace pipeline` to its end; the store is asked for where nothing else says which."""
        words = [sys.executable, "-m", "reelspace.cli", "pipeline", command, *given]
        return subprocess.run(words, cwd=self.checkout, env=self.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def steps(self, run: str = "last") -> dict[str, Json]:
        """What `status` says of a run's steps."""
        told = self.reelspace("status", run, "--json")
        assert told.returncode == 0, told.stderr
        return {row["step"]: row for row in json.loads(told.stdout)}

    def runs(self) -> dict[str, Json]:
        """What `status` says of all runs, by their ids, the newest first."""
        told = self.reelspace("status", "--json")
        assert told.returncode == 0, told.stderr
        return {row["run_id"]: row for row in json.loads(told.stdout)}

    def journal(self, run_id: str) -> dict[str, JournalEntry]:
        """What the steps of a run left in the store, by their names."""
        return read_journal(S3Store(S3Place.from_environment(self.store_url, self.environment)), run_id)

    @property
    def file(self) -> Path:
        """The settings of the place, for `--place`."""
        return self.folder / "place.json"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which `reelspace` reaches the store."""
        return os.environ | self.store.environment() | {"REELSPACE_STORE": self.store_url}


@contextmanager
def argo_place(
    argo: Argo, node: RealNode, store: ObjectStore, folder: Path, checkout: Path = ROOT, data: tuple[Path, ...] = ()
) -> Iterator[ArgoPlace]:
    """Prepare a new namespace as a place with a new store; at the end it is gone, and its volumes too.

    Args:
        folder: for the files of the place; it exists.
        checkout: whose pipelines run, with its sources.
        data: folders that steps read where they lie here.
    """
    node.load(write_system_image(folder / "system.tar"))
    with fresh_namespace(node.cluster) as cluster:
        place = ArgoPlace(argo.within(cluster), store, folder, f"s3://{store.make_bucket()}/store", checkout, data)
        place.prepare()
        try:
            yield place
        finally:
            # Volumes belong to no namespace.
            volumes = [f"{cluster.namespace}-mounted-{number}" for number in range(len(place.mounted()))]
            cluster.kubectl("delete", "pv", *volumes, "--wait=false")


@contextmanager
def lone_argo_place(folder: Path) -> Iterator[ArgoPlace]:
    """Start a node, MinIO and Argo for one place, and end them: for a program that has no fixtures; skips as these do."""
    host = isolated_host()
    need_tools(*CONTROL_PLANE, *NODE, *ARGO, "minio")
    need_programs({"openssl": "openssl", **PACKAGES})
    with real_node(folder / "real", host) as node, object_store(folder / "minio", host) as store:
        store.make_bucket(ARTIFACTS)
        node.load(write_executor_image(folder / "argoexec.tar"))
        settings = {"artifactRepository": store.repository(ARTIFACTS)}
        with argo_controller(node.cluster, settings) as argo, argo_place(argo, node, store, folder) as place:
            yield place


def upload(store: ObjectStore, folder: Path) -> str:
    """Copy a folder into a bucket of its own, and give its address."""
    bucket, client = store.make_bucket(), store.client()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.fput_object(bucket, f"world/{path.relative_to(folder)}", str(path))
    return f"s3://{bucket}/world"


def _claim(namespace: str, name: str, path: Path) -> list[Json]:
    """A claim, and a volume that is a folder of this machine: of the kind whose files Kubernetes leaves to their owners."""
    size, modes, class_name = {"storage": "1Mi"}, ["ReadOnlyMany"], f"{namespace}-{name}"
    volume = {"capacity": size, "accessModes": modes, "storageClassName": class_name, "hostPath": {"path": str(path), "type": "Directory"}}
    claim = {"accessModes": modes, "storageClassName": class_name, "resources": {"requests": size}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": class_name}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim},
    ]
