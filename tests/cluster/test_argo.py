"""Argo's real controller over fake nodes: what it decides, not what steps do."""

import pytest

from .argo import Argo, nodes_of
from .control_plane import Json
from .fake_nodes import EXIT_CODE, GPU, HELD, TOLERATIONS, finish

pytestmark = pytest.mark.cluster


def step(name: str, annotations: Json | None = None, **more: object) -> Json:
    container = {"image": "localhost/any:test", "command": ["any"], "resources": {"limits": {GPU: 1}}}
    return {
        "name": name,
        "metadata": {"annotations": annotations or {}},
        "tolerations": TOLERATIONS,
        "nodeSelector": {"type": "kwok"},
        "container": container,
        **more,
    }


def chain(*templates: Json) -> Json:
    """A template whose steps run one after the other."""
    names = [template["name"] for template in templates]
    tasks = [{"name": name, "template": name, "depends": before} for name, before in zip(names, ["", *names], strict=False)]
    return {"entrypoint": "all", "templates": [{"name": "all", "dag": {"tasks": tasks}}, *templates]}


def test_a_template_of_two_steps_succeeds_in_order(argo: Argo) -> None:
    argo.add_template("two", chain(step("first"), step("second")))
    workflow = argo.finished(argo.start("two"))
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    nodes = nodes_of(workflow)
    assert nodes["first"]["finishedAt"] <= nodes["second"]["startedAt"]
    assert {pod["spec"]["nodeName"][:4] for pod in argo.cluster.pods()} == {"gpu-"}


@pytest.mark.parametrize(("exit_code", "num_tries"), [(75, 3), (2, 1)])
def test_a_step_is_tried_again_by_its_exit_code(argo: Argo, exit_code: int, num_tries: int) -> None:
    again = {"limit": 2, "retryPolicy": "Always", "expression": "asInt(lastRetry.exitCode) == 75"}
    argo.add_template("tried", chain(step("tried", {EXIT_CODE: str(exit_code)}, retryStrategy=again)))
    workflow = argo.finished(argo.start("tried"))
    assert workflow["status"]["phase"] == "Failed"
    assert len(argo.cluster.pods()) == num_tries


def test_a_held_step_runs_until_it_is_told_to_end(argo: Argo) -> None:
    argo.add_template("held", chain(step("held", {HELD: "yes"})))
    name = argo.start("held")
    pods = argo.cluster.wait_until(lambda: argo.cluster.pods(phase="Running"), "held step")
    assert argo.workflow(name)["status"]["phase"] == "Running"
    finish(argo.cluster, pods, 0)
    assert argo.finished(name)["status"]["phase"] == "Succeeded"


def test_a_template_with_an_unknown_step_ends_in_an_error_that_names_it(argo: Argo) -> None:
    broken = chain(step("known"))
    broken["templates"][0]["dag"]["tasks"][0]["template"] = "unknown"
    argo.add_template("broken", broken)
    workflow = argo.finished(argo.start("broken"))
    assert workflow["status"]["phase"] in ("Error", "Failed")
    assert "unknown" in workflow["status"]["message"]
