"""Where the pictures and sounds of a batch come from: memory, or the shards, with equal bytes.

Legend: N works, B works of a batch, F frames, H W pixels, C channels, W windows, M mel bands, S sound samples.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from reelspace.media.dataset import ShardReader
from reelspace.media.sample_cache import DirectoryCache, MemoryCache
from reelspace.model.inputs import audio_of, frames_of
from reelspace.model.settings import ModelSettings
from reelspace.model.towers import SoundTower
from reelspace.train.settings import ReadingSettings

_MEL_CHUNK = 64
_READ_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Media:
    """Pictures and sounds of some works."""

    frames_BFHWC: NDArray[np.uint8]
    num_frames_B: NDArray[np.int64]
    """Frames that are there; the others are black."""
    mel_BWM: NDArray[np.float32]
    has_audio_B: NDArray[np.bool_]


class MediaSource(Protocol):
    """Gives pictures and sounds of the N works of a training by row."""

    def read(self, rows_B: NDArray[np.int64]) -> Media:
        """Read works, in the order of the rows."""

    def first_frames_B1HWC(self, rows_B: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the first frame of works."""


@dataclass(frozen=True, slots=True)
class InMemoryMedia:
    """The media of all works, decoded once."""

    frames_NFHWC: NDArray[np.uint8]
    num_frames_N: NDArray[np.int64]
    mel_NWM: NDArray[np.float32]
    has_audio_N: NDArray[np.bool_]

    @classmethod
    def of(cls, source: MediaSource, num: int) -> Self:
        """Take up all `num` works of another source."""
        chunks = [source.read(np.arange(start, min(start + _READ_CHUNK, num))) for start in range(0, num, _READ_CHUNK)]
        return cls(
            np.concatenate([chunk.frames_BFHWC for chunk in chunks]),
            np.concatenate([chunk.num_frames_B for chunk in chunks]),
            np.concatenate([chunk.mel_BWM for chunk in chunks]),
            np.concatenate([chunk.has_audio_B for chunk in chunks]),
        )

    def read(self, rows_B: NDArray[np.int64]) -> Media:
        """Pick works."""
        return Media(self.frames_NFHWC[rows_B], self.num_frames_N[rows_B], self.mel_NWM[rows_B], self.has_audio_N[rows_B])

    def first_frames_B1HWC(self, rows_B: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pick the first frames of works."""
        return self.frames_NFHWC[rows_B, :1]


class ShardMedia:
    """The media of works in shards, read and decoded when they are asked for.

    Args:
        ids_N: the works by row; each lies in the shards.
        model: sizes of frames and sound.

    Raises:
        CorruptArtifact: of `read`: a sample's bytes are not those of the index; names shard and sample.
    """

    def __init__(self, reader: ShardReader, ids_N: NDArray[np.int64], model: ModelSettings) -> None:
        self._reader = reader
        self._ids_N = ids_N
        self._model = model
        self._tower = SoundTower(model)

    def read(self, rows_B: NDArray[np.int64]) -> Media:
        """Read works from the shards, several at a time."""
        samples = self._reader.read_all(self._ids_N[rows_B].tolist())
        frames = [frames_of(sample, self._model) for sample in samples]
        audio = [audio_of(sample, self._model) for sample in samples]
        return Media(
            np.stack([part for part, _ in frames]),
            np.array([int(mask.sum()) for _, mask in frames], dtype=np.int64),
            _log_mel(np.stack([part for part, _ in audio]), self._tower),
            np.array([present for _, present in audio], dtype=np.bool_),
        )

    def first_frames_B1HWC(self, rows_B: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the first frames of works from the shards; a work is read once however often it is named."""
        distinct, places_B = np.unique(rows_B, return_inverse=True)
        samples = self._reader.read_all(self._ids_N[distinct].tolist())
        first_B1HWC: NDArray[np.uint8] = np.stack([frames_of(sample, self._model)[0][:1] for sample in samples])[places_B]
        return first_B1HWC


def open_media(reader: ShardReader, ids_N: NDArray[np.int64], settings: ReadingSettings, model: ModelSettings) -> MediaSource:
    """Give the media of works of the shards: decoded into memory if they fit there, else read batch by batch through a cache."""
    cache_bytes = settings.cache_mib << 20
    in_directory = DirectoryCache(Path(settings.cache) / reader.id, cache_bytes) if settings.cache is not None else None
    if decoded_bytes(len(ids_N), model) <= settings.memory_mib << 20:
        return InMemoryMedia.of(ShardMedia(reader.reading(in_directory, settings.num_reads), ids_N, model), len(ids_N))
    return ShardMedia(reader.reading(in_directory or MemoryCache(cache_bytes), settings.num_reads), ids_N, model)


def decoded_bytes(num_works: int, model: ModelSettings) -> int:
    """Give the bytes of memory that the decoded media of works take."""
    sound = model.sound
    num_windows = 1 + (sound.num_samples - sound.window) // sound.hop
    return num_works * (model.num_frames * model.frame_size**2 * 3 + num_windows * sound.num_mels * 4)


def log_mel_NWM(audio_NS: NDArray[np.int16], model: ModelSettings) -> NDArray[np.float32]:
    """Compute spectra with the model's own function; a work's spectrum does not depend on those beside it."""
    return _log_mel(audio_NS, SoundTower(model))


def _log_mel(audio_NS: NDArray[np.int16], tower: SoundTower) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(audio_NS), _MEL_CHUNK):
        chunk = audio_NS[start : start + _MEL_CHUNK]
        # One work alone would be multiplied by another kernel, whose last bits differ.
        pair = np.concatenate([chunk, chunk]) if len(chunk) == 1 else chunk
        with torch.inference_mode():
            parts.append(tower.log_mel(torch.from_numpy(pair)).numpy()[: len(chunk)])
    return np.concatenate(parts)
