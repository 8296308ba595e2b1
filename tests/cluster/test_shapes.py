"""What the converter makes of pipelines, run by Argo's real controller in real pods: every shape ends as it says it must."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.argo import ArgoOptions, S3Options
from tests.pipelines.shapes.base import IMAGE, Expected
from tests.pipelines.shapes.compiled import NAMES, expected_of, shape_template

from .argo import Argo
from .control_plane import Json
from .object_store import ARTIFACTS, ObjectStore
from .python_image import write_python_image
from .real_node import RealNode

pytestmark = pytest.mark.cluster

LIMIT_S = 240.0
GPU = "nvidia.com/gpu"


@pytest.fixture(scope="session")
def shapes_image(shared_node: RealNode) -> None:
    shared_node.load(write_python_image(shared_node.cluster.folder / "shapes.tar", IMAGE))


@pytest.fixture
def options(pod_store: ObjectStore) -> ArgoOptions:
    keys = {"secret": "store-keys", "access_key": "access", "secret_key": "secret"}
    return ArgoOptions(s3=S3Options(endpoint=pod_store.endpoint, bucket=ARTIFACTS, insecure=True, **keys), archive_logs=True)


@pytest.fixture
def gpu_node(real_node: RealNode) -> Iterator[None]:
    """The node with two GPUs, a label and a taint, as the placement asks."""
    cluster = real_node.cluster
    (node,) = cluster.find("nodes")
    name = node["metadata"]["name"]
    cluster.kubectl("label", "node", name, "pool=gpu")
    cluster.kubectl("taint", "node", name, f"{GPU}=present:NoSchedule")
    cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", f'{{"status":{{"capacity":{{"{GPU}":"2"}}}}}}')
    yield
    cluster.kubectl("taint", "node", name, f"{GPU}-")
    cluster.kubectl("label", "node", name, "pool-")


@pytest.fixture
def mounted(real_node: RealNode, tmp_path: Path) -> None:
    """The claim, the secret and the config map that the volumes name."""
    (node,) = real_node.cluster.find("nodes")
    tmp_path.chmod(0o755)
    place = tmp_path / "claimed"
    place.mkdir()
    namespace = real_node.cluster.namespace
    here = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node["metadata"]["name"]]}]}]
    size, modes = {"storage": "1Mi"}, ["ReadWriteOnce"]
    volume = {
        "capacity": size,
        "accessModes": modes,
        "storageClassName": namespace,
        "local": {"path": str(place)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": here}},
    }
    claim = {"accessModes": modes, "storageClassName": namespace, "resources": {"requests": size}}
    real_node.cluster.apply(
        thing("PersistentVolumeClaim", "shape-claim", spec=claim),
        thing("Secret", "shape-secret", stringData={"password": "s3cret"}),
        thing("ConfigMap", "shape-config", data={"colour": "blue"}),
        thing("PersistentVolume", f"{namespace}-volume", spec=volume),
    )


def thing(kind: str, name: str, **content: object) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **content}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("placement", "volumes")])
def test_a_shape_ends_with_the_pods_and_values_it_says(name: str, real_argo: Argo, shapes_image: None, options: ArgoOptions) -> None:
    check(name, real_argo, options)


def test_a_shape_is_placed_where_it_asks(real_argo: Argo, shapes_image: None, options: ArgoOptions, gpu_node: None) -> None:
    check("placement", real_argo, options)


def test_a_shape_sees_what_it_mounts(real_argo: Argo, shapes_image: None, options: ArgoOptions, mounted: None) -> None:
    check("volumes", real_argo, options)


def check(name: str, argo: Argo, options: ArgoOptions) -> None:
    template = shape_template(name, options)
    argo.cluster.apply(template)
    workflow = argo.finished(argo.start(template["metadata"]["name"]), limit_s=LIMIT_S)
    expected = expected_of(name)
    told = {node["displayName"]: (node["phase"], node.get("message")) for node in workflow["status"]["nodes"].values()}
    assert workflow["status"]["phase"] == expected.phase, f"{told}\n{logs(argo)}"
    assert {task: len(pods_of(workflow, task)) for task in expected.pods} == dict(expected.pods), told
    assert values_of(workflow, expected) == dict(expected.outputs), told


def logs(argo: Argo) -> str:
    """What the containers of a test's pods wrote."""
    names = [pod["metadata"]["name"] for pod in argo.cluster.pods()]
    return "\n".join(f"{name}: {argo.cluster.kubectl('logs', name, '--container=main', '--tail=20')}" for name in names)


def pods_of(workflow: Json, task: str) -> list[Json]:
    return [node for node in workflow["status"]["nodes"].values() if node["type"] == "Pod" and node["templateName"] == task]


def values_of(workflow: Json, expected: Expected) -> dict[str, str]:
    found = {}
    for name in expected.outputs:
        task, _, parameter = name.partition(".")
        for pod in pods_of(workflow, task):
            # A try that failed has outputs without a value.
            values = {one["name"]: one["value"] for one in pod.get("outputs", {}).get("parameters", ()) if "value" in one}
            if parameter in values:
                found[name] = values[parameter]
    return found
