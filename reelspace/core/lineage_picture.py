"""A lineage as a picture: an SVG file without scripts, fonts or links, data on the left, what was asked for on the right.

Artifacts stand in columns, each to the right of everything it was made of. An edge over several columns passes each of them in a lane
of its own, so that none is hidden behind a box.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any, Final

from reelspace.core.lineage import Lineage, Node
from reelspace.core.lineage_tree import DIGITS, flat, pairs, title, told

_WIDTH: Final = 260
_LINE: Final = 15
_GAP_X: Final = 70
_GAP_Y: Final = 22
_LANE: Final = 14
_MARGIN: Final = 20
_LETTERS: Final = 36
_SWEEPS: Final = 4
_FONT: Final = "DejaVu Sans Mono, Menlo, Consolas, monospace"
_COLOURS: Final = {
    "whole": ("#ffffff", "#3b6ea5", "none"),
    "damaged": ("#fdecea", "#b3261e", "none"),
    "missing": ("#fdecea", "#b3261e", "5 3"),
    "digest": ("#f2f2f2", "#777777", "2 3"),
    "unknown": ("#fff6e0", "#9a6b00", "5 3"),
    "further": ("#f2f2f2", "#777777", "2 3"),
}
_ABSENT: Final = {"missing": "MISSING from the store", "digest": "a digest, no artifact", "unknown": "not in the store, or a digest"}

_Place = tuple[str, int]
"""An id and a column: the artifact itself, or the lane in which an edge from it passes the column."""


def svg(lineage: Lineage, heading: str) -> str:
    """Draw a lineage; a box shows everything that is known of its artifact when the pointer rests on it."""
    drawing = _Drawing.of(lineage)
    width, height = drawing.size()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{_FONT}" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN}" font-size="14" font-weight="bold">{escape(heading)}</text>',
        *drawing.edges(),
        *drawing.boxes(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Where everything stands: the column of each id, each column's places from top to bottom, and their upper edges, in pixels."""

    lineage: Lineage
    column: Mapping[str, int]
    columns: Sequence[Sequence[_Place]]
    top: dict[_Place, int]

    @classmethod
    def of(cls, lineage: Lineage) -> "_Drawing":
        column = _columns_of(lineage)
        drawing = cls(lineage, column, _ordered(lineage, column), {})
        heights = [sum(drawing._height(place) + _GAP_Y for place in places) for places in drawing.columns]
        for places, height in zip(drawing.columns, heights, strict=True):
            y = 2 * _MARGIN + (max(heights) - height) // 2
            for place in places:
                drawing.top[place] = y
                y += drawing._height(place) + _GAP_Y
        return drawing

    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        width = 2 * _MARGIN + len(self.columns) * (_WIDTH + _GAP_X) - _GAP_X
        return width, max(y + self._height(place) for place, y in self.top.items()) + _MARGIN

    def edges(self) -> Iterator[str]:
        """Draw a line from every parent to what was made of it."""
        for child, name, places in _routes(self.lineage, self.column):
            path = " ".join(self._stretch(place, following) for place, following in pairwise(places))
            told_of = f"<title>{escape(name or 'made of')}: {places[0][0][:DIGITS]} to {child[:DIGITS]}</title>"
            yield f'<path d="{path}" fill="none" stroke="#8aa4c0" stroke-width="1.3">{told_of}</path>'

    def boxes(self) -> Iterator[str]:
        """Draw every id."""
        for artifact_id, number in self.column.items():
            yield from self._box(artifact_id, self.lineage.nodes.get(artifact_id), self._x(number), self.top[(artifact_id, number)])

    def _box(self, artifact_id: str, node: Node | None, x: int, y: int) -> Iterator[str]:
        fill, line, dashes = _COLOURS[node.state if node else "further"]
        texts = _texts(artifact_id, node)
        shape = f'width="{_WIDTH}" height="{_box_height(texts)}" rx="6" fill="{fill}" stroke="{line}" stroke-dasharray="{dashes}"'
        yield f'<g><title>{escape(_whole_text(artifact_id, node))}</title><rect x="{x}" y="{y}" {shape} stroke-width="1.5"/>'
        for number, text in enumerate(texts):
            weight = ' font-weight="bold"' if number == 0 else ""
            yield f'<text x="{x + 10}" y="{y + _LINE * (number + 1) + 3}"{weight}>{escape(_clipped(text))}</text>'
        yield "</g>"

    def _stretch(self, place: _Place, following: _Place) -> str:
        x0, y0, x1, y1 = self._x(place[1]) + _WIDTH, self._middle(place), self._x(following[1]), self._middle(following)
        # A lane is crossed straight, from the left edge of its column to the right one.
        start = f"M{x0} {y0}" if self._is_box(place) else f"L{x0} {y0}"
        return f"{start} C{x0 + _GAP_X // 2} {y0} {x1 - _GAP_X // 2} {y1} {x1} {y1}"

    def _is_box(self, place: _Place) -> bool:
        return self.column[place[0]] == place[1]

    def _height(self, place: _Place) -> int:
        return _box_height(_texts(place[0], self.lineage.nodes.get(place[0]))) if self._is_box(place) else _LANE

    def _middle(self, place: _Place) -> int:
        return self.top[place] + self._height(place) // 2

    @staticmethod
    def _x(column: int) -> int:
        return _MARGIN + column * (_WIDTH + _GAP_X)


def _texts(artifact_id: str, node: Node | None) -> list[str]:
    if node is None:
        return [artifact_id[:DIGITS], "further back than was asked"]
    if node.state in _ABSENT:
        return [artifact_id[:DIGITS], _ABSENT[node.state]]
    made, places = node.made, node.made.get("places")
    texts = [title(node), *(f"! {problem}" for problem in node.problems)]
    texts += [f"{made.get('step', '?')} {str(made.get('finished_at', ''))[:16].replace('T', ' ')}"] if made else []
    texts += [f"from {places[0]}"] if isinstance(places, list) and places else []
    texts += [f"with {pairs(node.settings, 2)}"] if node.settings_are_changes and node.settings else []
    texts += [pairs(numbers, 2)] if (numbers := _numbers(node.figures)) else []
    return [*texts, f"code {node.code[:DIGITS] or 'not recorded'}{'' if node.code_here == 'unknown' else f', {node.code_here} here'}"]


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    found = [(key, value) for key, value in flat(figures) if isinstance(value, int | float)]
    return dict(found[:2])


def _whole_text(artifact_id: str, node: Node | None) -> str:
    return artifact_id if node is None else "\n".join([f"{node.kind} {artifact_id}".strip(), *told(node)])


def _clipped(text: str) -> str:
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"


def _box_height(texts: Sequence[str]) -> int:
    return _LINE * len(texts) + 12


def _columns_of(lineage: Lineage) -> dict[str, int]:
    """Give each id the column after those of all its parents."""
    column: dict[str, int] = {}
    waiting = list(lineage.roots)
    while waiting:
        node = lineage.nodes.get(waiting[-1])
        parents = [parent.id for parent in node.parents] if node else []
        open_ones = [one for one in parents if one not in column]
        if open_ones:
            waiting += open_ones
        else:
            column[waiting.pop()] = max((column[one] + 1 for one in parents), default=0)
    return column


def _routes(lineage: Lineage, column: Mapping[str, int]) -> Iterator[tuple[str, str, list[_Place]]]:
    """Give every edge: the child, the parent's name there, and the places from the parent's box through its lanes to the child's."""
    for node in lineage.nodes.values():
        for parent in node.parents:
            lanes = [(parent.id, number) for number in range(column[parent.id], column[node.id])]
            yield node.id, parent.name, [*lanes, (node.id, column[node.id])]


def _ordered(lineage: Lineage, column: Mapping[str, int]) -> list[list[_Place]]:
    """Order each column so that few edges cross: by the mean height of what its places are joined to, there and back again."""
    columns: list[dict[_Place, None]] = [{} for _ in range(max(column.values()) + 1)]
    for place in column.items():
        columns[place[1]].setdefault(place)
    joined: dict[_Place, list[_Place]] = {}
    for _, _, places in _routes(lineage, column):
        for place, following in pairwise(places):
            columns[place[1]].setdefault(place)
            joined.setdefault(place, []).append(following)
            joined.setdefault(following, []).append(place)
    ordered = [list(places) for places in columns]
    forth, back = range(1, len(ordered)), range(len(ordered) - 2, -1, -1)
    for numbers, step in [(forth, -1), (back, 1)] * _SWEEPS:
        for number in numbers:
            ordered[number] = _by_height(ordered[number], ordered[number + step], joined)
    return ordered


def _by_height(places: Sequence[_Place], beside: Sequence[_Place], joined: Mapping[_Place, Sequence[_Place]]) -> list[_Place]:
    height = {place: (rank + 0.5) / len(beside) for rank, place in enumerate(beside)}
    means: dict[_Place, float] = {}
    for place in places:
        known = [height[one] for one in joined.get(place, ()) if one in height]
        means[place] = sum(known) / len(known) if known else 0.5
    return sorted(places, key=means.__getitem__)
