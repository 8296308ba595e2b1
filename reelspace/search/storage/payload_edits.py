"""Edits of one payload, as the Qdrant dialect defines them; the given payload is never changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from reelspace.search.storage.payload_path import Path

Payload = dict[str, Any]
_Tree = dict[str | int | None, Any]


def merged(payload: Payload, values: Mapping[str, Any], path: Path = ()) -> Payload:
    """Set keys of the object that lies at a path, the whole payload without one; null deletes a key.

    What lies in the way of the path is replaced: by an object where a name is next, by an empty list where a position is.
    """
    result: Payload = _merged_at(payload, values, path)
    return result


def without(payload: Payload, paths: Sequence[Path]) -> Payload:
    """Delete what paths select; one that ends in `[]` empties its list, one that ends in a position deletes nothing."""
    for path in paths:
        payload = _without(payload, path)
    return payload


def included(payload: Payload, paths: Sequence[Path]) -> Payload:
    """Keep what paths select; items of a list are kept through `[]` only."""
    result: Payload = _included(payload, _tree(paths))
    return result


def excluded(payload: Payload, paths: Sequence[Path]) -> Payload:
    """Leave out what paths select; items of a list are left out through `[]` only."""
    result: Payload = _excluded(payload, _tree(paths))
    return result


def _merged_at(value: Any, values: Mapping[str, Any], path: Path) -> Any:
    if not path:
        known = value if isinstance(value, dict) else {}
        return {key: item for key, item in (known | dict(values)).items() if key not in values or item is not None}
    part, rest = path[0], path[1:]
    if isinstance(part, str):
        known = value if isinstance(value, dict) else {}
        return known | {part: _merged_at(known.get(part, {}), values, rest)}
    if not isinstance(value, list):
        return []
    return [_merged_at(item, values, rest) if part is None or part == place else item for place, item in enumerate(value)]


def _without(value: Any, path: Path) -> Any:
    part, rest = path[0], path[1:]
    if isinstance(part, str):
        if not isinstance(value, dict) or part not in value:
            return value
        if not rest:
            return {key: item for key, item in value.items() if key != part}
        return value | {part: _without(value[part], rest)}
    if not isinstance(value, list):
        return value
    if not rest:
        return [] if part is None else value
    return [_without(item, rest) if part is None or part == place else item for place, item in enumerate(value)]


def _tree(paths: Sequence[Path]) -> _Tree:
    """Merge paths by their beginnings; None at a leaf selects all below it."""
    root: _Tree = {}
    for *parents, last in paths:
        node: _Tree | None = root
        for part in parents:
            if node is not None:
                node = node.setdefault(part, {})
        if node is not None:
            node[last] = None
    return root


def _included(value: Any, tree: _Tree | None) -> Any:
    if tree is None:
        return value
    if isinstance(value, dict):
        return {key: _included(item, tree[key]) for key, item in value.items() if key in tree}
    if isinstance(value, list):
        return [_included(item, tree[None]) for item in value] if None in tree else []
    return value


def _excluded(value: Any, tree: _Tree) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if tree.get(key, ()) is not None}
        return {key: _excluded(item, tree[key]) if key in tree else item for key, item in kept.items()}
    if isinstance(value, list) and None in tree:
        return [] if tree[None] is None else [_excluded(item, tree[None]) for item in value]
    return value
