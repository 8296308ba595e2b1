"""What the policies look at: the pods that rendered objects lead to, and how selectors find them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_SERVING = ("Deployment", "StatefulSet", "DaemonSet")
_WITH_TEMPLATE = (*_SERVING, "Job")
_JOBSETS = ("ClusterTrainingRuntime", "TrainingRuntime")
_ARGO = ("WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow", "Workflow")
_KSERVE_RUNTIMES = ("ServingRuntime", "ClusterServingRuntime")
# Of objects that mix a pod's fields with their own, the former; a field that is missing here is one that no policy sees.
_OF_PODS = (
    *("affinity", "automountServiceAccountToken", "containers", "hostIPC", "hostNetwork", "hostPID", "imagePullSecrets", "initContainers"),
    *("nodeSelector", "priorityClassName", "securityContext", "serviceAccountName", "terminationGracePeriodSeconds", "tolerations"),
    *("topologySpreadConstraints", "volumes"),
)
_OF_STEPS = ("source", "dependencies", "mirrorVolumeMounts")  # what Argo adds to a container's fields
_UNITS = {"m": 1e-3, "": 1.0, **{unit: 1e3**power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)}}
_UNITS |= {f"{unit}i": 1024.0**power for power, unit in enumerate(("K", "M", "G", "T", "P", "E"), start=1)}


@dataclass(frozen=True, slots=True)
class Workload:
    """One pod template.

    Fields:
        title: kind and name of the object, with the part of it where it has several templates.
        source: the object.
        metadata, spec: of the pod.
        is_serving: its pods run until they are told to end.
    """

    title: str
    source: Json
    metadata: Json
    spec: Json
    is_serving: bool = False

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its pods."""
        return self.metadata.get("labels") or {}

    @property
    def containers(self) -> list[Json]:
        """Its containers, those that start first included."""
        return [*self.spec.get("initContainers", ()), *self.spec.get("containers", ())]

    @property
    def ports(self) -> list[Json]:
        """What its containers say they listen on."""
        return [port for container in self.containers for port in container.get("ports", ())]

    @property
    def replicas(self) -> int:
        """How many pods it asks for without an autoscaler."""
        return int(self.source["spec"].get("replicas", 1))


def title(one: Json) -> str:
    """Kind and name of an object."""
    return f"{one['kind']}/{one['metadata']['name']}"


def of_kind(objects: Sequence[Json], *kinds: str) -> list[Json]:
    """The objects of some kinds."""
    return [one for one in objects if one["kind"] in kinds]


def workloads(objects: Sequence[Json]) -> list[Workload]:
    """Every pod template of the objects, those inside custom resources of Trainer, Argo and KServe included."""
    return [workload for one in objects for workload in _workloads_of(one)]


def matches(selector: Json, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector selects; an empty one selects everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(one, labels) for one in selector.get("matchExpressions") or ())


def least_replicas(workload: Workload, objects: Sequence[Json]) -> int:
    """How many pods a workload has when its autoscaler, if any, has shrunk it as far as it may."""
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if f"{target['kind']}/{target['name']}" == title(workload.source):
            return int(scaler["spec"].get("minReplicas", 1))
    return workload.replicas


def size(quantity: str | int | float) -> float:
    """A quantity of Kubernetes as a number: bytes, cores or pieces."""
    found = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)([a-zA-Z]*)", str(quantity))
    assert found, f"not a quantity: {quantity!r}"
    return float(found[1]) * _UNITS[found[2]]


def _workloads_of(one: Json) -> Iterator[Workload]:
    kind, spec = one["kind"], one.get("spec") or {}
    if kind == "Pod":
        yield Workload(title(one), one, one["metadata"], spec)
    elif kind in _WITH_TEMPLATE:
        yield _from_template(title(one), one, spec["template"], kind in _SERVING)
    elif kind == "CronJob":
        yield _from_template(title(one), one, spec["jobTemplate"]["spec"]["template"])
    elif kind in _JOBSETS:
        for job in spec["template"]["spec"]["replicatedJobs"]:
            yield _from_template(f"{title(one)} {job['name']}", one, job["template"]["spec"]["template"])
    elif kind in _ARGO:
        yield from _of_workflow(one, spec["workflowSpec"] if kind == "CronWorkflow" else spec)
    elif kind in _KSERVE_RUNTIMES:
        yield Workload(title(one), one, {}, _of_pod(spec))
    elif kind == "InferenceService":
        yield from _of_inference_service(one)


def _from_template(name: str, one: Json, template: Json, is_serving: bool = False) -> Workload:
    return Workload(name, one, template.get("metadata") or {}, template["spec"], is_serving)


def _of_workflow(one: Json, workflow: Json) -> Iterator[Workload]:
    """The pods of a workflow's steps, without the helpers that Argo adds to them."""
    for step in workflow.get("templates", ()):
        containers = [{"name": "main", **step[form]} for form in ("container", "script") if form in step]
        containers += step.get("containerSet", {}).get("containers", ())
        if containers:
            pod = {
                **_of_pod(workflow),
                **_of_pod(step),
                "volumes": [*workflow.get("volumes", ()), *step.get("volumes", ())],
                "initContainers": _plain(step.get("initContainers", ())),
                "containers": _plain(containers),
            }
            yield Workload(f"{title(one)} {step['name']}", one, step.get("metadata") or {}, pod)


def _plain(containers: Sequence[Json]) -> list[Json]:
    return [{key: value for key, value in one.items() if key not in _OF_STEPS} for one in containers]


def _of_inference_service(one: Json) -> Iterator[Workload]:
    """Its parts that bring containers; the containers of a `model` come from its runtime."""
    for part in ("predictor", "transformer", "explainer"):
        pod = one["spec"].get(part) or {}
        if pod.get("containers"):
            yield Workload(f"{title(one)} {part}", one, {}, _of_pod(pod))


def _of_pod(mixed: Json) -> Json:
    return {key: mixed[key] for key in _OF_PODS if key in mixed}


def _holds(expression: Json, labels: Mapping[str, str]) -> bool:
    value, wanted = labels.get(expression["key"]), expression.get("values", ())
    return {
        "In": value in wanted,
        "NotIn": value not in wanted,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
