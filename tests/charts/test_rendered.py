"""Every chart, as each scenario of its `ci/` renders it: fields, Pod Security and our own policies."""

from pathlib import Path

import pytest

from . import kubeconform, pod_security
from .exceptions import say, unexpected
from .helm import OPERATORS, name_of, render, scenarios
from .policies import findings
from .workloads import workloads

NONE = pytest.param(None, None, marks=pytest.mark.skip(reason="no charts/*/ci/*-values.yaml"), id="none")
each_scenario = pytest.mark.parametrize(
    ("chart", "values"),
    [pytest.param(*scenario, id=name_of(*scenario)) for scenario in scenarios()] or [NONE],
)


@each_scenario
def test_every_field_is_known_to_kubernetes(chart: Path, values: Path) -> None:
    say(kubeconform.faults(render(chart, values)))


@each_scenario
def test_pod_security_restricted_takes_every_pod(chart: Path, values: Path) -> None:
    say(pod_security.violations(workloads(render(chart, values))))


@each_scenario
def test_our_policies_have_no_findings(chart: Path, values: Path) -> None:
    say(unexpected(name_of(chart, values), findings(render(chart, values))))


@each_scenario
def test_rendering_again_gives_the_same(chart: Path, values: Path) -> None:
    # What else the cluster serves changes nothing, and keeps the second rendering from being the remembered first.
    assert render(chart, values, api_versions=(*OPERATORS, "example.org/v1")) == render(chart, values)
