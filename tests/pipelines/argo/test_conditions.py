"""Conditions say in Argo's language what they say in the definition: the same Python comparison of real values is the oracle."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from kfp import dsl

from pipelines.argo import ArgoOptions, ArgoRefused, to_workflow_template
from pipelines.argo.conditions import when
from pipelines.argo.values import input_parameter, task_parameter, text_of
from tests.pipelines.shapes.base import uncached
from tests.pipelines.shapes.branches import say
from tests.pipelines.shapes.compiled import compile_documents

KINDS = {"word": "STRING", "number": "NUMBER_INTEGER", "share": "NUMBER_DOUBLE", "truth": "BOOLEAN"}
VALUES: dict[str, list[Any]] = {
    "word": ["heads", "it is (a) ! && trap", "it's"],
    "number": [5, 6],
    "share": [0.5, 10.0],
    "truth": [True, False],
}


class Named:
    """What `inputs.parameters['x']` finds: Argo's values are all text."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.parameters = texts


def argo_says(expression: str, texts: dict[str, str]) -> bool:
    """Evaluate the few words of Argo's language that a condition has, as Python."""
    words = re.split(r"('[^']*')", expression.removeprefix("{{=").removesuffix("}}"))
    words[::2] = [re.sub(r"!(?!=)", " not ", word.replace("&&", " and ")) for word in words[::2]]
    inside = "".join(words)
    found = eval(inside, {"__builtins__": {}, "asInt": int, "asFloat": float, "inputs": Named(texts)})  # noqa: S307 (a test's own text)
    assert isinstance(found, bool)
    return found


# Each is applied to kfp's channels, which gives a condition, and to values, which gives the answer.
COMPARISONS: list[Callable[..., Any]] = [
    lambda word, number, share, truth: word == "heads",
    lambda word, number, share, truth: word != "it is (a) ! && trap",
    lambda word, number, share, truth: number > 5,
    lambda word, number, share, truth: number <= 5,
    lambda word, number, share, truth: number != 6,
    lambda word, number, share, truth: share < 0.75,
    lambda word, number, share, truth: share >= 10,
    lambda word, number, share, truth: number > share,
    lambda word, number, share, truth: truth == True,  # noqa: E712 (kfp's channels have no truth value)
    lambda word, number, share, truth: truth != True,  # noqa: E712
]


def compiled_conditions() -> list[tuple[str, str]]:
    """Compile every comparison and give its condition and that of its Else."""

    @dsl.pipeline(name="all")
    def every(word: str, number: int, share: float, truth: bool) -> None:
        for comparison in COMPARISONS:
            with dsl.If(comparison(word, number, share, truth)):
                uncached(say(what="then"))
            with dsl.Else():
                uncached(say(what="else"))

    spec, _ = compile_documents(every)
    to_workflow_template(spec, {}, ArgoOptions())
    names = [f"comp-condition-branches-{1 + 3 * i}" for i in range(len(COMPARISONS))]
    branches = [spec["components"][name]["dag"]["tasks"] for name in names]
    pairs = [[task["triggerPolicy"]["condition"] for task in tasks.values()] for tasks in branches]
    return [(then, otherwise) for then, otherwise in pairs]


def test_a_condition_holds_in_argo_when_the_comparison_holds_in_python():
    kinds = {f"pipelinechannel--{name}": kind for name, kind in KINDS.items()}
    references = {name: input_parameter(name) for name in kinds}
    for comparison, pair in zip(COMPARISONS, compiled_conditions(), strict=True):
        then, otherwise = (when(condition, references, kinds, "test") for condition in pair)
        for chosen in itertools.product(*VALUES.values()):
            values = dict(zip(VALUES, chosen, strict=True))
            texts = {f"pipelinechannel--{name}": text_of(value, KINDS[name], name) for name, value in values.items()}
            assert argo_says(then, texts) == comparison(**values), (pair, values, then)
            assert argo_says(otherwise, texts) != comparison(**values), (pair, values, otherwise)


def test_a_value_of_a_task_is_compared_where_it_stands():
    text = when("inputs.parameter_values['a'] == 'x y'", {"a": task_parameter("toss", "Output")}, {"a": "STRING"}, "test")
    assert text == "{{=tasks['toss'].outputs.parameters['Output'] == 'x y'}}"


@pytest.mark.parametrize("condition", ["inputs.parameter_values['a'] in ['x']", "size(inputs.parameter_values['a']) > 1", "'it's' == 'a'"])
def test_a_condition_that_kfp_does_not_write_is_refused_with_the_place(condition: str):
    with pytest.raises(ArgoRefused, match="cannot be read from"):
        when(condition, {"a": input_parameter("a")}, {"a": "STRING"}, "task 'x'")
