"""The frames of a work, painted from its hidden causes.

Shapes: F frames, H and W pixels, C colours (RGB).
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.demo.backgrounds import CENTRES, draw_background
from reelspace.demo.entities import REUPLOAD_SHIFT, Placement, paste
from reelspace.demo.latents import Work
from reelspace.demo.presets import FPS, NUM_FRAMES, SIDE
from reelspace.demo.shapes import distance, texture
from reelspace.demo.topics import Topic

Floats = NDArray[np.float32]
_MARGIN = 6  # pixels around the frame that shake may uncover
_MOOD_TINTS = ((1.0, 1.0, 1.0), (1.06, 1.02, 0.94), (0.94, 0.95, 1.02), (0.93, 0.98, 1.07))
_BOX_COLOUR = (140, 95, 50)


@dataclass(frozen=True, slots=True)
class _Camera:
    """What the work's quality does to its pictures."""

    gain: float
    num_blurs: int
    offset: tuple[float, float]  # pixels
    shake_F2: NDArray[np.int64]  # pixels


def draw_frames(seed: int, work: Work, topic: Topic, placed: tuple[Placement, ...]) -> NDArray[np.uint8]:
    """Paint all frames of a work; a twin differs from its original in the background alone.

    Returns:
        frames_FHWC uint8.
    """
    camera = _camera(seed, work)
    frames = _backdrop(seed, work, camera)
    _foreground(seed, work, topic, camera, frames)
    _style(work.style, frames)
    is_reupload = work.near_duplicate_of is not None
    if is_reupload:
        frames = np.roll(frames, REUPLOAD_SHIFT, axis=(2, 1))
    paste(frames, placed)
    frames *= np.array(_MOOD_TINTS[work.mood], dtype=np.float32) * np.float32(camera.gain * (1.05 if is_reupload else 1))
    for _ in range(camera.num_blurs):
        frames = _blur(frames)
    return np.clip(frames, 0, 255).astype(np.uint8)


def _camera(seed: int, work: Work) -> _Camera:
    draw = rng(seed, "camera", work.look_of)
    bad = 1 - work.quality
    blur, gain_sign, angle, framing = draw.random(4)
    amplitude = bad * 6
    steps = np.cumsum(draw.normal(size=(NUM_FRAMES, 2)), axis=0)
    shake = np.clip(np.round((steps - steps.mean(axis=0)) * amplitude / 5), -_MARGIN, _MARGIN).astype(np.int64)
    reach = bad * framing * 0.1 * SIDE
    return _Camera(
        gain=1 + (0.35 if gain_sign > 0.5 else -0.45) * bad,
        num_blurs=int(bad * 3 + blur * 0.7),
        offset=(float(reach * np.cos(2 * np.pi * angle)), float(reach * np.sin(2 * np.pi * angle))),
        shake_F2=shake,
    )


def _backdrop(seed: int, work: Work, camera: _Camera) -> Floats:
    shift = rng(seed, "backdrop", work.series if work.series is not None else work.look_of).uniform(0, SIDE, 2)
    canvas = draw_background(work.background, work.composition, SIDE + 2 * _MARGIN, (float(shift[0]), float(shift[1])))
    frames = np.empty((NUM_FRAMES, SIDE, SIDE, 3), dtype=np.float32)
    for frame, (dx, dy) in zip(frames, camera.shake_F2.tolist(), strict=True):
        frame[:] = canvas[_MARGIN + dy : _MARGIN + dy + SIDE, _MARGIN + dx : _MARGIN + dx + SIDE]
    return frames


def _foreground(seed: int, work: Work, topic: Topic, camera: _Camera, frames: Floats) -> None:
    draw = rng(seed, "foreground", work.look_of)
    radius = float(draw.uniform(0.32, 0.42)) * SIDE
    tilt, phase, hue_jitter, value = (float(x) for x in (draw.uniform(-0.25, 0.25), draw.random(), draw.normal(0, 6), draw.uniform(0.8, 1)))
    u, v = _own_coordinates(work, topic, camera, radius, tilt, phase)
    stretch = np.float32((1.0, 1.12, 0.9)[work.subtopic])
    rim = distance(topic.shape, u * stretch, v / stretch)
    first, second = _colours(topic, work.subtopic, hue_jitter, value)
    inside = texture(topic.texture, u + np.float32(0.13), v + np.float32(0.07), (2.6, 3.4, 4.4)[work.subtopic])
    palette = np.stack([first, second, np.full(3, 18, dtype=np.float32)])
    which = np.where(rim > np.float32(-3.0 / radius), np.uint8(2), inside.view(np.uint8))
    cover = np.clip(np.float32(0.5) - rim * np.float32(radius), 0, 1)[..., None]
    colour = np.take(palette, which, axis=0)
    colour -= frames
    colour *= cover
    frames += colour


def _own_coordinates(work: Work, topic: Topic, camera: _Camera, radius: float, tilt: float, phase: float) -> tuple[Floats, Floats]:
    """The shape's own coordinates of every pixel of every frame: energy sets the speed, the topic the kind of motion."""
    beat_F = 2 * np.pi * (phase + np.arange(NUM_FRAMES) / FPS * (0.2 + 1.2 * work.energy))
    wave_F = np.sin(beat_F)
    angle_F = tilt + (0.45 * wave_F if topic.motion == "swing" else 0 * wave_F)
    size_F = radius * (1 + 0.18 * wave_F) if topic.motion == "pulse" else radius + 0 * wave_F
    lift_F = 0.09 * SIDE * wave_F if topic.motion == "bounce" else 0 * wave_F
    centre = CENTRES[work.composition]
    x_F = SIDE * (0.5 + centre[0]) + camera.offset[0] - camera.shake_F2[:, 0]
    y_F = SIDE * (0.5 + centre[1]) + camera.offset[1] - camera.shake_F2[:, 1] + lift_F
    grid = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    dx_FW = (grid[None, :] - x_F[:, None].astype(np.float32)) / size_F[:, None].astype(np.float32)
    dy_FH = (grid[None, :] - y_F[:, None].astype(np.float32)) / size_F[:, None].astype(np.float32)
    cos_F, sin_F = np.cos(angle_F).astype(np.float32), np.sin(angle_F).astype(np.float32)
    u = (cos_F[:, None] * dx_FW)[:, None, :] + (sin_F[:, None] * dy_FH)[:, :, None]
    v = (-sin_F[:, None] * dx_FW)[:, None, :] + (cos_F[:, None] * dy_FH)[:, :, None]
    return u, v


def _colours(topic: Topic, subtopic: int, hue_jitter: float, value: float) -> tuple[Floats, Floats]:
    hue = ((topic.hue_degrees + hue_jitter) % 360) / 360
    first = np.array(colorsys.hsv_to_rgb(hue, 0.9, value), dtype=np.float32) * 255
    if subtopic == 2:
        second = np.array(colorsys.hsv_to_rgb((hue + 0.5) % 1, 0.75, value), dtype=np.float32) * 255
    else:
        second = np.full(3, (245, 35)[subtopic], dtype=np.float32)
    return first, second.astype(np.float32)


def _style(style: int, frames: Floats) -> None:
    """An unboxing opens a box, a review shows a score, a show has a moving light."""
    if style == 0:
        for index in range(NUM_FRAMES // 4):
            height = int(SIDE * 0.3 * (1 - index / (NUM_FRAMES / 4)))
            frames[index, SIDE - height :] = _BOX_COLOUR
    elif style == 1:
        frames[:, 3:9, 20:76] = 240
        frames[:, 4:8, 22:60] = (250, 190, 0)
    else:
        for index in range(NUM_FRAMES):
            start = int((index / NUM_FRAMES) * SIDE)
            frames[index, :, start : start + 10] *= 1.25


def _blur(frames: Floats) -> Floats:
    """One binomial blur (1, 2, 1) in both directions; the outermost pixels stay."""
    frames[:, 1:-1] = (frames[:, :-2] + 2 * frames[:, 1:-1] + frames[:, 2:]) * np.float32(0.25)
    frames[:, :, 1:-1] = (frames[:, :, :-2] + 2 * frames[:, :, 1:-1] + frames[:, :, 2:]) * np.float32(0.25)
    return frames
