"""The controller of Argo Workflows as a plain process against a test cluster."""

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from .control_plane import Cluster, Json
from .images import write_image
from .tools import binary, data_folder

API = "argoproj.io/v1alpha1"
EXECUTOR_IMAGE = "localhost/argoexec:test"
_CONTROLLER_NAMESPACE = "argo"
_LASTING_PHASES = ("Succeeded", "Failed", "Error")
_PORT_OF_HEALTH = 6060


@dataclass(frozen=True, slots=True)
class Argo:
    """A running controller, seen from one namespace."""

    cluster: Cluster

    def within(self, cluster: Cluster) -> "Argo":
        """The same controller, seen from the namespace of another view of its cluster."""
        return replace(self, cluster=cluster)

    def add_template(self, name: str, spec: Json) -> None:
        """Create or change a WorkflowTemplate."""
        self.cluster.apply({"apiVersion": API, "kind": "WorkflowTemplate", "metadata": {"name": name}, "spec": spec})

    def start(self, template: str, **parameters: str) -> str:
        """Start a workflow from a WorkflowTemplate of the namespace, and give the workflow's name."""
        values = [{"name": name, "value": value} for name, value in parameters.items()]
        spec = {"workflowTemplateRef": {"name": template}, "arguments": {"parameters": values}}
        workflow = {"apiVersion": API, "kind": "Workflow", "metadata": {"generateName": f"{template}-"}, "spec": spec}

        def begun() -> str | None:
            told = self.cluster.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(workflow))
            name = str(json.loads(told)["metadata"]["name"])
            status = self.cluster.wait_until(lambda: self._begun(name), f"first word of the controller about workflow {name}")
            # The controller looks in a cache, which may not have heard of a new template yet (argo-workflows, issue 14615).
            return None if status.get("message") == f'workflowtemplates.argoproj.io "{template}" not found' else name

        return self.cluster.wait_until(begun, f"workflow of template {template}")

    def workflow(self, name: str) -> Json:
        """Read a workflow with its status."""
        return self.cluster.get("workflow", name)

    def finished(self, name: str, limit_s: float = 60.0) -> Json:
        """Wait until a workflow has ended, well or not, and give it."""

        def look() -> Json | None:
            workflow = self.workflow(name)
            return workflow if workflow.get("status", {}).get("phase") in _LASTING_PHASES else None

        return self.cluster.wait_until(look, f"end of workflow {name}", limit_s)

    def _begun(self, name: str) -> Json | None:
        status: Json = self.workflow(name).get("status", {})
        return status if status.get("phase") else None


def nodes_of(workflow: Json) -> dict[str, Json]:
    """The nodes of a workflow's status by their display names: tasks by name, tries as `task(0)`, `task(1)`."""
    return {node["displayName"]: node for node in workflow["status"]["nodes"].values()}


def write_executor_image(path: Path) -> Path:
    """Write the image of Argo's own containers, which a real node must have."""
    return write_image(path, EXECUTOR_IMAGE, {"/bin/argoexec": binary("argoexec")}, ["/bin/argoexec"])


@contextmanager
def argo_controller(cluster: Cluster, settings: Mapping[str, Json] | None = None) -> Iterator[Argo]:
    """Start the controller; it serves every namespace until the cluster ends.

    Args:
        cluster: its service accounts get the right to report the results of steps.
        settings: entries of the controller's ConfigMap, such as `artifactRepository`.
    """
    cluster.add_definitions("-k", data_folder("workflow-controller") / "crds" / "minimal")  # the full ones take 25 s to apply
    # A value must be written as a flow: the controller takes `enabled: false` on a line of its own for a broken one.
    values = {"metricsConfig": {"enabled": False}, "telemetryConfig": {"enabled": False}, **(settings or {})}
    configuration = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap"},
        "data": {name: json.dumps(value) for name, value in values.items()},
    }
    cluster.kubectl("create", "namespace", _CONTROLLER_NAMESPACE)
    cluster.within(_CONTROLLER_NAMESPACE).apply(configuration, *_RIGHTS_OF_STEPS)
    with _health_port_shut():
        cluster.processes.start(
            "workflow-controller",
            f"--kubeconfig={cluster.kubeconfig()}",
            f"--namespace={_CONTROLLER_NAMESPACE}",
            "--qps=200",
            "--burst=400",
            f"--executor-image={EXECUTOR_IMAGE}",
            "--executor-image-pull-policy=IfNotPresent",
            env={"LEADER_ELECTION_DISABLE": "true", "DEFAULT_REQUEUE_TIME": "500ms"},
        )
        yield Argo(cluster)


@contextmanager
def _health_port_shut() -> Iterator[None]:
    # The controller opens this port on every address and only logs that it cannot: a bound socket that does not listen keeps it shut.
    with socket.socket(socket.AF_INET6) as holder:
        with contextlib.suppress(OSError):  # held already, which is as good
            holder.bind(("::", _PORT_OF_HEALTH))
        yield


_ROLE = "report-results-of-steps"
_RIGHTS_OF_STEPS: tuple[Json, ...] = (
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _ROLE},
        "rules": [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _ROLE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _ROLE},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts"}],
    },
)
