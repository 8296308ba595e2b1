"""Small things that show up in works of many topics: five verticals of sixteen instances, with look-alikes and boxes.

An instance is a body colour and a mark; its look-alikes are the instances of its vertical that share one of the two.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.demo.latents import Work, World

Reals = NDArray[np.float64]
Mask = NDArray[np.bool_]

VERTICALS = ("shoe", "pet", "plant", "brand", "ip")
NUM_INSTANCES = 16
ENTITY_SIDE = 18  # pixels of the drawn square
REUPLOAD_SHIFT = (-1, 2)  # pixels, right and down: a re-upload is framed a little differently
_WORKS_PER_INSTANCE = 6
_BODIES = ((225, 40, 40), (40, 90, 230), (245, 245, 245), (250, 200, 30))
_MARKS = ((20, 20, 20), (255, 140, 0), (0, 170, 120), (190, 60, 220))
# Corners and edges, left to the foreground's middle: top left corner of the entity's box.
_PLACES = ((2, 2), (76, 2), (2, 76), (76, 76), (2, 39), (76, 39))


@dataclass(frozen=True, slots=True)
class Placement:
    """One instance in one work, still in every frame; the box is in pixels of the drawn frames."""

    video_id: int
    vertical: int
    instance: int
    x0: int
    y0: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        return (self.x0, self.y0, self.x0 + ENTITY_SIDE, self.y0 + ENTITY_SIDE)

    @property
    def name(self) -> str:
        return f"{VERTICALS[self.vertical]}-{self.instance:02d}"


def placements(world: World) -> dict[int, tuple[Placement, ...]]:
    """Give every work its entities: each instance is in at least six works (if the world has room), of mixed topics."""
    settings = world.settings
    if "entities" not in settings.parts:
        return {}
    shown = [work for work in world.works if work.broken is None and work.look_of == work.video_id]
    draw = rng(settings.seed, "entities")
    topic_N = np.array([work.topic for work in shown])
    rounds = np.concatenate([_by_topic(draw, topic_N) for _ in range(2)])
    num_kinds = len(VERTICALS) * NUM_INSTANCES
    num_slots = min(len(rounds), max(num_kinds * _WORKS_PER_INSTANCE, len(shown) // 2))
    num_kinds = min(num_kinds, num_slots // _WORKS_PER_INSTANCE)
    by_look: dict[int, list[int]] = {}
    for slot in range(num_slots):
        by_look.setdefault(shown[int(rounds[slot])].video_id, []).append(slot % num_kinds)
    return {work.video_id: _place(settings.seed, work, by_look[work.look_of]) for work in world.works if work.look_of in by_look}


def _by_topic(draw: np.random.Generator, topic_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Works in random order within their topics: instances, dealt out in turn, come to lie in different topics."""
    order_N = draw.permutation(len(topic_N))
    return order_N[np.argsort(topic_N[order_N], kind="stable")]


def _place(seed: int, work: Work, kinds: list[int]) -> tuple[Placement, ...]:
    places = rng(seed, "entity place", work.look_of).permutation(len(_PLACES))
    moved_x, moved_y = REUPLOAD_SHIFT if work.near_duplicate_of is not None else (0, 0)
    found: list[Placement] = []
    for kind, place in zip(dict.fromkeys(kinds), places, strict=False):
        x, y = _PLACES[int(place)]
        found.append(Placement(work.video_id, kind % len(VERTICALS), kind // len(VERTICALS), x + moved_x, y + moved_y))
    return tuple(found)


def paste(frames_FHWC: NDArray[np.float32], placed: tuple[Placement, ...]) -> None:
    """Paint the entities over the frames, in place."""
    for item in placed:
        colour_HWC, alpha_HW1 = sprite(item.vertical, item.instance)
        x0, y0, x1, y1 = item.box
        patch = frames_FHWC[:, y0:y1, x0:x1]
        patch += (colour_HWC - patch) * alpha_HW1


@cache
def sprite(vertical: int, instance: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours (S, S, 3) and cover (S, S, 1) of one instance; S = ENTITY_SIDE."""
    scale = 3
    y, x = np.mgrid[0 : ENTITY_SIDE * scale, 0 : ENTITY_SIDE * scale] / (ENTITY_SIDE * scale / 2) - 1
    body = _outline(VERTICALS[vertical], x, y)
    mark = _mark(instance % 4, x, y)
    colour = np.where(mark[..., None], _MARKS[(instance + vertical) % 4], _BODIES[instance // 4]).astype(np.float32)
    rim = body & ~_outline(VERTICALS[vertical], x * 1.18, y * 1.18)
    colour[rim] = 15
    cover = body.astype(np.float32)[..., None]
    return _shrink(colour * cover, scale) / np.maximum(_shrink(cover, scale), 1e-6), _shrink(cover, scale)


def _shrink(image: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    side = image.shape[0] // scale
    small: NDArray[np.float32] = image.reshape(side, scale, side, scale, -1).mean(axis=(1, 3)).astype(np.float32)
    return small


def _mark(kind: int, x: Reals, y: Reals) -> Mask:
    marks: tuple[Mask, ...] = (np.abs(y) < 0.18, np.abs(x) < 0.18, x**2 + y**2 < 0.12, np.abs(x - y) < 0.25)
    return marks[kind]


def _outline(vertical: str, x: Reals, y: Reals) -> Mask:
    where: Mask
    if vertical == "shoe":
        where = ((np.abs(y - 0.45) < 0.4) & (np.abs(x) < 0.92)) | ((np.abs(x + 0.5) < 0.42) & (np.abs(y) < 0.85))
    elif vertical == "pet":
        where = ((np.abs(np.abs(x) - 0.55) < 0.3) & (y > -0.95) & (y < 0)) | (x**2 + (y - 0.15) ** 2 < 0.6)
    elif vertical == "plant":
        where = ((y > 0.25) & (y < 0.92) & (np.abs(x) < 0.75 - 0.3 * y)) | (np.abs(x) + np.abs(y + 0.35) * 0.8 < 0.55)
    elif vertical == "brand":
        where = np.abs(x) + np.abs(y) < 0.95
    else:
        where = (x**2 + (y + 0.4) ** 2 < 0.28) | ((np.abs(x) < 0.6) & (y > 0.05) & (y < 0.9))
    return where
