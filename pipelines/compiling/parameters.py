"""`--set NAME=VALUE`: other defaults for a pipeline's parameters."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.compiling.compiled import IR
from reelspace.core.errors import SettingError

# IR type -> the JSON types it takes; a STRING is taken as it stands.
_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


def read_assignments(given: Sequence[str]) -> dict[str, str]:
    """Split NAME=VALUE; of a name given twice the later value holds.

    Raises:
        SettingError: one has no `=`.
    """
    for one in given:
        if "=" not in one:
            raise SettingError(f"--set {one}: expected NAME=VALUE")
    return {name: value for name, _, value in (one.partition("=") for one in given)}


def defaults_for(pipeline: str, parameters: Mapping[str, IR], assigned: Mapping[str, str]) -> dict[str, Any]:
    """Give the values in the types that the pipeline's parameters have.

    Args:
        parameters: of the compiled root, name -> definition with `parameterType`.

    Raises:
        SettingError: the pipeline has no such parameter, or the value is not of its type.
    """
    return {name: _value(pipeline, name, parameters, text) for name, text in assigned.items()}


def _value(pipeline: str, name: str, parameters: Mapping[str, IR], text: str) -> Any:
    if name not in parameters:
        near = difflib.get_close_matches(name, parameters, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingError(f"--set {name}: {pipeline} has no such parameter{hint} (it has {', '.join(sorted(parameters))})")
    kind = parameters[name]["parameterType"]
    if kind == "STRING":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    allowed = _JSON_TYPES.get(kind, ())
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise SettingError(f"--set {name}: expected a {kind} as JSON, got {text!r}")
    return value
