"""Every scenario of every chart before Checkov, with two samples that show that it sees; one run for all, since it takes 5 s to start."""

import pytest

from . import checkov
from .exceptions import EXEMPTIONS, say, unexpected
from .helm import name_of, render, scenarios
from .policies import findings
from .samples import PRIVILEGED, good_release
from .workloads import Json

Found = list[tuple[str, str, str]]
BAD: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": PRIVILEGED}
SAMPLES = {"sample/good": good_release(), "sample/bad": [BAD]}


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[Json]]:
    """The objects of every scenario."""
    return {name_of(*scenario): render(*scenario) for scenario in scenarios()}


@pytest.fixture(scope="session")
def found(rendered: dict[str, list[Json]], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Scenario, check and finding."""
    return checkov.findings({**SAMPLES, **rendered}, tmp_path_factory.mktemp("checkov"))


def test_checkov_finds_what_is_spoiled_in_a_sample_and_nothing_else(found: Found) -> None:
    assert [one for one in found if one[0] == "sample/good"] == []
    assert ("sample/bad", "CKV_K8S_16", "Pod/bad: Container should not be privileged") in found


def test_checkov_has_nothing_against_any_chart(found: Found) -> None:
    say([f"{name}: {line}" for name, check, text in found if name not in SAMPLES for line in unexpected(name, [(check, text)])])


def test_no_exemption_is_left_over(found: Found, rendered: dict[str, list[Json]]) -> None:
    if not rendered:
        pytest.skip("no charts/*/ci/*-values.yaml")
    known = found + [(name, check, text) for name, objects in rendered.items() for check, text in findings(objects)]
    say([f"{one.check} of {one.scenario}: needed no more" for one in EXEMPTIONS if not any(one.covers(*each) for each in known)])
