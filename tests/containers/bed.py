"""podman with its own images and settings, an internal network that holds an S3 server and nothing else, and a firewall before it."""

import json
import os
import resource
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components import images
from reelspace.core.processes import child, stop
from tests.cluster.control_plane import answers
from tests.cluster.images import write_image
from tests.cluster.isolation import isolated_host
from tests.cluster.object_store import ObjectStore
from tests.cluster.tools import SYSTEM_FOLDERS, binary, need_programs, need_tools

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "podman": "podman",
    "runc": "runc",
    "iptables": "iptables",
    "conmon": "conmon",
    "/usr/lib/podman/netavark": "netavark",
}
SUBNET, GATEWAY, STORE_ADDRESS, STORE_PORT = "10.89.77.0/24", "10.89.77.1", "10.89.77.2", 9000
NETWORK = "steps"
STORE_IMAGE = "localhost/minio:test"
# An image with torch has 6 GB. This one holds no program: what it would hold is mounted where it lies here.
IMAGE = "localhost/system:test"
_LINKS = {"/bin": "usr/bin", "/lib": "usr/lib", "/lib64": "usr/lib64"}
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Bed:
    """A running bed; `store` is reached by containers of its network and by this machine at one address."""

    folder: Path
    store: ObjectStore

    def place(self, folder: Path, **more: object) -> Path:
        """Write the settings of the place into a folder: our Python and the system's libraries are mounted, an image holds nothing."""
        settings = {
            "network": NETWORK,
            "images": dict.fromkeys((images.SIGNALS, images.TRAIN, images.SEARCH), IMAGE),
            "this_environment": True,
            "mounts": ["/usr"],
            "environment": ["OMP_NUM_THREADS"],
            **more,
        }
        path = folder / "place.json"
        path.write_text(json.dumps(settings))
        return path

    def podman(self, *words: str) -> str:
        """Run podman and give what it printed."""
        done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, f"podman {words[0]}: {done.stderr}"
        return done.stdout.strip()

    def running(self) -> set[str]:
        """Ids of the containers of steps that run."""
        return set(self.podman("ps", "--quiet", "--no-trunc", "--filter=label=reelspace.run").split())

    def made(self) -> set[str]:
        """Ids of all containers of steps, running or not."""
        return set(self.podman("ps", "--all", "--quiet", "--no-trunc", "--filter=label=reelspace.run").split())


@contextmanager
def lone_bed(folder: Path) -> Iterator[Bed]:
    """Prepare podman for one use, in a folder; skips where it cannot be had."""
    isolated_host()
    need_programs(PACKAGES)
    need_tools("minio")
    with bed(folder) as prepared:
        yield prepared


@contextmanager
def bed(folder: Path) -> Iterator[Bed]:
    """Prepare podman below a folder, and remove all that it made.

    The variables that lead podman to its settings are those of this process, which its children have from it.
    """
    variables = _settings(folder)
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        with _store(folder) as store:
            yield Bed(folder, store)
    finally:
        subprocess.run(["podman", "rm", "--all", "--force", "--time=0"], capture_output=True, check=False)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        for mounted in sorted(_mounts_below(folder), reverse=True):
            subprocess.run(["umount", "--lazy", mounted], capture_output=True, check=False)
        shutil.rmtree(folder / "images", ignore_errors=True)


def _settings(folder: Path) -> dict[str, str]:
    """Write podman's settings; give the variables that name them."""
    files, processes = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    limits = [f"{name}={value}:{value}" for name, value in (("nofile", files), ("nproc", processes)) if value != resource.RLIM_INFINITY]
    (folder / "containers.conf").write_text(
        f"""\
[containers]
default_ulimits = {json.dumps(limits)}
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/engine"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/images/root"\nrunroot = "{folder}/images/run"\n'
    )
    (folder / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    return {
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        "PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def _store(folder: Path) -> Iterator[ObjectStore]:
    """Load the images, make the network, and start MinIO in it."""
    write_image(folder / "system.tar", IMAGE, {}, (), _LINKS)
    write_image(folder / "minio.tar", STORE_IMAGE, {"/bin/minio": binary("minio")}, ["/bin/minio"])
    for name in ("system.tar", "minio.tar"):
        _podman("load", "--quiet", f"--input={folder / name}")
        (folder / name).unlink()
    _podman("network", "create", "--internal", "--disable-dns", f"--subnet={SUBNET}", NETWORK)
    store = ObjectStore(f"{STORE_ADDRESS}:{STORE_PORT}", "tester", secrets.token_hex(16))
    (folder / "objects").mkdir()
    keys = folder / "store.env"
    keys.write_text(f"MINIO_ROOT_USER={store.access_key}\nMINIO_ROOT_PASSWORD={store.secret_key}\nMINIO_BROWSER=off\nMINIO_UPDATE=off\n")
    server = [f"--env-file={keys}", f"--network={NETWORK}", f"--ip={STORE_ADDRESS}", f"--volume={folder}/objects:/data", STORE_IMAGE]
    _podman("run", "--detach", "--rm", *server, "server", "--quiet", f"--address=:{STORE_PORT}", "/data")
    (network,) = json.loads(_podman("network", "inspect", NETWORK))
    bridge = network["network_interface"]
    # An internal network has no address of this machine. The run that is followed here gets one; what containers begin ends at its door.
    _run("iptables", "-I", "INPUT", "-i", bridge, "-m", "conntrack", "--ctstate", "NEW", "-j", "DROP")
    _run("ip", "addr", "add", f"{GATEWAY}/24", "dev", bridge)
    end_s = time.monotonic() + 60
    while not answers(f"http://{store.endpoint}/minio/health/ready"):
        assert time.monotonic() < end_s, "no object store"
        time.sleep(0.1)
    yield store


@contextmanager
def listener(host: str) -> Iterator[int]:
    """Answer every call at an address of this machine; gives the port."""
    program = f"import socket\nserver = socket.create_server(({host!r}, 0))\nprint(server.getsockname()[1], flush=True)\n"
    process = child([sys.executable, "-c", f"{program}while True: server.accept()[0].close()"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        stop(process)


def environment(store: ObjectStore) -> Mapping[str, str]:
    """Variables with which a run of this machine reaches the store."""
    return os.environ | store.environment()


def _podman(*words: str) -> str:
    return _run("podman", *words)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{' '.join(words[:2])}: {done.stderr}"
    return done.stdout


def _mounts_below(folder: Path) -> list[str]:
    return [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1].startswith(str(folder))]
