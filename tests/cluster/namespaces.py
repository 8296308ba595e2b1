"""A namespace for each test, so that tests share a cluster and not its objects."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from .control_plane import Cluster


@contextmanager
def fresh_namespace(shared: Cluster) -> Iterator[Cluster]:
    """Give a view of the cluster from a new namespace; at the end its pods are gone and the rest is being deleted."""
    cluster = shared.within(f"test-{secrets.token_hex(4)}")
    shared.kubectl("create", "namespace", cluster.namespace)
    cluster.wait_until(lambda: cluster.exists("serviceaccount", "default"), "service account")  # without it no pod is admitted
    try:
        yield cluster
    finally:
        # No controller makes pods again in a namespace that is being deleted, so their nodes are free for the next test.
        shared.kubectl("delete", "namespace", cluster.namespace, "--wait=false")
        cluster.kubectl("delete", "pods", "--all", "--grace-period=1")
