"""Containers that run for real, on one node."""

import json

import pytest

from .argo import Argo, nodes_of
from .control_plane import Json
from .object_store import ARTIFACTS, ObjectStore
from .real_node import BUSYBOX_IMAGE, RealNode

pytestmark = pytest.mark.cluster

USER = {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532, "runAsNonRoot": True}
RESTRICTED = {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def shell(script: str, **more: object) -> Json:
    return {"image": BUSYBOX_IMAGE, "command": ["sh", "-c", script], "securityContext": RESTRICTED, **more}


def pod(name: str, container: Json, **labels: str) -> Json:
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": USER,
        "containers": [{"name": "main", **container}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def ended(real_node: RealNode, name: str) -> Json:
    """Wait until a pod has ended, and give how its container did."""
    cluster = real_node.cluster

    def look() -> Json | None:
        status = cluster.get("pod", name)["status"]
        return status if status["phase"] in ("Succeeded", "Failed") else None

    state: Json = cluster.wait_until(look, f"end of pod {name}")["containerStatuses"][0]["state"]["terminated"]
    return state


def test_a_pod_runs_as_its_user_and_its_words_and_code_come_back(real_node: RealNode) -> None:
    real_node.cluster.apply(pod("told", shell("id -u; touch /here 2> /dev/null || echo read-only; exit 75")))
    assert ended(real_node, "told")["exitCode"] == 75
    assert real_node.cluster.kubectl("logs", "told").split() == ["65532", "read-only"]


def test_a_pod_beyond_its_memory_is_killed(real_node: RealNode) -> None:
    hungry = shell("x=x; while true; do x=$x$x; done", resources={"limits": {"memory": "16Mi"}})
    real_node.cluster.apply(pod("hungry", hungry))
    assert ended(real_node, "hungry")["reason"] == "OOMKilled"


def test_a_pod_finds_another_by_the_name_of_its_service(real_node: RealNode) -> None:
    cluster = real_node.cluster
    served = shell("echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp", volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}])
    server = pod("server", served, app="server")
    server["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    service = {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]}
    cluster.apply(server, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service})
    cluster.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=60s")
    asked = "for try in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - http://web && exit; sleep 1; done; exit 1"
    cluster.apply(pod("client", shell(asked)))
    assert ended(real_node, "client")["exitCode"] == 0
    assert cluster.kubectl("logs", "client").splitlines()[-1] == "hello"


def test_a_workflow_of_two_steps_hands_on_a_file_and_a_value_through_the_store(real_argo: Argo, pod_store: ObjectStore) -> None:
    real_argo.add_template("handed", two_steps())
    workflow = real_argo.finished(real_argo.start("handed"), limit_s=120.0)
    assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"], indent=1)
    client = pod_store.client()
    keys = [found.object_name or "" for found in client.list_objects(ARTIFACTS, workflow["metadata"]["name"], recursive=True)]
    (log,) = [key for key in keys if key.endswith("main.log") and "use" in key]
    assert client.get_object(ARTIFACTS, log).read() == b"payload\nvalue 42\n"
    (file,) = nodes_of(workflow)["make"]["outputs"]["artifacts"][:1]
    assert client.get_object(ARTIFACTS, file["s3"]["key"]).read() == b"payload\n"


def two_steps() -> Json:
    """A workflow whose second step reads a file and a value of the first; volumes are written at /out."""
    mounts = [{"name": "out", "mountPath": "/out"}]
    tasks = [
        {"name": "make", "template": "make"},
        {
            "name": "use",
            "template": "use",
            "depends": "make",
            "arguments": {
                "artifacts": [{"name": "file", "from": "{{tasks.make.outputs.artifacts.file}}"}],
                "parameters": [{"name": "value", "value": "{{tasks.make.outputs.parameters.value}}"}],
            },
        },
    ]
    make = {
        "name": "make",
        "container": shell("echo payload > /out/file; echo 42 > /out/value", volumeMounts=mounts),
        "outputs": {
            "artifacts": [{"name": "file", "path": "/out/file", "archive": {"none": {}}}],
            "parameters": [{"name": "value", "valueFrom": {"path": "/out/value"}}],
        },
    }
    use = {
        "name": "use",
        "container": shell("cat /in/file; echo value {{inputs.parameters.value}}", volumeMounts=mounts),
        "inputs": {"artifacts": [{"name": "file", "path": "/in/file"}], "parameters": [{"name": "value"}]},
    }
    return {
        # For the whole pod: an executor of root would leave the file unreadable to the step's user.
        "securityContext": USER,
        "entrypoint": "all",
        "volumes": [{"name": "out", "emptyDir": {}}],
        "templates": [{"name": "all", "dag": {"tasks": tasks}}, make, use],
    }
