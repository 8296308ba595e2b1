"""How much faster a student is than its teacher: one work at a time on one thread of this machine, in interleaved pairs.

Times are seconds of processor that the thread used: on a machine with nothing else to do they are those of the clock, and on a busy one
what the others do does not count.

Legend: P pairs, F frames, S sound samples, L text tokens.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reelspace.core.rng import rng
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings

_WARM_UP = 3
_TEXT_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that either model took for a work, P each, and the ratio teacher to student of every pair."""

    teacher_ms_P: NDArray[np.float64]
    student_ms_P: NDArray[np.float64]

    @property
    def ratio_P(self) -> NDArray[np.float64]:
        """How many times as long the teacher took."""
        return self.teacher_ms_P / self.student_ms_P

    @property
    def times_faster(self) -> float:
        """The median over pairs: what else the machine did in one of them does not move it."""
        return float(np.median(self.ratio_P))

    @property
    def interval(self) -> tuple[float, float]:
        """The middle half of the pairs."""
        low, high = np.percentile(self.ratio_P, [25, 75])
        return float(low), float(high)


def measure_latency(teacher: ReelModel, student: ReelModel, num_pairs: int, seed: int = 0) -> Latency:
    """Time both models on works of random pictures, sounds and words, all modalities present.

    Works of a batch of one take as long whatever they show, so no world is needed.
    """
    models = (teacher.eval(), student.eval())
    works = [random_work(model.settings, seed) for model in models]
    seconds: tuple[list[float], list[float]] = ([], [])
    with _one_thread(), torch.inference_mode():
        for number in range(num_pairs + _WARM_UP):
            # Which goes first changes from pair to pair: the second finds a warmer processor.
            for which in (0, 1) if number % 2 else (1, 0):
                start_s = time.thread_time()
                models[which].encode_video(*works[which])
                if number >= _WARM_UP:
                    seconds[which].append(time.thread_time() - start_s)
    teacher_ms_P, student_ms_P = (np.array(times, dtype=np.float64) * 1e3 for times in seconds)
    return Latency(teacher_ms_P, student_ms_P)


def random_work(settings: ModelSettings, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Give the arguments of `ReelModel.encode_video` for one work."""
    draw = rng(seed, "latency")
    frames = draw.integers(0, 256, (1, settings.num_frames, settings.frame_size, settings.frame_size, 3), dtype=np.uint8)
    audio = draw.integers(-9_000, 9_000, (1, settings.sound.num_samples)).astype(np.int16)
    text_1L = np.zeros((1, settings.text_length), dtype=np.int32)
    text_1L[:, :_TEXT_TOKENS] = draw.integers(4, settings.vocabulary_size, (1, min(_TEXT_TOKENS, settings.text_length)))
    every_frame, has_sound = torch.ones(1, settings.num_frames, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
    text = torch.from_numpy(text_1L)
    return torch.from_numpy(frames), every_frame, torch.from_numpy(audio), has_sound, text, text != 0


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
