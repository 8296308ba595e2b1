"""Conditions of `dsl.If`: from the CEL text that kfp writes to one expression of Argo's."""

import re
from collections.abc import Mapping

from pipelines.argo.refused import ArgoRefused
from pipelines.argo.values import Value, quoted

_TOKEN = re.compile(
    r"""\s*(?:inputs\.parameter_values\['(?P<input>[^']+)'\]
    |'(?P<text>[^'\\]*)'
    |(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<truth>true|false)\b
    |(?P<cast>int|double)(?=\()
    |(?P<sign>==|!=|<=|>=|&&|\|\||[<>!()]))""",
    re.VERBOSE,
)
_CASTS = {"int": "asInt", "double": "asFloat"}


def when(condition: str, values: Mapping[str, Value], kinds: Mapping[str, str], where: str) -> str:
    """Write a condition as Argo's `when`.

    The whole comparison is one expression that Argo evaluates to `true` or `false`: values never enter the text of the
    condition, so no value can change its meaning, whatever quotes or spaces it holds.

    Args:
        condition: `triggerPolicy.condition`, as in `inputs.parameter_values['x'] == 'heads'`.
        values: what the task is given, by input name.
        kinds: parameter type per input name; doubles are compared as numbers, booleans as `true` and `false`.

    Raises:
        ArgoRefused: a part of the condition is none of kfp's comparisons.
    """
    words, position, end = [], 0, len(condition.rstrip())
    while position < end:
        match = _TOKEN.match(condition, position)
        if not match:
            raise ArgoRefused(f"{where}: the condition {condition!r} cannot be read from {condition[position:]!r} on")
        words.append(_word(match, values, kinds, where))
        position = match.end()
    return "{{=" + "".join(words) + "}}"


def _word(match: re.Match[str], values: Mapping[str, Value], kinds: Mapping[str, str], where: str) -> str:
    kind, word = match.lastgroup or "", match[match.lastgroup or 0]
    if kind == "input":
        if word not in values or not values[word].term:
            raise ArgoRefused(f"{where}: the condition asks for {word!r}, which is no single value")
        term = values[word].term
        return f"asFloat({term})" if kinds.get(word) == "NUMBER_DOUBLE" else term
    if kind in ("text", "truth"):
        return quoted(word)
    if kind == "cast":
        return _CASTS[word]
    return word if word in ("(", ")", "!") or kind == "number" else f" {word} "
