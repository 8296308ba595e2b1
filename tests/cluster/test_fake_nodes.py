"""A real scheduler, real admission and real controllers over fake GPU nodes."""

import json

import pytest

from .control_plane import Cluster, Json
from .fake_nodes import GPU, GPUS_OF_NODE, NUM_NODES, TOLERATIONS, finish

pytestmark = pytest.mark.cluster


def pod_spec(gpus: int, **more: object) -> Json:
    container = {"name": "main", "image": "localhost/any:test", "resources": {"limits": {GPU: gpus}}}
    return {"tolerations": TOLERATIONS, "restartPolicy": "Never", "containers": [container], **more}


def pod(name: str, gpus: int = GPUS_OF_NODE, **more: object) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(gpus, **more)}


def test_every_node_is_ready_and_offers_its_gpus(cluster: Cluster) -> None:
    nodes = cluster.find("nodes")
    ready = [one for node in nodes for one in node["status"]["conditions"] if one["type"] == "Ready" and one["status"] == "True"]
    assert len(nodes) == len(ready) == NUM_NODES
    assert {node["status"]["allocatable"][GPU] for node in nodes} == {str(GPUS_OF_NODE)}


def test_pods_of_whole_nodes_take_one_each_and_one_too_many_waits_for_gpus(cluster: Cluster) -> None:
    cluster.apply(*(pod(f"whole-{number}") for number in range(NUM_NODES + 1)))
    cluster.wait_until(lambda: len(cluster.pods(phase="Running")) == NUM_NODES, "running pods")
    assert len({one["spec"]["nodeName"] for one in cluster.pods(phase="Running")}) == NUM_NODES
    (waiting,) = cluster.pods(phase="Pending")
    assert f"Insufficient {GPU}" in json.dumps(waiting["status"])
    finish(cluster, cluster.pods(phase="Running")[:1], 0)
    cluster.wait_until(lambda: not cluster.pods(phase="Pending"), "place for the last pod")


def test_a_pod_ends_with_the_code_it_is_told(cluster: Cluster) -> None:
    cluster.apply(pod("told", gpus=1))
    cluster.wait_until(lambda: cluster.pods(phase="Running"), "running pod")
    finish(cluster, cluster.pods(), 75)
    (ended,) = cluster.wait_until(lambda: cluster.pods(phase="Failed"), "failed pod")
    assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 75


def test_a_job_completes_when_its_pod_does(cluster: Cluster) -> None:
    cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": {"template": {"spec": pod_spec(1)}}})
    finish(cluster, cluster.wait_until(lambda: cluster.pods(phase="Running"), "running pod"), 0)
    cluster.kubectl("wait", "job/once", "--for=condition=Complete", "--timeout=30s")


def test_a_claim_gets_a_volume(cluster: Cluster) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    cluster.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec})
    cluster.kubectl("wait", "pvc/data", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")


def test_pod_security_refuses_a_pod_of_root_and_takes_a_restricted_one(cluster: Cluster) -> None:
    cluster.kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
    as_it_is = pod("free")
    assert 'violates PodSecurity "restricted' in cluster.refusal("apply", "-f", "-", stdin=json.dumps(as_it_is))
    restricted = pod("restricted", securityContext={"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}})
    container = restricted["spec"]["containers"][0]
    container["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    cluster.apply(restricted)


def test_the_api_server_names_an_unknown_field(cluster: Cluster) -> None:
    wrong = pod("wrong", replicaz=1)
    message = cluster.refusal("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(wrong))
    assert 'unknown field "spec.replicaz"' in message


@pytest.mark.long
def test_the_pod_of_a_lost_node_runs_elsewhere(cluster: Cluster) -> None:
    template = {"metadata": {"labels": {"app": "kept"}}, "spec": pod_spec(1, restartPolicy="Always")}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "kept"}}, "template": template}
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "kept"}, "spec": spec})
    running = cluster.wait_until(lambda: pods if len(pods := cluster.pods(phase="Running")) == 2 else None, "running pods")
    lost = running[0]["spec"]["nodeName"]
    node = cluster.get("node", lost)
    cluster.kubectl("delete", "node", lost)
    try:
        # The controllers wait 40 s before they believe that the node is gone.
        cluster.wait_until(lambda: _all_run_elsewhere(cluster, lost), "pods on other nodes", limit_s=120.0)
    finally:
        cluster.apply({key: value for key, value in node.items() if key != "metadata"} | {"metadata": _written(node["metadata"])})


def _all_run_elsewhere(cluster: Cluster, lost: str) -> bool:
    pods = cluster.pods(phase="Running")
    return len(pods) == 2 and all(one["spec"]["nodeName"] != lost for one in pods)


def _written(metadata: Json) -> Json:
    return {key: metadata[key] for key in ("name", "labels", "annotations")}
