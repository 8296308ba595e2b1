"""The schemas and Pod Security, on the small release: they pass what is good and find what is spoiled."""

from pathlib import Path

import pytest

from . import kubeconform, pod_security
from .helm import render
from .samples import PRIVILEGED, alert, argo_workflow, good_release, inference_service, training_runtime, write_chart
from .workloads import Workload, workloads


def test_a_good_chart_conforms_to_every_schema(tmp_path: Path) -> None:
    assert kubeconform.faults(render(write_chart(tmp_path / "chart"))) == []


def test_good_custom_resources_conform() -> None:
    assert kubeconform.faults([alert(), argo_workflow(), inference_service(), training_runtime()]) == []


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("Deployment", "replicaz"),
        ("Certificate", "secretname"),
        ("ServiceMonitor", "endpoint"),
        ("WorkflowTemplate", "entrypiont"),
        ("ClusterTrainingRuntime", "mlPolcy"),
        ("InferenceService", "predictr"),
        ("PrometheusRule", "group"),
    ],
)
def test_a_mistyped_field_is_named(kind: str, field: str) -> None:
    objects = [*good_release(), alert(), argo_workflow(), inference_service(), training_runtime()]
    next(one for one in objects if one["kind"] == kind)["spec"][field] = 3
    (fault,) = kubeconform.faults(objects)
    assert fault.startswith(f"{kind}/gateway: /spec: ")
    assert field in fault


def test_a_mistyped_field_deep_inside_a_pod_is_named() -> None:
    objects = good_release()
    objects[1]["spec"]["template"]["spec"]["containers"][0]["readinessProb"] = {}
    (fault,) = kubeconform.faults(objects)
    assert "readinessProb" in fault


def test_a_kind_without_a_schema_is_a_fault() -> None:
    (fault,) = kubeconform.faults([{"apiVersion": "example.org/v1", "kind": "Unknown", "metadata": {"name": "x"}}])
    assert "could not find schema" in fault


def test_pod_security_passes_a_good_release_and_refuses_a_privileged_pod() -> None:
    good = workloads([*good_release(), argo_workflow(), inference_service(), training_runtime()])
    assert pod_security.violations(good) == []
    found = pod_security.violations([*good, Workload("Pod/bad", {}, {}, PRIVILEGED)])
    assert {one.split(": ")[0] for one in found} == {"Pod/bad"}
    assert {"host namespaces", "privileged"} < {one.split(": ")[1] for one in found}


def test_pod_security_refuses_to_judge_a_field_it_does_not_know() -> None:
    with pytest.raises(AssertionError, match="hostNetwrok"):
        pod_security.violations([Workload("Pod/bad", {}, {}, {"hostNetwrok": True})])
