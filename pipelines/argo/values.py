"""Values that flow between tasks: constants, and references that Argo fills in.

kfp types a parameter; Argo's are all text. STRING is the text itself, every other type its JSON.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.argo.refused import ArgoRefused, only

STRING = "STRING"
_KINDS_OF_VALUE = {"taskOutputParameter", "runtimeValue", "componentInputParameter", "taskFinalStatus", "parameterExpressionSelector"}
_PLACEHOLDER = re.compile(r"\{\{\$\.([^}]*)\}\}")
_INPUT = re.compile(r"inputs\.parameters\['([^']+)'\]")
_SELECTOR = re.compile(r'parseJson\(string_value\)\["([A-Za-z0-9_-]+)"\]')
_OF_THE_RUN = {"pipeline_job_name": "{{workflow.name}}", "pipeline_job_uuid": "{{workflow.uid}}"}


@dataclass(frozen=True, slots=True)
class Value:
    """A value twice: as an argument's text with `{{...}}` in it, and as a term of Argo's expression language.

    `term` is empty where a text mixes words and references; such a value can be passed on but not asked about.
    """

    text: str
    term: str


def input_parameter(name: str) -> Value:
    """Refer to a parameter of the template itself."""
    return Value(f"{{{{inputs.parameters.{name}}}}}", f"inputs.parameters['{name}']")


def task_parameter(task: str, name: str) -> Value:
    """Refer to a parameter that another task of the same DAG gave."""
    return Value(f"{{{{tasks.{task}.outputs.parameters.{name}}}}}", f"tasks['{task}'].outputs.parameters['{name}']")


def quoted(text: str) -> str:
    """Write text as a string of Argo's expression language."""
    return json.dumps(text, ensure_ascii=False) if re.search(r"['\"\\\x00-\x1f]", text) else f"'{text}'"


def text_of(constant: Any, kind: str, where: str) -> str:
    """Write a constant as Argo's text: a string as it is, everything else as JSON; whole numbers of the IR's floats are integers again.

    Raises:
        ArgoRefused: there is no value (None), or it holds `{{`, which Argo would try to fill in.
    """
    if constant is None:
        raise ArgoRefused(f"{where}: no value; Argo has no None, give a default")
    value = constant if kind == "NUMBER_DOUBLE" else _whole(constant)
    text = str(constant) if kind == STRING else json.dumps(value, ensure_ascii=False)
    if "{{" in text:
        raise ArgoRefused(f"{where}: a value with double braces, which Argo would fill in: {text!r}")
    return text


def _whole(constant: Any) -> Any:
    if isinstance(constant, float) and constant.is_integer():
        return int(constant)
    if isinstance(constant, list):
        return [_whole(one) for one in constant]
    if isinstance(constant, dict):
        return {key: _whole(one) for key, one in constant.items()}
    return constant


def argument_values(parameters: Mapping[str, Any], kinds: Mapping[str, str], where: str) -> dict[str, Value]:
    """Resolve what a task is given.

    Args:
        parameters: `inputs.parameters` of the task.
        kinds: parameter type per name, as the called component declares it.

    Returns:
        a value per name, in the order of `parameters`.

    Raises:
        ArgoRefused: a placeholder, a selector or a source that is not known.
    """
    given: dict[str, Value] = {}
    # Constants may hold the other inputs of the same task, so they come last.
    for name, spec in sorted(parameters.items(), key=lambda item: "runtimeValue" in item[1]):
        only(spec, _KINDS_OF_VALUE, f"{where}, input {name!r}")
        given[name] = _value(spec, kinds.get(name, STRING), given, f"{where}, input {name!r}")
    return {name: given[name] for name in parameters}


def _value(spec: Mapping[str, Any], kind: str, others: Mapping[str, Value], where: str) -> Value:
    if "runtimeValue" in spec:
        return _constant(only(spec["runtimeValue"], {"constant"}, where).get("constant"), kind, others, where)
    if "taskFinalStatus" in spec:
        return final_status(spec["taskFinalStatus"]["producerTask"])
    if "taskOutputParameter" in spec:
        source = spec["taskOutputParameter"]
        value = task_parameter(source["producerTask"], source["outputParameterKey"])
    else:
        value = input_parameter(spec["componentInputParameter"])
    selector = spec.get("parameterExpressionSelector")
    return _selected(value, selector, kind, where) if selector else value


def _selected(value: Value, selector: str, kind: str, where: str) -> Value:
    match = _SELECTOR.fullmatch(selector)
    if not match:
        raise ArgoRefused(f"{where}: the selector {selector!r}; only one key of a loop's item can be taken")
    found = f"jsonpath({value.term}, '$.{match[1]}')"
    # kfp calls every key of an item a STRING; a number would come out as 1e+06, so only what is a string stays as it is.
    term = f"sprig.ternary({found}, toJson({found}), type({found}) == 'string')" if kind == STRING else f"toJson({found})"
    return Value(f"{{{{={term}}}}}", term)


def _constant(constant: Any, kind: str, others: Mapping[str, Value], where: str) -> Value:
    if not isinstance(constant, str) or not _PLACEHOLDER.search(constant):
        text = text_of(constant, kind, where)
        return Value(text, quoted(text))
    if kind != STRING:
        raise ArgoRefused(f"{where}: a placeholder inside a value of type {kind}; pass a string")
    parts = _PLACEHOLDER.split(constant)
    words = [text_of(part, STRING, where) if i % 2 == 0 else _placeholder(part, others, where) for i, part in enumerate(parts)]
    return Value("".join(words), "")


def _placeholder(inside: str, others: Mapping[str, Value], where: str) -> str:
    match = _INPUT.fullmatch(inside)
    if match and match[1] in others:
        return others[match[1]].text
    if inside in _OF_THE_RUN:
        return _OF_THE_RUN[inside]
    raise ArgoRefused(f"{where}: the placeholder {inside!r}; known are inputs and {', '.join(_OF_THE_RUN)}")


def final_status(task: str) -> Value:
    """Give kfp's PipelineTaskFinalStatus as JSON for the exit task: Argo knows how the workflow ended, not the group alone."""
    state = "{{=sprig.ternary('SUCCEEDED', 'FAILED', workflow.status == 'Succeeded')}}"
    return Value(f'{{"state": "{state}", "pipelineJobResourceName": "{{{{workflow.name}}}}", "pipelineTaskName": "{task}"}}', "")
