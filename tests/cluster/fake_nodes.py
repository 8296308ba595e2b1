"""Nodes with GPUs that exist in the API server alone: kwok answers for their kubelets.

Their pods are scheduled, run and are deleted as on real nodes, only nothing is executed:
- a pod runs until it is told to end: the annotation `reelspace.test/exit-code` gives the code with which it ends, at once when it has
  the annotation from the start (`finish` writes it);
- a step of an Argo workflow succeeds at once unless it has that annotation, or `reelspace.test/held`, with which it runs until told.
"""

from collections.abc import Sequence
from pathlib import Path

from .control_plane import LOOPBACK, Cluster, Json, free_ports
from .tools import data_folder

EXIT_CODE = "reelspace.test/exit-code"
HELD = "reelspace.test/held"
GPU = "nvidia.com/gpu"
NUM_NODES = 20
GPUS_OF_NODE = 8
TOLERATIONS = [{"key": GPU, "operator": "Exists"}]

_OUR_STAGES = Path(__file__).resolve().parent / "stages"
_STAGES_OF_KWOK = (
    "node/fast/node-initialize",
    "node/heartbeat-with-lease/node-heartbeat-with-lease",
    "pod/fast/pod-ready",
    "pod/fast/pod-delete",
    "volume/fast/pvc-provision",
    "volume/fast/pv-bind",
    "volume/fast/pvc-delete",
    "volume/fast/pv-delete",
)
_FAKE = "kwok.x-k8s.io/node=fake"
_NUM_ZONES = 3


def add_fake_nodes(cluster: Cluster, num_nodes: int = NUM_NODES, gpus: int = GPUS_OF_NODE) -> None:
    """Add nodes `gpu-00`, `gpu-01`, ... of `gpus` GPUs each in three zones, and wait until they are ready.

    They carry the taint of GPU nodes (`TOLERATIONS` tolerates it), and the default storage class binds volumes at once.
    """
    port = free_ports(1)[0]
    stages = [data_folder("kwok") / "stages" / f"{name}.yaml" for name in _STAGES_OF_KWOK]
    stages += [_OUR_STAGES / f"{name}.yaml" for name in ("pod-exit", "pod-stopped", "workflow-step")]
    cluster.processes.start(
        "kwok",
        f"--kubeconfig={cluster.kubeconfig()}",
        f"--server-address={LOOPBACK}:{port}",
        "--manage-all-nodes=false",
        # Without leases nodes are given up after 50 seconds, and their pods are ready no more.
        "--node-lease-duration-seconds=40",
        f"--manage-nodes-with-annotation-selector={_FAKE}",
        *(f"--config={stage}" for stage in stages),
    )
    cluster.apply(_STORAGE_CLASS, *(_node(number, gpus) for number in range(num_nodes)))
    cluster.kubectl("wait", "node", "--selector=type=kwok", "--for=condition=Ready", "--timeout=60s")


def finish(cluster: Cluster, pods: Sequence[Json], exit_code: int) -> None:
    """End running pods of fake nodes with a code."""
    cluster.kubectl("annotate", "pod", *(pod["metadata"]["name"] for pod in pods), f"{EXIT_CODE}={exit_code}")


def _node(number: int, gpus: int) -> Json:
    name = f"gpu-{number:02d}"
    capacity = {"cpu": "192", "memory": "2Ti", "pods": "110", "ephemeral-storage": "7Ti", GPU: str(gpus)}
    labels = {
        "type": "kwok",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": f"zone-{number % _NUM_ZONES}",
        "node.kubernetes.io/instance-type": f"gpu{gpus}",
    }
    key, _, value = _FAKE.partition("=")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {key: value, "node.alpha.kubernetes.io/ttl": "0"}},
        "spec": {"taints": [{"key": GPU, "value": "present", "effect": "NoSchedule"}]},
        "status": {"allocatable": capacity, "capacity": capacity},
    }


# By this name and no other kwok knows whose claims to answer.
_STORAGE_CLASS: Json = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "kwok-volume", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "kwok.x-k8s.io/volume",
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "Immediate",
}
