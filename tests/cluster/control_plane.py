"""A real Kubernetes control plane as plain processes: etcd, API server, controllers, scheduler. No root, no containers.

Everything listens on 127.0.0.1 and on ports that were free; users of the API server hold a random token each.
"""

import json
import secrets
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from .certificates import Authority
from .processes import Processes
from .tools import binary

Json = dict[str, Any]
Found = TypeVar("Found")

LOOPBACK = "127.0.0.1"
SERVICES = "10.96.0.0/16"
_SERVICE_OF_THE_API = "10.96.0.1"
_ADMIN = "admin"
_CONTROLLERS = "system:kube-controller-manager"
_SCHEDULER = "system:kube-scheduler"
_GROUPS = {_ADMIN: "system:masters", _CONTROLLERS: "", _SCHEDULER: ""}
_COMMAND_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running control plane, seen by its administrator from one namespace.

    Fields:
        folder: certificates, kubeconfigs, data and `logs/`; for its owner alone.
        host: the address under which other programs reach the API server.
        url: of the API server.
        processes: all programs of the cluster; operators and nodes start theirs here too.
        namespace: where `kubectl` and its kin work.
    """

    folder: Path
    host: str
    url: str
    processes: Processes
    namespace: str = "default"

    def within(self, namespace: str) -> "Cluster":
        """The same cluster, seen from another namespace."""
        return replace(self, namespace=namespace)

    def kubectl(self, *words: str | Path, stdin: str | None = None) -> str:
        """Run kubectl to its end, and give what it printed; AssertionError with its message when it fails."""
        ended = self._run(words, stdin)
        assert ended.returncode == 0, f"kubectl {' '.join(map(str, words))}: {ended.stderr}"
        return ended.stdout

    def refusal(self, *words: str | Path, stdin: str | None = None) -> str:
        """Run kubectl, which must fail, and give its message."""
        ended = self._run(words, stdin)
        assert ended.returncode != 0, f"kubectl {' '.join(map(str, words))} was not refused: {ended.stdout}"
        return ended.stderr

    def apply(self, *objects: Json) -> None:
        """Create or change objects."""
        self.kubectl("apply", "-f", "-", stdin=as_list(objects))

    def get(self, kind: str, name: str) -> Json:
        """Read one object."""
        found: Json = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, selector: str = "") -> list[Json]:
        """Read the objects of a kind in the namespace, those whose labels match if a selector is given."""
        found: list[Json] = json.loads(self.kubectl("get", kind, "-o", "json", f"--selector={selector}"))["items"]
        return found

    def pods(self, selector: str = "", phase: str | None = None) -> list[Json]:
        """Read the pods of the namespace that are not being deleted, of one phase if it is given."""
        alive = [pod for pod in self.find("pods", selector) if "deletionTimestamp" not in pod["metadata"]]
        return [pod for pod in alive if phase is None or pod["status"]["phase"] == phase]

    def wait_until(self, look: Callable[[], Found | None], what: str, limit_s: float = 60.0) -> Found:
        """As `Processes.wait_until`: give the first true value of `look`."""
        return self.processes.wait_until(look, what, limit_s)

    def add_definitions(self, *sources: str | Path) -> None:
        """Apply custom resource definitions (words for `kubectl apply`), and wait until the API server knows them."""
        self.kubectl("apply", "--server-side", *sources)
        wait = ("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
        # A definition without any condition yet fails the command at once, so it is asked again.
        self.wait_until(lambda: self._run(wait, None).returncode == 0, "established definitions")

    def exists(self, kind: str, name: str) -> bool:
        """Tell whether there is such an object."""
        return bool(self.kubectl("get", kind, name, "--ignore-not-found", "-o", "name"))

    def kubeconfig(self, user: str = _ADMIN) -> Path:
        """The file with which a user reaches the API server."""
        return self.folder / f"{user.replace(':', '-')}.kubeconfig"

    def _run(self, words: Sequence[str | Path], stdin: str | None) -> "subprocess.CompletedProcess[str]":
        command = [binary("kubectl"), f"--kubeconfig={self.kubeconfig()}", f"--namespace={self.namespace}", *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_COMMAND_LIMIT_S, check=False)


def as_list(objects: Sequence[Json]) -> str:
    """Objects as one document for `kubectl -f -`."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody holds."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


@contextmanager
def control_plane(folder: Path, host: str = LOOPBACK, groups: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Start a control plane without nodes in a new folder, and end it with all that was started in it.

    Args:
        folder: must not exist yet.
        host: an address other than 127.0.0.1 lets pods of a real node in; only where no one else can reach it (`isolation.py`).
        groups: more users, each with its group.
    """
    authority = Authority(folder)
    with Processes(folder / "logs") as processes:
        store_port, peer_port, port = free_ports(3)
        cluster = Cluster(folder, host, f"https://{LOOPBACK}:{port}", processes)
        _sign_certificates(authority, host)
        _write_users(cluster, {**_GROUPS, **(groups or {})})
        _start_store(cluster, store_port, peer_port)
        _start_api_server(cluster, port, store_port)
        _start_controllers(cluster)
        cluster.wait_until(lambda: cluster.exists("serviceaccount", "default"), "default service account")
        yield cluster
    shutil.rmtree(folder / "etcd")  # hundreds of MiB that nobody reads; the logs stay


def _sign_certificates(authority: Authority, host: str) -> None:
    authority.sign_server("server", "/CN=kube-apiserver", _SERVICE_OF_THE_API, host)
    authority.sign_server("kubelet", "/CN=kubelet", host)
    authority.sign_client("kubelet-client", "/O=system:masters/CN=kube-apiserver")
    authority.make_key_pair("accounts")


def _write_users(cluster: Cluster, groups: Mapping[str, str]) -> None:
    tokens = {user: secrets.token_hex(16) for user in groups}
    rows = [f'{token},{user},{user},"{groups[user]}"\n' for user, token in tokens.items()]
    (cluster.folder / "tokens.csv").write_text("".join(rows))
    server = {"server": cluster.url, "certificate-authority": str(cluster.folder / "ca.crt")}
    for user, token in tokens.items():
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }
        cluster.kubeconfig(user).write_text(json.dumps(config))


def _start_store(cluster: Cluster, port: int, peer_port: int) -> None:
    clients, peers = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{peer_port}"
    cluster.processes.start(
        "etcd",
        f"--data-dir={cluster.folder}/etcd",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    )


def _start_api_server(cluster: Cluster, port: int, store_port: int) -> None:
    files = cluster.folder
    if cluster.host == LOOPBACK:
        # An Endpoints object may not hold a loopback address, so the server must not write its own.
        reached = [f"--bind-address={LOOPBACK}", f"--advertise-address={LOOPBACK}", "--endpoint-reconciler-type=none"]
    else:
        reached = ["--bind-address=0.0.0.0", f"--advertise-address={cluster.host}"]
    cluster.processes.start(
        "kube-apiserver",
        *reached,
        f"--secure-port={port}",
        f"--etcd-servers=http://{LOOPBACK}:{store_port}",
        f"--tls-cert-file={files}/server.crt",
        f"--tls-private-key-file={files}/server.key",
        f"--client-ca-file={files}/ca.crt",
        f"--token-auth-file={files}/tokens.csv",
        f"--kubelet-client-certificate={files}/kubelet-client.crt",
        f"--kubelet-client-key={files}/kubelet-client.key",
        f"--kubelet-certificate-authority={files}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        f"--service-cluster-ip-range={SERVICES}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files}/accounts.pub",
        f"--service-account-signing-key-file={files}/accounts.key",
    )
    trusted = ssl.create_default_context(cafile=files / "ca.crt")
    token = json.loads(cluster.kubeconfig().read_text())["users"][0]["user"]["token"]
    request = urllib.request.Request(f"{cluster.url}/readyz", headers={"Authorization": f"Bearer {token}"})
    cluster.wait_until(lambda: answers(request, trusted), "API server")


def answers(request: str | urllib.request.Request, trusted: ssl.SSLContext | None = None) -> bool:
    """Tell whether a server answers 200."""
    try:
        with urllib.request.urlopen(request, context=trusted, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, or an answer of another kind, while it starts
        return False


def _start_controllers(cluster: Cluster) -> None:
    controllers_port, scheduler_port = free_ports(2)
    files = cluster.folder
    cluster.processes.start(
        "kube-controller-manager",
        *_serving(cluster, _CONTROLLERS, controllers_port),
        f"--root-ca-file={files}/ca.crt",
        f"--service-account-private-key-file={files}/accounts.key",
        "--use-service-account-credentials",
        f"--cluster-signing-cert-file={files}/ca.crt",
        f"--cluster-signing-key-file={files}/ca.key",
        f"--cert-dir={files}/controllers",
    )
    cluster.processes.start("kube-scheduler", *_serving(cluster, _SCHEDULER, scheduler_port), f"--cert-dir={files}/scheduler")


def _serving(cluster: Cluster, user: str, port: int) -> tuple[str, ...]:
    config = cluster.kubeconfig(user)
    return (
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        "--leader-elect=false",  # nobody else stands for election, and it would take seconds
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
    )
