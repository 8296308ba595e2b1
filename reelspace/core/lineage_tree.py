"""A lineage as text: a tree with what was asked for on top and the data at the ends."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reelspace.core.artifacts import is_artifact_id
from reelspace.core.lineage import Lineage, Node, Parent

DIGITS: Final = 12
_MAX_SHOWN: Final = 6
_MAX_VALUE: Final = 60
_CODE: Final = {"same": "as it is here", "other": "not as it is here", "unknown": "not compared with what is here"}
_STATES: Final = {
    "damaged": "DAMAGED",
    "missing": "MISSING",
    "digest": "no artifact: a digest of what the step read beside its inputs",
    "unknown": "not in the store: an artifact that is gone, or a digest of what the step read beside its inputs",
}


def lines(lineage: Lineage) -> list[str]:
    """Give the tree; an artifact that several others were made of is told once, then named."""
    seen: set[str] = set()
    return [line for root in lineage.roots for line in _tree(lineage, root, seen)]


def told(node: Node) -> Iterator[str]:
    """Give what is known of an artifact, one line for each kind of thing."""
    yield from (f"! {problem}" for problem in node.problems)
    if node.made:
        yield made_line(node)
    if places := _listed(node.made.get("places")):
        yield f"read from: {', '.join(map(str, places))}"
    if node.kind:
        yield settings_line(node, _MAX_SHOWN)
        yield f"code: {node.code[:DIGITS]}, {_CODE[node.code_here]}" if node.code else "code: not recorded"
        yield f"files: {node.num_files}, {size(node.size_bytes)}"
    if figures := {key: value for key, value in flat(node.figures) if not isinstance(value, list)}:
        yield f"figures: {pairs(figures, _MAX_SHOWN)}"


def title(node: Node) -> str:
    """Name an artifact: kind, the first digits of its id, and its state unless it is whole."""
    state = _STATES.get(node.state)
    return f"{node.kind + ' ' if node.kind else ''}{node.id[:DIGITS]}{f' ({state})' if state else ''}"


def made_line(node: Node) -> str:
    """Tell which step made an artifact, when, where and how long it took."""
    made = node.made
    seconds = made.get("wall_seconds")
    took = f", in {seconds:.3g} s" if isinstance(seconds, int | float) else ""
    step, when, host = (made.get(name, "unknown") for name in ("step", "finished_at", "host"))
    return f"made by: step {step}, at {when}, on {host}{took}"


def settings_line(node: Node, most: int) -> str:
    """Tell the settings that differ from the defaults."""
    if node.settings_are_changes:
        return f"settings that differ: {pairs(node.settings, most)}" if node.settings else "settings: the defaults"
    return f"settings, which differ from the defaults was not noted: {pairs(node.settings, most)}" if node.settings else "settings: none"


def pairs(values: Mapping[str, Any], most: int) -> str:
    """Give the first of some values as key=value, and how many there are beyond."""
    shown = ", ".join(f"{key}={_short(value)}" for key, value in list(values.items())[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give nested values by dotted key; lists stay whole."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def size(size_bytes: int) -> str:
    """Give a size in a unit that is read at a glance."""
    for unit, bytes_each in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= bytes_each:
            return f"{size_bytes / bytes_each:.1f} {unit}"
    return f"{size_bytes} bytes"


@dataclass(frozen=True, slots=True)
class _Open:
    """A place in the tree that waits for its turn: what stands before its own line, and before those below it."""

    parent: Parent
    before: str = ""
    below: str = ""


def _tree(lineage: Lineage, root: str, seen: set[str]) -> Iterator[str]:
    # A stack of its own: a space that is kept for years has lineages deeper than Python's.
    waiting = [_Open(Parent(root))]
    while waiting:
        place = waiting.pop()
        node = lineage.nodes.get(place.parent.id)
        name = f"{place.parent.name}: " if place.parent.name and (node is None or place.parent.name != node.kind) else ""
        if node is None:
            yield f"{place.before}{name}{place.parent.id[:DIGITS]} (further back than was asked)"
            continue
        if node.id in seen:
            yield f"{place.before}{name}{title(node)}, see above"
            continue
        seen.add(node.id)
        yield f"{place.before}{name}{title(node)}"
        edge = "│" if node.parents else " "
        yield from (f"{place.below}{edge}  {line}" for line in told(node))
        waiting += reversed(_branches(place.below, node))


def _branches(below: str, node: Node) -> list[_Open]:
    last = len(node.parents) - 1
    return [
        _Open(parent, f"{below}{'└─ ' if number == last else '├─ '}", f"{below}{'   ' if number == last else '│  '}")
        for number, parent in enumerate(node.parents)
    ]


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if is_artifact_id(value):
        return str(value)[:DIGITS]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 3] + "..."
