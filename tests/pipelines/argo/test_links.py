"""Loops, retries and names at their edges."""

import pytest

from pipelines.argo import ArgoOptions, ArgoRefused, CronOptions, Variable, to_cron_workflow
from pipelines.argo.links import items, retry_strategy
from pipelines.argo.values import text_of
from tests.pipelines.shapes.compiled import shape_template


def test_a_loop_over_nothing_runs_no_round():
    assert items({"itemInput": "x", "items": {"raw": "[]"}}, {}, "test") == {"withParam": "[]"}
    assert items({"itemInput": "x", "items": {"raw": "[0]"}}, {}, "test") == {"withItems": [0]}


def test_a_task_without_retries_of_its_own_has_those_of_the_options():
    own = {"retryPolicy": {"maxRetryCount": 5, "backoffDuration": "0s"}}
    assert retry_strategy({}, ArgoOptions(), "test") == {}
    assert retry_strategy({}, ArgoOptions(retries=2), "test")["retryStrategy"]["limit"] == 2
    assert retry_strategy(own, ArgoOptions(retries=2), "test")["retryStrategy"]["limit"] == 5
    assert retry_strategy({"retryPolicy": {"maxRetryCount": 0}}, ArgoOptions(retries=2), "test") == {}


def test_only_exit_codes_of_the_surroundings_are_worth_another_try():
    expression = retry_strategy({}, ArgoOptions(retries=1), "test")["retryStrategy"]["expression"]
    python = expression.replace("lastRetry.status", "status").replace("lastRetry.exitCode", "code").replace("||", "or")

    def again(status: str, code: int) -> bool:
        return bool(eval(python, {"status": status, "code": str(code), "asInt": int}))  # noqa: S307 (a test's own text)

    assert {code for code in range(256) if again("Failed", code)} == {75, 137, 143}
    assert again("Error", -1)


@pytest.mark.parametrize(
    ("constant", "kind", "text"),
    [
        ("10", "STRING", "10"),
        (10.0, "NUMBER_INTEGER", "10"),
        (10.0, "NUMBER_DOUBLE", "10.0"),
        (True, "BOOLEAN", "true"),
        ([1.0, 2.5, {"a": 3.0}], "LIST", '[1, 2.5, {"a": 3}]'),
        ({"ü": None}, "STRUCT", '{"ü": null}'),
    ],
)
def test_a_constant_is_written_as_its_type_reads_it(constant: object, kind: str, text: str):
    assert text_of(constant, kind, "test") == text


def test_a_schedule_must_give_what_has_no_default_and_nothing_else():
    template = shape_template("parameters")
    template["spec"]["arguments"]["parameters"][0].pop("value")
    with pytest.raises(ArgoRefused, match="no value for share"):
        to_cron_workflow(template, CronOptions(schedule="0 3 * * *"))
    with pytest.raises(ArgoRefused, match="has no parameter speed"):
        to_cron_workflow(template, CronOptions(schedule="0 3 * * *", arguments=(Variable(name="speed", value="1"),)))
    given = CronOptions(schedule="0 3 * * *", arguments=(Variable(name="share", value="0.5"),))
    assert to_cron_workflow(template, given)["spec"]["workflowSpec"]["arguments"]["parameters"] == [{"name": "share", "value": "0.5"}]


def test_a_pipeline_called_twice_has_templates_of_its_own_each_time():
    template = shape_template("nested")
    names = [row["name"] for row in template["spec"]["templates"]]
    assert len(names) == len(set(names))
    called = [task["template"] for row in template["spec"]["templates"] for task in row.get("dag", {}).get("tasks", [])]
    assert sorted(called) == sorted(set(names) - {"shape-nested"})
