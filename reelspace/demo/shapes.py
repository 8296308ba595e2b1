"""Signed distances of the foreground shapes and their textures: negative inside, about 1 at the rim's scale.

Shapes: u_FHW and v_FHW are the shape's own coordinates (v grows downwards), float32, in radii.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def distance(shape: str, u_FHW: Floats, v_FHW: Floats) -> Floats:
    """The signed distance to the shape's rim, in radii."""
    return _DISTANCES[shape](u_FHW, v_FHW)


def texture(name: str, u_FHW: Floats, v_FHW: Floats, frequency: float) -> NDArray[np.bool_]:
    """Where the second colour shows."""
    u, v = u_FHW * np.float32(frequency), v_FHW * np.float32(frequency)
    where: NDArray[np.bool_]
    if name == "plain":
        where = u_FHW**2 + v_FHW**2 < np.float32((0.16 + 0.07 * frequency) ** 2 / 4)
    elif name == "stripes":
        where = (np.floor(u).astype(np.int8) & 1) == 0
    elif name == "checker":
        where = ((np.floor(u).astype(np.int8) ^ np.floor(v).astype(np.int8)) & 1) == 0
    else:
        du, dv = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
        where = du**2 + dv**2 < np.float32(0.085)
    return where


def _disc(u: Floats, v: Floats) -> Floats:
    return np.hypot(u, v) - np.float32(1)


def _square(u: Floats, v: Floats) -> Floats:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.86)


def _triangle(u: Floats, v: Floats) -> Floats:
    sides = np.float32(0.87) * np.abs(u) - np.float32(0.5) * (v + np.float32(1))
    return np.maximum(v - np.float32(0.62), sides)


def _star(u: Floats, v: Floats) -> Floats:
    turn = np.arctan2(v, u) * np.float32(5 / np.pi)
    point = np.abs(np.mod(turn + np.float32(0.5), np.float32(2)) - np.float32(1))
    rim: Floats = (np.hypot(u, v) - (np.float32(0.42) + np.float32(0.62) * point)) * np.float32(0.6)
    return rim


def _ring(u: Floats, v: Floats) -> Floats:
    rim: Floats = np.abs(np.hypot(u, v) - np.float32(0.7)) - np.float32(0.28)
    return rim


def _cross(u: Floats, v: Floats) -> Floats:
    a, b = np.abs(u), np.abs(v)
    return np.maximum(np.maximum(a, b) - np.float32(1), np.minimum(a, b) - np.float32(0.34))


def _flower(u: Floats, v: Floats) -> Floats:
    petals = np.cos(np.arctan2(v, u) * np.float32(6))
    rim: Floats = (np.hypot(u, v) - (np.float32(0.74) + np.float32(0.26) * petals)) * np.float32(0.7)
    return rim


def _hourglass(u: Floats, v: Floats) -> Floats:
    a = np.abs(v)
    return np.maximum(a - np.float32(0.95), (np.abs(u) - (np.float32(0.12) + np.float32(0.83) * a)) * np.float32(0.77))


_DISTANCES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "flower": _flower,
    "hourglass": _hourglass,
}
