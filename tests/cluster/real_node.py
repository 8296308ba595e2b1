"""One real node for a test cluster: kubelet, containerd with runc, kube-proxy and CoreDNS. Only inside `isolation.py`."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from .control_plane import Cluster, Json, control_plane
from .images import BUSYBOX, write_busybox_image

NODE = "node-1"
BUSYBOX_IMAGE = "localhost/busybox:test"
PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    str(BUSYBOX): "busybox-static",
}
_SOCKET = Path("/run/reelspace-containerd.sock")
_PLUGINS = "/usr/lib/cni"
_PODS = "10.88.0.0/24"
_DOMAIN = "cluster.local"
_PAUSE_IMAGE = "localhost/pause:test"
_KUBELET = f"system:node:{NODE}"
_PROXY = "system:kube-proxy"


@dataclass(frozen=True, slots=True)
class RealNode:
    """A cluster with one node that runs containers for real."""

    cluster: Cluster

    def within(self, cluster: Cluster) -> "RealNode":
        """The same node, seen from the namespace of another view of its cluster."""
        return replace(self, cluster=cluster)

    def load(self, archive: Path) -> None:
        """Give the node an image (`docker save` archive); pods name it by its tag."""
        ended = _ctr("images", "import", str(archive))
        assert ended.returncode == 0, ended.stderr


@contextmanager
def real_node(folder: Path, host: str) -> Iterator[RealNode]:
    """Start a control plane and the node in a new folder, and end both.

    The node has two images: `localhost/busybox:test`, and the one that holds the network of a pod.

    Args:
        folder: must not exist yet, and lie on a file system that overlays can lie upon.
        host: this machine's address in its own network namespace.
    """
    with control_plane(folder, host, {_KUBELET: "system:nodes", _PROXY: ""}) as cluster:
        try:
            node = RealNode(cluster)
            _start_containers(node)
            _start_kubelet(cluster)
            _start_proxy(cluster)
            _start_names(cluster)
            cluster.wait_until(lambda: cluster.exists("node", NODE), "node")
            cluster.kubectl("wait", "node", NODE, "--for=condition=Ready", "--timeout=60s")
            yield node
        finally:
            # Containers end with the namespace of processes; what they have mounted must not keep the folder.
            _unmount_below(folder)
    shutil.rmtree(folder / "containerd", ignore_errors=True)


def _start_containers(node: RealNode) -> None:
    folder = node.cluster.folder
    (folder / "cni").mkdir()
    (folder / "cni" / "pods.conflist").write_text(json.dumps(_pod_network(folder)))
    (folder / "containerd.toml").write_text(_CONTAINERD.format(folder=folder, socket=_SOCKET, plugins=_PLUGINS, pause=_PAUSE_IMAGE))
    containerd = Path(shutil.which("containerd") or "containerd")
    node.cluster.processes.start(containerd, "--config", folder / "containerd.toml")
    node.cluster.wait_until(lambda: _ctr("version").returncode == 0, "containerd")
    node.load(write_busybox_image(folder / "pause.tar", _PAUSE_IMAGE, ["/bin/sleep", "infinity"]))
    node.load(write_busybox_image(folder / "busybox.tar", BUSYBOX_IMAGE))


def _pod_network(folder: Path) -> Json:
    # Point-to-point, not a bridge: traffic between pods of one node through a Service then needs no filter of the bridge.
    addresses = {"type": "host-local", "subnet": _PODS, "dataDir": str(folder / "addresses"), "routes": [{"dst": "0.0.0.0/0"}]}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}]}


def _start_kubelet(cluster: Cluster) -> None:
    files = cluster.folder
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "oomScoreAdj": 0,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "containerRuntimeEndpoint": f"unix://{_SOCKET}",
        "podLogsDir": "/var/log/pods",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{files}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{files}/kubelet.crt",
        "tlsPrivateKeyFile": f"{files}/kubelet.key",
        "clusterDNS": [cluster.host],
        "clusterDomain": _DOMAIN,
        "syncFrequency": "10s",
        # A nearly full disk of the machine is no reason to evict the pods of a test.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }
    (files / "kubelet.json").write_text(json.dumps(config))
    cluster.processes.start(
        "kubelet",
        f"--config={files}/kubelet.json",
        f"--kubeconfig={cluster.kubeconfig(_KUBELET)}",
        f"--root-dir={files}/kubelet",
        f"--hostname-override={NODE}",
        f"--node-ip={cluster.host}",
    )


def _start_proxy(cluster: Cluster) -> None:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(cluster.kubeconfig(_PROXY))},
        "clusterCIDR": _PODS,
        "hostnameOverride": NODE,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0},  # the limit is the machine's, not of a namespace
    }
    (cluster.folder / "kube-proxy.json").write_text(json.dumps(config))
    cluster.processes.start("kube-proxy", f"--config={cluster.folder}/kube-proxy.json")


def _start_names(cluster: Cluster) -> None:
    # Names of the cluster only: nothing is asked elsewhere.
    (cluster.folder / "Corefile").write_text(_COREFILE.format(host=cluster.host, domain=_DOMAIN, config=cluster.kubeconfig()))
    cluster.processes.start("coredns", "-conf", cluster.folder / "Corefile")


def _ctr(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["ctr", "-a", str(_SOCKET), "-n", "k8s.io", *words], capture_output=True, text=True, check=False)


def _unmount_below(folder: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in reversed([path for path in mounted if path.startswith(f"{folder}/")]):
        subprocess.run(["umount", "-l", path], check=True)


_CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "/run/reelspace-containerd"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
_COREFILE = """\
.:53 {{
  bind {host}
  errors
  kubernetes {domain} {{
    kubeconfig {config}
    ttl 1
  }}
  cache 1
}}
"""
