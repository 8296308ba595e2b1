"""Refuses JSON whose objects have a key twice: the parser keeps the last, so half of what a client wrote would be dropped silently."""

import json
import re
from typing import Any, Final

from reelspace.search.access.refusal import RequestRefused

_KEY_END: Final = b'":'
_SPACED_END: Final = re.compile(rb'"[ \t\r\n]+:')


def refuse_repeated_keys(body: bytes, parsed: Any) -> None:
    """Refuse a body by the key that an object has twice.

    No more keys can be in the body than there are colons, or key endings, so where the parsed value has as many, none was dropped; only
    bodies that have such endings in texts, too, or write a space before a colon, are parsed once more.

    Raises:
        RequestRefused: 400.
    """
    num_keys = _num_keys(parsed)
    if body.count(b":") == num_keys:  # the quickest to count
        return
    if body.count(_KEY_END) == num_keys and not _SPACED_END.search(body):
        return
    try:
        json.loads(body, object_pairs_hook=_unique, parse_int=float)
    except RecursionError as error:
        raise RequestRefused("body", "expected fewer objects and lists inside each other") from error


def _num_keys(parsed: Any) -> int:
    """Count keys, at most all: lists that begin with a number are vectors, and not looked through."""
    found, left = 0, [parsed]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            found += len(value)
            left += value.values()
        elif isinstance(value, list) and value and isinstance(value[0], dict | list):
            left += value
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestRefused("body", f"the key {twice[:80]!r} comes twice in one object")
    return found
