"""A series of shares as a small line drawn in SVG. Pure."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from reelspace.gateway.console.markup import NOTHING, Html, element
from reelspace.gateway.console.recall_history import SAMPLE_S

WIDTH: Final = 160
HEIGHT: Final = 40
EDGE: Final = 3
LEAST_SAMPLES: Final = 30
LEAST_RANGE: Final = 0.15
MINUTE_S: Final = 60.0


def sparkline(samples: Sequence[float | None], target: float) -> Html:
    """Draw samples, newest at the right, over a dashed line at the target; gaps where nothing was known.

    Args:
        target: what should be found; 0 for none.
    """
    known = [sample for sample in samples if sample is not None]
    if not known:
        return NOTHING
    scale = _Scale(len(samples), min([*known, *([target] if target else [])]))
    attributes = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "class": "spark", "role": "img", "aria-label": told(samples, target)}
    return element("svg", attributes, _target_line(scale, target), *_lines(scale, samples))


def told(samples: Sequence[float | None], target: float) -> str:
    """Say in words what the line shows."""
    known = [sample for sample in samples if sample is not None]
    minutes = max(1, round(len(samples) * SAMPLE_S / MINUTE_S))
    wanted = f", wanted {target:.2f}" if target else ""
    return f"recall of the last {minutes} min: {known[-1]:.3f} last, {min(known):.3f} at least{wanted}"


class _Scale:
    """Places of samples in the picture."""

    def __init__(self, num: int, least: float) -> None:
        self._num = max(num, LEAST_SAMPLES)
        self._first = self._num - num
        self._least = max(0.0, min(least, 1.0 - LEAST_RANGE))

    def x(self, place: int) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * (self._first + place) / (self._num - 1)

    def y(self, share: float) -> float:
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (min(share, 1.0) - self._least) / (1.0 - self._least)


def _target_line(scale: _Scale, target: float) -> Html:
    if not target:
        return NOTHING
    y = f"{scale.y(target):.1f}"
    return element("line", {"class": "target", "x1": "0", "x2": str(WIDTH), "y1": y, "y2": y})


def _lines(scale: _Scale, samples: Sequence[float | None]) -> list[Html]:
    """Draw each run of known samples; a lone one as a dot."""
    lines = []
    for is_known, run in groupby(enumerate(samples), lambda one: one[1] is not None):
        points = [(f"{scale.x(place):.1f}", f"{scale.y(share):.1f}") for place, share in run if share is not None]
        if is_known and len(points) == 1:
            lines.append(element("circle", {"cx": points[0][0], "cy": points[0][1], "r": "1.5"}))
        elif is_known:
            lines.append(element("polyline", {"points": " ".join(",".join(point) for point in points)}))
    return lines
