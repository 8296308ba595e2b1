"""The evaluation as one self-contained HTML page: figures with intervals, confused topics, queries with their neighbours.

Legend: F frames, H W pixels, C channels.
"""

import base64
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reelspace.evaluate.examples import Confusion, Example
from reelspace.evaluate.figures import INTERVAL
from reelspace.evaluate.gate import GateRow

Thumbnail = Callable[[int], bytes | None]
_SIDE = 72
_QUALITY = 75


@dataclass(frozen=True, slots=True)
class Found:
    """What the queries of a world found."""

    examples: tuple[Example, ...]
    confusion: Confusion
    topic_names: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One line of a table of figures, as shown; `bar` is the mean as a share of the width, if the figure is a share."""

    name: str
    value: str
    interval: str
    bar: float | None


def no_thumbnail(video_id: int) -> bytes | None:
    """Show no picture."""
    return None


def middle_frame(frames_FHWC: NDArray[np.uint8]) -> bytes | None:
    """Give the middle frame as a small JPEG; None without frames."""
    if not len(frames_FHWC):
        return None
    picture, buffer = Image.fromarray(frames_FHWC[len(frames_FHWC) // 2]), io.BytesIO()
    picture.thumbnail((_SIDE, _SIDE))
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def render_page(
    figures: Mapping[str, Mapping[str, object]], gate: list[GateRow], found: Found | None = None, thumbnail: Thumbnail = no_thumbnail
) -> str:
    """Render the page; it needs no other file, no script and no network.

    Args:
        figures: group -> name -> value, as in evaluation.json.
        found: None where no truth is known: the page then has no confusion and no queries.
        thumbnail: video id -> JPEG, or None where there is no picture.
    """
    source = resources.files("reelspace.evaluate").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(
        groups={group: figure_rows(values) for group, values in figures.items()},
        gate=gate,
        found=found,
        cells=_cells(found.confusion) if found else [],
        name_of=lambda topic: found.topic_names.get(topic, str(topic)) if found else str(topic),
        picture_of=lambda video_id: _data_uri(thumbnail(video_id)),
    )


def figure_rows(values: Mapping[str, object]) -> list[FigureRow]:
    """Lay the figures of one group out, by name, each beside its interval."""
    return [_figure_row(name, values[name], values.get(name + INTERVAL)) for name in sorted(values) if not name.endswith(INTERVAL)]


def _figure_row(name: str, value: object, interval: object) -> FigureRow:
    between = f"{_number(interval[0])} to {_number(interval[1])}" if isinstance(interval, tuple | list) else ""
    return FigureRow(name, _number(value), between, float(value) if isinstance(value, float) and 0 <= value <= 1 else None)


def _number(value: object) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _cells(confusion: Confusion) -> list[list[float | None]]:
    return [[None if math.isnan(share) else float(share) for share in row] for row in confusion.share_TT]


def _data_uri(jpeg: bytes | None) -> str:
    return "" if jpeg is None else "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
