"""Reads values out of a client's JSON, strictly. `where` is how messages call the value, as `searches[3].limit`."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from reelspace.search.access.refusal import RequestRefused, kind_of, not_served
from reelspace.search.storage.payload_path import KeyRefused, Path, parse_key

MAX_KEY_PARTS: Final = 64


def object_of(value: Any, where: str) -> dict[str, Any]:
    """Give an object without the keys that are null: they count as left out."""
    if not isinstance(value, dict):
        raise RequestRefused(where, f"expected an object, got {kind_of(value)}")
    return {key: item for key, item in value.items() if item is not None}


def body_object(value: Any, known: Sequence[str], unserved: Collection[str] = ()) -> dict[str, Any]:
    """Give a whole body that is an object of known keys."""
    given = object_of(value, "body")
    refuse_unknown(given, known, "", unserved)
    return given


def refuse_unknown(given: Mapping[str, Any], known: Sequence[str], place: str, unserved: Collection[str] = ()) -> None:
    """Refuse keys that are not known, naming the nearest; 501 for those of Qdrant's that are not served.

    Args:
        place: what comes before the key in messages, as `searches[3].`.
    """
    for key in given:
        if key in known:
            continue
        if key in unserved:
            raise not_served(f"{place}{key}")
        close = difflib.get_close_matches(key[:80], known, n=1)
        hint = f"the nearest is {close[0]!r}" if close else f"known here: {', '.join(known)}"
        raise RequestRefused(f"{place}{key[:80]}", f"unknown, {hint}")


def required(given: Mapping[str, Any], key: str, place: str, what: str) -> Any:
    """Give the value of a key that must be there."""
    if key not in given:
        raise RequestRefused(f"{place}{key}", f"missing; expected {what}")
    return given[key]


def list_of(value: Any, where: str, what: str, most: int, least: int = 1) -> list[Any]:
    """Give a list of a size within bounds."""
    if not isinstance(value, list):
        raise RequestRefused(where, f"expected a list of {what}, got {kind_of(value)}")
    if not least <= len(value) <= most:
        raise RequestRefused(where, f"expected {least} to {most} {what}, got {len(value)}")
    return value


def whole(value: Any, where: str, least: int, most: int) -> int:
    """Give a whole number within bounds; 2.0 and true are none."""
    if type(value) is not int or not least <= value <= most:
        raise RequestRefused(where, f"expected a whole number from {least} to {most}, got {value!r:.40}")
    return value


def flag(value: Any, where: str) -> bool:
    """Give true or false."""
    if not isinstance(value, bool):
        raise RequestRefused(where, f"expected true or false, got {value!r:.40}")
    return value


def name_of(value: Any, where: str, most: int = 255) -> str:
    """Give a text of some printable characters."""
    if not isinstance(value, str):
        raise RequestRefused(where, f"expected a text, got {kind_of(value)}")
    if not 1 <= len(value) <= most or not value.isprintable():
        raise RequestRefused(where, f"expected 1 to {most} printable characters, got {value!r:.80}")
    return value


def payload_key(value: Any, where: str) -> Path:
    """Give the path of a payload key of at most MAX_KEY_PARTS parts."""
    if not isinstance(value, str):
        raise RequestRefused(where, f"expected the key of a payload value, got {kind_of(value)}")
    try:
        path = parse_key(value)
    except KeyRefused as error:
        raise RequestRefused(where, str(error)) from error
    if len(path) > MAX_KEY_PARTS:
        raise RequestRefused(where, f"expected a key of at most {MAX_KEY_PARTS} parts, got {len(path)}")
    return path
