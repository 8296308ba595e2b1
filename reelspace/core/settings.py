"""Settings: frozen models, one reader, errors that name the key's path and the nearest right one."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_jsonable_python

from reelspace.core.errors import SettingError

PLACE: Final[dict[str, JsonValue]] = {"place": True}
"""Mark of a field that cannot change what is written: where, with how much, what is tolerated.

`Field(..., json_schema_extra=PLACE)` keeps it out of artifact ids and step keys.
"""


class Settings(BaseModel):
    """Base of every settings model."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=BaseModel)


def read(model: type[S], text: str | Mapping[str, object], overrides: Sequence[str] = ()) -> S:
    """Read settings strictly from JSON text or a mapping.

    Args:
        overrides: `a.b=value` each, later ones win; the value is JSON, and what is not JSON is taken as a string.

    Raises:
        SettingError: the text is not a JSON object, or a key is unknown, missing, of a wrong type or out of range; one line
            that gives every such key's path and, for an unknown one, the nearest right path.
    """
    values = _object(text, model)
    for override in overrides:
        _apply(values, override)
    try:
        return model.model_validate_json(json.dumps(values, allow_nan=False), strict=True)
    except ValidationError as error:
        problems = [_describe(model, detail) for detail in error.errors(include_url=False)]
        raise SettingError(f"{model.__name__}: " + "; ".join(problems)) from error


def identity(settings: BaseModel) -> dict[str, Any]:
    """Give the settings as JSON values without the fields marked PLACE: what enters manifests and step keys."""
    values = settings.model_dump(mode="json")
    _drop_places(settings, values)
    return values


def changes(settings: BaseModel) -> dict[str, Any]:
    """Give what of the identity differs from the defaults, by dotted key; a key without a default always differs."""
    return dict(_changes(settings, identity(settings), None, ""))


def key_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Give the dotted path of every key of a model, nested models included."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield prefix + key
        for nested in _models_in(field.annotation):
            yield from key_paths(nested, f"{prefix}{key}.")


def _changes(settings: BaseModel, values: Mapping[str, Any], usual: BaseModel | None, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in values:
        value = getattr(settings, name)
        default = type(settings).model_fields[name].get_default(call_default_factory=True) if usual is None else getattr(usual, name)
        if isinstance(value, BaseModel) and type(default) is type(value):
            yield from _changes(value, values[name], default, f"{prefix}{name}.")
        elif value != default:
            yield prefix + name, values[name]


def _drop_places(settings: BaseModel, values: dict[str, Any]) -> None:
    for name, field in type(settings).model_fields.items():
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("place"):
            del values[name]
        elif isinstance(value := getattr(settings, name), BaseModel):
            _drop_places(value, values[name])


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _object(text: str | Mapping[str, object], model: type[BaseModel]) -> dict[str, Any]:
    name = model.__name__
    if not isinstance(text, str):
        try:
            values = to_jsonable_python(dict(text))
            return dict(json.loads(json.dumps(values, allow_nan=False)))
        except (ValueError, PydanticSerializationError) as error:
            raise SettingError(f"{name}: a value has no JSON form: {error}") from error
    try:
        values = _parse(text)
    except ValueError as error:
        raise SettingError(f"{name}: expected a JSON object, this is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise SettingError(f"{name}: expected a JSON object, got {type(values).__name__}")
    return values


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return values


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a number")
    return value


def _apply(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise SettingError(f"override {override!r}: expected path.to.key=value")
    for depth, key in enumerate(keys[:-1], start=1):
        inner = values.setdefault(key, {})
        if inner is None:
            inner = values[key] = {}
        if not isinstance(inner, dict):
            raise SettingError(f"override {override!r}: {'.'.join(keys[:depth])} is a value, not a group of settings")
        values = inner
    values[keys[-1]] = _override_value(text)


def _override_value(text: str) -> Any:
    try:
        return _parse(text)
    except json.JSONDecodeError:
        return text
    except ValueError as error:
        raise SettingError(f"override value {text!r}: {error}") from error


def _describe(model: type[BaseModel], detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"setting {path!r} is unknown{_nearest(model, path)}"
    if detail["type"] == "missing":
        return f"setting {path!r} is missing"
    if not path:
        return detail["msg"]
    return f"setting {path!r}: {detail['msg'][:1].lower()}{detail['msg'][1:]}, got {_short(detail['input'])}"


def _nearest(model: type[BaseModel], path: str) -> str:
    paths = list(dict.fromkeys(key_paths(model)))
    parts = [part for part in path.split(".") if not part.isdigit()]
    parent, leaf = ".".join(parts[:-1]), parts[-1]
    siblings = {known.rpartition(".")[2]: known for known in paths if known.rpartition(".")[0] == parent}
    leaves = {known.rpartition(".")[2]: known for known in reversed(paths)}
    for names, cutoff in ((siblings, 0.6), (leaves, 0.75)):
        for close in difflib.get_close_matches(leaf, names, n=1, cutoff=cutoff):
            return f", the nearest is {names[close]!r}"
    return f", known here: {', '.join(map(repr, sorted(siblings.values())))}" if siblings else ""


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
