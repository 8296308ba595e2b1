"""Where a pod goes: CPU and memory asked for and bounded, accelerators, tolerations, node selector, labels."""

from kfp import dsl, kubernetes

from tests.pipelines.shapes.base import IMAGE, Expected, uncached

EXPECTED = Expected(pods={"work": 1}, needs=("node with label pool=gpu, taint nvidia.com/gpu:NoSchedule and two nvidia.com/gpu",))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def work() -> None:
    """Run where asked."""


@dsl.pipeline(name="shape-placement")
def pipeline() -> None:
    """One task on a GPU node."""
    task = uncached(work()).set_cpu_request("100m").set_cpu_limit("500m").set_memory_request("64Mi").set_memory_limit("256Mi")
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
    kubernetes.add_node_selector(task, "pool", "gpu")
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    kubernetes.add_toleration(task, key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute", toleration_seconds=30)
    kubernetes.add_pod_label(task, "team", "search")
