"""The sound of a media file: 16 kHz, mono, int16, from the start of the file up to a limit.

Shapes: S samples.
"""

from __future__ import annotations

from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from reelspace.media.packets import PacketCount
from reelspace.media.spec import SAMPLE_RATE, FrameSpec

_SILENT_PEAK: Final = 3  # of 32768: what codecs leave of digital silence
_MIN_LEAD_S: Final = 0.1  # an encoder's priming is shorter


class SoundTrack:
    """Decodes the beginning of one sound stream.

    Args:
        start_s: time of the file's beginning on the stream's clock; sound that starts later is led in by silence.
    """

    def __init__(self, start_s: float, spec: FrameSpec) -> None:
        self._start_s = start_s
        self._max_samples = round(spec.max_audio_s * SAMPLE_RATE)
        self._resampler: AudioResampler | None = None
        self._input: tuple[str, str, int] | None = None
        self._chunks: list[NDArray[np.int16]] = []
        self._num_samples = 0
        self.count = PacketCount()

    @property
    def is_complete(self) -> bool:
        """Whether no further packet is wanted."""
        return self._num_samples >= self._max_samples

    @property
    def num_samples(self) -> int:
        """Samples there are so far, the lead-in included."""
        return min(self._num_samples, self._max_samples)

    def add(self, packet: av.Packet[Any]) -> None:
        """Take the next packet of the stream; an empty one ends it."""
        with self.count.judging(packet):
            for frame in packet.decode():
                if isinstance(frame, AudioFrame) and not self.is_complete:
                    self._add_frame(frame)

    def finish(self) -> NDArray[np.int16] | None:
        """Give audio_S, or None if there is no sound or only silence."""
        if not self.is_complete:
            self._resample(None)
        if not self._chunks:
            return None
        audio_S = np.concatenate(self._chunks)[: self._max_samples]
        is_silent = not len(audio_S) or int(np.abs(audio_S.astype(np.int32)).max()) <= _SILENT_PEAK
        return None if is_silent else audio_S

    def _add_frame(self, frame: AudioFrame) -> None:
        of_input = (frame.format.name, frame.layout.name, frame.sample_rate)
        if of_input != self._input:
            self._resample(None)
            self._resampler, self._input = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE), of_input
        if not self._chunks and frame.time is not None:
            self._lead_in(frame.time - self._start_s)
        frame.pts = None  # by stamps with gaps the resampler would invent or drop samples
        self._resample(frame)

    def _lead_in(self, lead_s: float) -> None:
        if lead_s >= _MIN_LEAD_S:
            self._append(np.zeros(min(round(lead_s * SAMPLE_RATE), self._max_samples), dtype=np.int16))

    def _resample(self, frame: AudioFrame | None) -> None:
        for resampled in self._resampler.resample(frame) if self._resampler is not None else ():
            self._append(resampled.to_ndarray()[0])

    def _append(self, chunk_S: NDArray[np.int16]) -> None:
        self._chunks.append(chunk_S)
        self._num_samples += len(chunk_S)
