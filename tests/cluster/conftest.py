"""Real clusters for tests; each fixture skips with the reason where its programs are absent.

| fixture | what a test gets |
|---|---|
| cluster | a namespace of its own on a control plane with 20 fake nodes of 8 GPUs each |
| argo | Argo's controller on that cluster, seen from that namespace |
| operators | the same cluster and namespace, with Kubeflow Trainer and JobSet running |
| object_store | MinIO |
| real_node | a namespace of its own on a cluster whose one node runs containers |
| real_argo | Argo's controller on that cluster, its artifacts in a bucket of MinIO |
| real_operators | that cluster and namespace, with Kubeflow Trainer and JobSet running |

Servers start once for all tests, at the first one that needs them.
"""

from collections.abc import Iterator

import pytest

from .argo import Argo, argo_controller, write_executor_image
from .control_plane import LOOPBACK, Cluster, control_plane
from .fake_nodes import add_fake_nodes
from .isolation import isolated_host
from .namespaces import fresh_namespace
from .object_store import ARTIFACTS, ObjectStore
from .object_store import object_store as running_store
from .operators import start_operators
from .real_node import PACKAGES, RealNode
from .real_node import real_node as running_node
from .tools import ARGO, CONTROL_PLANE, FAKE_NODES, NODE, OPERATORS, need_programs, need_tools


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The control plane with fake nodes that all tests share."""
    need_tools(*CONTROL_PLANE, *FAKE_NODES)
    need_programs({"openssl": "openssl"})
    with control_plane(tmp_path_factory.mktemp("kubernetes") / "fake") as cluster:
        add_fake_nodes(cluster)
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """A namespace of its own on the control plane with fake nodes."""
    with fresh_namespace(shared_cluster) as view:
        yield view


@pytest.fixture(scope="session")
def shared_argo(shared_cluster: Cluster) -> Iterator[Argo]:
    """Argo's controller on the fake nodes."""
    need_tools(*ARGO)
    with argo_controller(shared_cluster) as argo:
        yield argo


@pytest.fixture
def argo(shared_argo: Argo, cluster: Cluster) -> Argo:
    """Argo's controller, seen from the test's namespace."""
    return shared_argo.within(cluster)


@pytest.fixture(scope="session")
def _operators(shared_cluster: Cluster) -> None:
    need_tools(*OPERATORS)
    start_operators(shared_cluster)


@pytest.fixture
def operators(_operators: None, cluster: Cluster) -> Cluster:
    """The test's namespace, with Trainer and JobSet running."""
    return cluster


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real S3 server on 127.0.0.1."""
    need_tools("minio")
    with running_store(tmp_path_factory.mktemp("minio"), LOOPBACK) as store:
        yield store


@pytest.fixture(scope="session")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """The cluster with a real node that all tests share."""
    host = isolated_host()
    need_tools(*CONTROL_PLANE, *NODE)
    need_programs({"openssl": "openssl", **PACKAGES})
    with running_node(tmp_path_factory.mktemp("kubernetes") / "real", host) as node:
        yield node


@pytest.fixture
def real_node(shared_node: RealNode) -> Iterator[RealNode]:
    """A namespace of its own on the cluster with a real node."""
    with fresh_namespace(shared_node.cluster) as view:
        yield shared_node.within(view)


@pytest.fixture(scope="session")
def pod_store(shared_node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real S3 server at an address that pods reach, with the bucket of Argo's artifacts."""
    need_tools("minio")
    with running_store(tmp_path_factory.mktemp("minio"), shared_node.cluster.host) as store:
        store.make_bucket(ARTIFACTS)
        yield store


@pytest.fixture(scope="session")
def shared_real_argo(shared_node: RealNode, pod_store: ObjectStore) -> Iterator[Argo]:
    """Argo's controller on the real node."""
    need_tools(*ARGO)
    shared_node.load(write_executor_image(shared_node.cluster.folder / "argoexec.tar"))
    with argo_controller(shared_node.cluster, {"artifactRepository": pod_store.repository(ARTIFACTS)}) as argo:
        yield argo


@pytest.fixture
def real_argo(shared_real_argo: Argo, real_node: RealNode, pod_store: ObjectStore) -> Argo:
    """Argo's controller, seen from the test's namespace, which holds the keys of the artifacts' bucket."""
    real_node.cluster.apply(pod_store.secret())
    return shared_real_argo.within(real_node.cluster)


@pytest.fixture(scope="session")
def _real_operators(shared_node: RealNode) -> None:
    need_tools(*OPERATORS)
    start_operators(shared_node.cluster)


@pytest.fixture
def real_operators(_real_operators: None, real_node: RealNode) -> RealNode:
    """The test's namespace on the real node, with Trainer and JobSet running."""
    return real_node
