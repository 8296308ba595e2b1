"""What of a row a client asks for: `with_payload`, `with_vector`."""

from collections.abc import Mapping
from typing import Any, Final

from reelspace.search.access.json_fields import list_of, payload_key, refuse_unknown
from reelspace.search.access.refusal import RequestRefused, kind_of
from reelspace.search.access.requests import Selection
from reelspace.search.access.vector_request import vector_field
from reelspace.search.storage.payload_path import Path
from reelspace.search.storage.rows import Fields

KEYS: Final = ("with_payload", "with_vector", "with_vectors")
MAX_KEYS: Final = 256
_NOTHING: Final = Selection()


def parse_selection(given: Mapping[str, Any], fields: Fields, place: str = "", *, payload: bool = False) -> Selection:
    """Check the keys `with_payload` and `with_vector` (or `with_vectors`) of a request.

    Args:
        place: what comes before the keys in messages.
        payload: what a request means that does not say.
    """
    wanted = given.get("with_payload", payload)
    if wanted is False and "with_vector" not in given and "with_vectors" not in given:
        return _NOTHING
    include, exclude = _paths(wanted, f"{place}with_payload")
    return Selection(wanted is not False, include, exclude, _names(given, fields, place))


def _paths(wanted: Any, where: str) -> tuple[tuple[Path, ...] | None, tuple[Path, ...]]:
    if isinstance(wanted, bool):
        return None, ()
    if isinstance(wanted, list):
        return _keys(wanted, where), ()
    if not isinstance(wanted, dict):
        raise RequestRefused(where, f"expected true, false, a list of keys, {{include}} or {{exclude}}, got {wanted!r:.40}")
    refuse_unknown(wanted, ("include", "exclude"), f"{where}.")
    if len(wanted) != 1:
        raise RequestRefused(where, "expected one of include and exclude")
    name, keys = next(iter(wanted.items()))
    paths = _keys(keys, f"{where}.{name}")
    return (paths, ()) if name == "include" else (None, paths)


def _keys(value: Any, where: str) -> tuple[Path, ...]:
    return tuple(payload_key(one, f"{where}[{number}]") for number, one in enumerate(list_of(value, where, "keys", MAX_KEYS, 0)))


def _names(given: Mapping[str, Any], fields: Fields, place: str) -> tuple[str, ...]:
    if "with_vector" in given and "with_vectors" in given:
        raise RequestRefused(f"{place}with_vectors", "expected one of with_vector and with_vectors")
    name = "with_vectors" if "with_vectors" in given else "with_vector"
    wanted, where = given.get(name, False), f"{place}{name}"
    if isinstance(wanted, bool):
        return tuple(fields) if wanted else ()
    if not isinstance(wanted, list):
        raise RequestRefused(where, f"expected true, false or a list of names, got {kind_of(wanted)}")
    names = [_name(one, f"{where}[{number}]") for number, one in enumerate(list_of(wanted, where, "names", MAX_KEYS, 0))]
    for number, one in enumerate(names):
        vector_field(one, fields, f"{where}[{number}]")
    return tuple(dict.fromkeys(names))


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise RequestRefused(where, f"expected the name of a vector, got {kind_of(value)}")
    return value
