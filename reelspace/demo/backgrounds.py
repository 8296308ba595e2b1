"""Ten saturated full-frame backgrounds in six compositions, shared by all topics on purpose.

They are the strongest thing in a frame, so a model that only looks at pictures matches works by background.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Background:
    """A pattern in two colours, and what captions call it."""

    pattern: str
    first: tuple[int, int, int]
    second: tuple[int, int, int]
    zh: str
    en: str


BACKGROUNDS = (
    Background("dots", (12, 12, 16), (70, 70, 84), "黑色背景", "black backdrop"),
    Background("checker", (30, 150, 40), (120, 220, 60), "绿色草坪", "green lawn"),
    Background("waves", (20, 60, 210), (60, 150, 255), "蓝色幕布", "blue curtain"),
    Background("stripes", (200, 20, 30), (250, 90, 80), "红色地毯", "red carpet"),
    Background("rays", (245, 205, 20), (255, 245, 140), "黄色灯光", "yellow lights"),
    Background("grid", (90, 20, 160), (190, 80, 250), "紫色霓虹", "purple neon"),
    Background("grid", (250, 250, 250), (170, 175, 185), "白色瓷砖", "white tiles"),
    Background("bricks", (235, 110, 20), (150, 60, 10), "橙色砖墙", "orange bricks"),
    Background("gradient", (0, 190, 190), (140, 255, 240), "青色玻璃", "teal glass"),
    Background("zigzag", (255, 70, 160), (255, 180, 215), "粉色房间", "pink room"),
)
# Where each composition puts the foreground, as a share of the side.
CENTRES = ((0.0, 0.0), (-0.11, 0.0), (0.11, 0.0), (0.0, -0.1), (0.0, 0.1), (0.08, 0.08))


def draw_background(background: int, composition: int, side: int, shift: tuple[float, float]) -> Floats:
    """Paint one background.

    Args:
        side: pixels of the square canvas.
        shift: where the pattern starts, in pixels.

    Returns:
        float32 (side, side, 3), 0 to 255.
    """
    look = BACKGROUNDS[background]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    blend = _pattern(look.pattern, x + np.float32(shift[0]), y + np.float32(shift[1]), side)[..., None]
    first, second = np.array(look.first, dtype=np.float32), np.array(look.second, dtype=np.float32)
    canvas: Floats = first + (second - first) * blend
    return canvas * _layout(composition, x / side, y / side)[..., None]


def _pattern(name: str, x: Floats, y: Floats, side: int) -> Floats:
    """How much of the second colour each pixel has, 0 to 1."""
    cell = np.float32(side / 6)
    if name == "waves":
        wave: Floats = np.float32(0.5) + np.float32(0.5) * np.sin(y / cell * np.float32(3.1) + np.float32(1.5) * np.sin(x / cell))
        return wave
    if name == "gradient":
        slope: Floats = (y % side) / np.float32(side)
        return slope
    return _hard_pattern(name, x, y, cell, side).astype(np.float32)


def _hard_pattern(name: str, x: Floats, y: Floats, cell: np.float32, side: int) -> NDArray[np.bool_]:
    where: NDArray[np.bool_]
    if name == "dots":
        where = (x % cell - cell / 2) ** 2 + (y % cell - cell / 2) ** 2 < (cell * np.float32(0.22)) ** 2
    elif name == "checker":
        where = (np.floor(x / cell) + np.floor(y / cell)) % 2 > 0
    elif name == "stripes":
        where = np.floor((x + y) / cell) % 2 > 0
    elif name == "rays":
        where = np.floor(np.arctan2(y - side, x - side / 2) * np.float32(5)) % 2 > 0
    elif name == "grid":
        where = (x % cell < cell * np.float32(0.16)) | (y % cell < cell * np.float32(0.16))
    elif name == "bricks":
        along = (x + np.floor(y / (cell / 2)) % 2 * cell / 2) % cell
        where = (y % (cell / 2) < np.float32(2)) | (along < np.float32(2))
    else:
        where = np.floor((y + np.abs(x % (2 * cell) - cell)) / (cell * np.float32(0.8))) % 2 > 0
    return where


def _layout(composition: int, x: Floats, y: Floats) -> Floats:
    """Light and dark of the six compositions: even, two halves, a frame, a diagonal, a stage."""
    dark = np.float32(0.55)
    where: NDArray[np.bool_] = np.zeros(x.shape, dtype=bool)
    if composition == 1:
        where = x > 0.62
    elif composition == 2:
        where = y > 0.68
    elif composition == 3:
        where = np.maximum(np.abs(x - 0.5), np.abs(y - 0.5)) > 0.42
    elif composition == 4:
        where = x + y > 1.2
    elif composition == 5:
        where = np.abs(x - 0.5) > 0.34
    return np.where(where, dark, np.float32(1))
