"""Keys of payload values in the Qdrant dialect: `a`, `a.b`, `a[].b` for every item, `a[0]` for one, `"odd key".b`."""

import re
from collections.abc import Mapping
from typing import Any, Final

from reelspace.core.errors import UserError

MAX_KEY_CHARS: Final = 1024
MAX_INDEX: Final = 2**64 - 1
# Word characters are the letters and digits of every script; the dialect takes them without quotes.
_NAME: Final = re.compile(r'"([^"]*)"|([\w-]+)')
_ITEM: Final = re.compile(r"\[([0-9]*)\]")

PathPart = str | int | None
Path = tuple[PathPart, ...]


class KeyRefused(UserError):
    """A key that names no payload value."""


def parse_key(key: str) -> Path:
    """Split a key into names (str), positions in a list (int) and None for every item of a list.

    Raises:
        KeyRefused: empty, longer than MAX_KEY_CHARS, or not of this grammar.
    """
    if len(key) > MAX_KEY_CHARS:
        raise KeyRefused(f"expected a key of at most {MAX_KEY_CHARS} characters, got {len(key)}")
    parts: list[PathPart] = []
    at = 0
    while True:
        name = _NAME.match(key, at)
        if name is None:
            raise _refused(key)
        parts.append(name[1] if name[1] is not None else name[2])
        at = name.end()
        while item := _ITEM.match(key, at):
            parts.append(_position(item[1], key))
            at = item.end()
        if at == len(key):
            return tuple(parts)
        if key[at] != ".":
            raise _refused(key)
        at += 1


def values_at(payload: Mapping[PathPart, Any], path: Path) -> list[Any]:
    """Give the values that a path selects, lists as they are; none when nothing lies there."""
    first, rest = path[0], path[1:]
    values = [payload[first]] if first in payload else []
    for part in rest:
        if part is None:
            values = [item for value in values if isinstance(value, list) for item in value]
        elif isinstance(part, str):
            values = [value[part] for value in values if isinstance(value, dict) and part in value]
        else:
            values = [value[part] for value in values if isinstance(value, list) and part < len(value)]
    return values


def _position(digits: str, key: str) -> int | None:
    if not digits:
        return None
    # Python refuses to read numbers of thousands of digits.
    if len(digits) > 20 or int(digits) > MAX_INDEX:
        raise _refused(key)
    return int(digits)


def _refused(key: str) -> KeyRefused:
    return KeyRefused(f'expected a key as a.b, a[].b, a[0] or "a key".b, got {key[:80]!r}')
