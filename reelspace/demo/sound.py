"""The sound of a work: a motif of its topic (tempo, pitch, timbre) over a quiet bed of its track.

Shapes: S samples at 16 kHz.
"""

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.demo.latents import Work
from reelspace.demo.music import Track
from reelspace.demo.presets import FPS, NUM_FRAMES, SAMPLE_RATE
from reelspace.demo.topics import Topic

NUM_SAMPLES = SAMPLE_RATE * NUM_FRAMES // FPS
# Strength of the first overtones: pure, hollow, bright, bell.
_OVERTONES = (
    ((1.0, 1.0),),
    ((1.0, 1.0), (3.0, 0.5), (5.0, 0.3)),
    ((1.0, 1.0), (2.0, 0.7), (3.0, 0.5), (4.0, 0.4)),
    ((1.0, 1.0), (2.76, 0.6), (5.4, 0.4)),
)
_CHORDS = ((1.0, 1.25, 1.5), (1.0, 1.26, 1.682), (1.0, 1.189, 1.414), (1.0, 1.189, 1.498))  # by mood
_MELODIES = ((0, 4, 7, 4), (0, 7, 3, 10), (12, 7, 5, 0))  # by sub-topic, semitones
_BED_LEVEL = 0.25
_NOISE_LEVEL = 0.015


def draw_sound(seed: int, work: Work, heard: Topic, track: Track | None) -> NDArray[np.int16]:
    """Synthesise a work's sound; `heard` is the topic whose motif it plays."""
    draw = rng(seed, "sound", work.video_id)
    tempo = heard.tempo_bpm * float(draw.uniform(0.96, 1.04))
    pitch = heard.pitch_hz * float(draw.uniform(0.98, 1.02))
    mix_S = _motif(tempo, pitch, heard.timbre, work.subtopic, float(draw.random()))
    if track is not None:
        mix_S += _BED_LEVEL * _bed(track)
    mix_S += draw.normal(0, _NOISE_LEVEL, NUM_SAMPLES)
    level = float(draw.uniform(6_000, 12_000))
    return np.clip(mix_S * level, -32_000, 32_000).astype(np.int16)


def _motif(tempo_bpm: float, pitch_hz: float, timbre: int, subtopic: int, phase: float) -> NDArray[np.float64]:
    time_S = np.arange(NUM_SAMPLES) / SAMPLE_RATE
    beat_S = time_S * tempo_bpm / 60 + phase
    note_S = np.floor(beat_S).astype(np.int64) % 4
    steps = np.array(_MELODIES[subtopic])
    angle_S = 2 * np.pi * np.cumsum(pitch_hz * 2 ** (steps / 12)[note_S]) / SAMPLE_RATE
    tone_S = np.zeros(NUM_SAMPLES)
    for multiple, strength in _OVERTONES[timbre]:
        tone_S += strength * np.sin(multiple * angle_S)
    decay_S = np.exp(-3.0 * (beat_S - np.floor(beat_S)))
    faded: NDArray[np.float64] = tone_S * decay_S / sum(strength for _, strength in _OVERTONES[timbre])
    return faded


def _bed(track: Track) -> NDArray[np.float64]:
    time_S = np.arange(NUM_SAMPLES) / SAMPLE_RATE
    pulse_S = 0.6 + 0.4 * np.cos(2 * np.pi * time_S * track.tempo_bpm / 60)
    chord_S = np.zeros(NUM_SAMPLES)
    for ratio in _CHORDS[track.mood]:
        chord_S += np.sin(2 * np.pi * track.root_hz * ratio * time_S) / 3
    chord_S *= pulse_S
    return chord_S
