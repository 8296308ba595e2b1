"""Sound tracks and which work uses which: chosen by energy and mood, whatever the topic."""

from dataclasses import dataclass

import numpy as np

from reelspace.core.rng import rng
from reelspace.demo.latents import MOODS, Work
from reelspace.demo.presets import WorldSettings

NUM_TRACKS = 48
_ORIGINAL_SOUND = 0.25  # share of works without a track
_FITTING = 0.85  # share of tracks chosen by energy and mood, the others by chance
_FIRST_MUSIC_ID = 500


@dataclass(frozen=True, slots=True)
class Track:
    """One piece of music: its energy sets the tempo, its mood the chord."""

    music_id: int
    energy: float
    mood: int
    root_hz: float

    @property
    def tempo_bpm(self) -> float:
        return 60 + 110 * self.energy


def tracks(settings: WorldSettings) -> tuple[Track, ...]:
    """All tracks of a world, equally many of each mood."""
    draw = rng(settings.seed, "tracks")
    ids = _FIRST_MUSIC_ID + draw.permutation(NUM_TRACKS)
    energies = draw.random(NUM_TRACKS).round(4)
    roots = 110 * 2 ** (draw.integers(0, 12, NUM_TRACKS) / 12)
    return tuple(Track(int(ids[i]), float(energies[i]), i % len(MOODS), float(roots[i])) for i in range(NUM_TRACKS))


def track_of(settings: WorldSettings, work: Work, pieces: tuple[Track, ...]) -> Track | None:
    """The track under a work; None means original sound."""
    if "music" not in settings.parts or work.sound == "none":
        return None
    draw = rng(settings.seed, "music", work.video_id)
    original, fitting = draw.random(2)
    if original < _ORIGINAL_SOUND:
        return None
    if fitting >= _FITTING:
        return pieces[int(draw.integers(len(pieces)))]
    same_mood = [piece for piece in pieces if piece.mood == work.mood]
    wanted = work.energy + draw.normal(0, 0.08)
    return same_mood[int(np.argmin([abs(piece.energy - wanted) for piece in same_mood]))]
