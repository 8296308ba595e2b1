"""Every chart with every ci values file on a real API server, with real controllers and a real scheduler, in three zones."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reelspace.cli.main import app

from .control_plane import Cluster, Json, as_list
from .fake_nodes import GPU
from .helm import CHARTS, Release
from .namespaces import fresh_namespace
from .tools import data_folder, need_tools

pytestmark = pytest.mark.cluster

NUM_PLAIN = 6
ZONE = "topology.kubernetes.io/zone"
# The kinds of operators that charts speak to, of which only the names matter here.
FOREIGN = [
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors", "Namespaced"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules", "Namespaced"),
    ("cert-manager.io", "v1", "Certificate", "certificates", "Namespaced"),
    ("kueue.x-k8s.io", "v1beta1", "LocalQueue", "localqueues", "Namespaced"),
]
KINDS = (
    "deployments,statefulsets,replicasets,pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,jobs,ingresses,"
    "networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,persistentvolumeclaims,servicemonitors,prometheusrules,certificates"
)
SCENARIOS = sorted(CHARTS.glob("*/ci/*-values.yaml"))


def definition(group: str, version: str, kind: str, plural: str, scope: str) -> Json:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def plain_node(number: int) -> Json:
    name = f"plain-{number:02d}"
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    labels = {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", ZONE: f"zone-{number % 3}"}
    annotations = {"kwok.x-k8s.io/node": "fake"}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"allocatable": capacity, "capacity": capacity}}


@pytest.fixture(scope="module")
def zones(shared_cluster: Cluster) -> Iterator[Cluster]:
    """Nodes without GPUs in three zones, and the kinds of operators; GPU nodes say what they are."""
    need_tools("helm")
    cluster = shared_cluster
    cluster.kubectl("label", "nodes", "--selector=type=kwok", "accelerator=gpu")
    cluster.apply(*(plain_node(number) for number in range(NUM_PLAIN)))
    names = [f"plain-{number:02d}" for number in range(NUM_PLAIN)]
    cluster.kubectl("wait", "node", *names, "--for=condition=Ready", "--timeout=60s")
    cluster.kubectl("apply", "-f", "-", stdin=as_list([definition(*one) for one in FOREIGN]))
    for folder in (data_folder("trainer") / "manifests" / "crds", data_folder("workflow-controller") / "crds" / "minimal"):
        if folder.is_dir():
            cluster.kubectl("apply", "--server-side", "-k", folder)
    cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
    yield cluster
    cluster.kubectl("delete", "node", *names)


@pytest.fixture
def namespace(zones: Cluster) -> Iterator[Cluster]:
    """A namespace in which Pod Security `restricted` is enforced."""
    with fresh_namespace(zones) as view:
        view.kubectl("label", "namespace", view.namespace, "pod-security.kubernetes.io/enforce=restricted")
        yield view


def objects(cluster: Cluster) -> set[str]:
    """Name what is in the namespace beside what every namespace has."""
    found = set(cluster.kubectl("get", KINDS, "-o", "name", "--ignore-not-found").split())
    return found - {"configmap/kube-root-ca.crt", "serviceaccount/default"}


def test_there_are_scenarios() -> None:
    assert SCENARIOS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("values", SCENARIOS, ids=lambda path: f"{path.parents[1].name}-{path.name.removesuffix('-values.yaml')}")
def test_a_release_is_installed_changed_taken_back_and_leaves_nothing(namespace: Cluster, values: Path) -> None:
    release = Release(namespace, values.parents[1].name, "r")
    release.install(values)
    first = namespace.pods()
    assert all(pod["status"]["phase"] == "Running" for pod in first)
    before = objects(namespace)
    release.upgrade(values, sets={"commonLabels": {"changed": "yes"}})
    assert objects(namespace) >= before - {name for name in before if name.startswith(("pod/", "replicaset", "secret/sh.helm"))}
    release.rollback(1)
    assert all("changed" not in pod["metadata"]["labels"] for pod in namespace.pods())
    release.uninstall()
    namespace.wait_until(lambda: not namespace.pods(), "no pods")
    left = objects(namespace)
    assert not {name for name in left if not name.startswith(("endpoints", "endpointslice"))}, left


def test_values_of_a_plan_are_installed_as_they_are(namespace: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    words = ["plan", "search", "--rows", "2e9", "--rate", "2000", "--replicas", "2", "--memory", "64GiB", "--values", str(path)]
    assert CliRunner().invoke(app, words).exception is None
    wanted = json.loads(path.read_text())["shards"]
    release = Release(namespace, "vector-search", "r")
    release.install(path)
    servers = namespace.pods("app.kubernetes.io/component=shards", "Running")
    assert len(servers) == len(wanted["groups"]) * wanted["replicas"] > 2
    release.uninstall()


def test_pods_with_gpus_are_on_nodes_with_gpus_and_others_are_not(namespace: Cluster) -> None:
    release = Release(namespace, "vector-search", "r")
    release.install(CHARTS / "vector-search" / "ci" / "gpu-values.yaml")
    for pod in namespace.pods():
        has_gpus = GPU in pod["spec"]["containers"][0]["resources"]["limits"]
        assert has_gpus == (pod["metadata"]["labels"]["app.kubernetes.io/component"] == "shards")
        assert pod["spec"]["nodeName"].startswith("gpu-" if has_gpus else "plain-")
    release.uninstall()


@pytest.mark.timeout(300)
def test_pods_are_spread_over_zones_and_nodes_and_run_elsewhere_when_a_zone_is_lost(namespace: Cluster) -> None:
    release = Release(namespace, "vector-search", "r")
    release.install(CHARTS / "vector-search" / "ci" / "ha-values.yaml")

    def places(selector: str) -> tuple[Counter[str], Counter[str]]:
        nodes = [pod["spec"].get("nodeName", "none") for pod in namespace.pods(selector, "Running")]
        return Counter(nodes), Counter(f"zone-{int(name[-2:]) % 3}" for name in nodes)

    parts = [
        "app.kubernetes.io/component=gateway",
        "app.kubernetes.io/component=controller",
        "app.kubernetes.io/component=shards,reelspace.io/group=a",
        "app.kubernetes.io/component=shards,reelspace.io/group=b",
    ]
    # An autoscaler brings its pods after the installation.
    namespace.wait_until(lambda: all(sum(places(part)[0].values()) == 3 for part in parts), "three pods of each part")
    for part in parts:
        nodes, zones_of = places(part)
        assert set(nodes.values()) == {1}, (part, nodes)
        assert set(zones_of.values()) == {1}, (part, zones_of)
        assert len(zones_of) == 3
    lost = [f"plain-{number:02d}" for number in range(NUM_PLAIN) if number % 3 == 0]
    namespace.kubectl("cordon", *lost)
    gone = [pod["metadata"]["name"] for pod in namespace.pods() if pod["spec"]["nodeName"] in lost]
    assert len(gone) == len(parts)
    namespace.kubectl("delete", "pod", *gone, "--grace-period=0", "--force")

    def moved() -> bool:
        found = [places(part) for part in parts]
        return all(sum(nodes.values()) == 3 and not set(nodes) & set(lost) and max(nodes.values()) == 1 for nodes, _ in found)

    namespace.wait_until(moved, "pods in the other zones, each on a node of its own")
    namespace.kubectl("uncordon", *lost)
    release.uninstall()
