"""Which exported encoders get int8 weights: those that find in the teacher's vectors what they find with float32 weights.

A work is asked by its words (`text_encoder`) or by its vector of the student (`video_encoder_light`). What it should find are the ten works
nearest to it in the teacher's vectors. Speed decides nothing here: what exports is not what serves, and a clock would let the same
models give other artifacts. It is told beside the artifact; benchmarks/serving_parts/int8.py measures it.
Legend: N works, D dimension.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.errors import ReelspaceError, UserError
from reelspace.core.settings import Settings
from reelspace.evaluate.agreement import agreement_figures
from reelspace.media.dataset import ShardReader
from reelspace.media.sample import Sample
from reelspace.serving.encoder import Encoder
from reelspace.serving.preprocess import text_tensors, video_tensors
from reelspace.serving.quantise import write_int8
from reelspace.serving.signatures import video_signature
from reelspace.serving.version import GRAPH_FILE, Version
from reelspace.serving.wire import Tensor

AT_ONCE: Final = 8
MIN_WORKS: Final = 16
TEACHER: Final = "video_encoder"
VERSION: Final = "1"
LOSS_GRID: Final = 0.005

Vectors = list[NDArray[np.float32] | None]


class Int8Settings(Settings):
    """Which encoders are exported with int8 weights, and what they may lose by it."""

    models: tuple[Literal["text_encoder", "video_encoder_light"], ...] = Field(
        (), description="Encoders to export with int8 weights where they lose at most max_precision_loss; else they keep float32."
    )
    max_precision_loss: float = Field(
        0.01, ge=0, le=1, description="Share of a work's ten nearest works in the teacher's vectors that may be found less than by float32."
    )
    num_works: int = Field(256, ge=MIN_WORKS, le=2_000, description="Works of the shards that are asked, evenly over their ids.")


@dataclass(frozen=True, slots=True)
class Int8Outcome:
    """What became of one encoder: shares of the nearest works found, None where none could be measured, and a ratio of times here."""

    num_works: int
    precision_float32: float | None
    precision_int8: float | None
    max_loss: float
    times_faster: float

    @property
    def loss(self) -> float | None:
        """What int8 finds less, without the last digits of two means."""
        if self.precision_float32 is None or self.precision_int8 is None:
            return None
        return round(self.precision_float32 - self.precision_int8, 9)

    @property
    def weights(self) -> Literal["int8", "float32"]:
        """The weights that are exported."""
        return "int8" if self.loss is not None and self.loss <= self.max_loss else "float32"

    def report(self) -> dict[str, object]:
        """Give what export.json says: so coarse that the last digits of this machine's arithmetic stay out of the artifact's id."""
        shown = {
            "precision_float32": None if self.precision_float32 is None else round(self.precision_float32, 2),
            "loss_at_most": None if self.loss is None else round(math.ceil(self.loss / LOSS_GRID) * LOSS_GRID, 3),
        }
        return {"weights": self.weights, **shown, "max_precision_loss": self.max_loss, "num_works": self.num_works}

    def facts(self) -> dict[str, object]:
        """Give what run.json says: exact, and how many times as fast int8 was on the machine that exported."""
        exact = {"precision_float32": self.precision_float32, "precision_int8": self.precision_int8, "loss": self.loss}
        return {"weights": self.weights, **exact, "times_faster_here": round(self.times_faster, 2)}


def settle_weights(repository: Path, shards: ShardReader, settings: Int8Settings, scratch: Path) -> dict[str, Int8Outcome]:
    """Give the encoders of an exported repository int8 weights where they pass; those that do not pass stay as they are.

    Args:
        repository: <model>/1/ of the encoders that are asked for, and of the teacher's `video_encoder`.
        scratch: a directory for what may be thrown away.

    Raises:
        UserError: the shards hold too few works to tell.
    """
    works = chosen_works(shards, settings.num_works)
    (teacher,) = ask_in_turns([Asker.of(repository / TEACHER / VERSION)], works)
    outcomes: dict[str, Int8Outcome] = {}
    for model in dict.fromkeys(settings.models):
        served, tried = repository / model / VERSION, scratch / model
        write_tried(served, tried)
        float32, int8 = ask_in_turns([Asker.of(served), Asker.of(tried)], works)
        precisions = precisions_of(teacher.vectors_N, float32.vectors_N, int8.vectors_N)
        outcomes[model] = Int8Outcome(len(works), *precisions, settings.max_precision_loss, float32.seconds / int8.seconds)
        if outcomes[model].weights == "int8":
            shutil.rmtree(served)
            shutil.move(tried, served)
    return outcomes


def chosen_works(shards: ShardReader, num_works: int) -> list[Sample]:
    """Read works evenly over the ids, the same ones of the same shards.

    Raises:
        UserError: the shards hold too few works to tell.
    """
    if len(shards) < MIN_WORKS:
        raise UserError(f"expected {MIN_WORKS} works or more to tell int8 from float32, the shards {shards.id[:12]} hold {len(shards)}")
    rows = np.linspace(0, len(shards) - 1, min(num_works, len(shards))).round().astype(np.int64)
    return shards.read_all(shards.video_ids[rows].tolist())


def write_tried(served: Path, tried: Path) -> None:
    """Copy a version directory, with int8 weights."""
    shutil.copytree(served, tried)
    write_int8(served / GRAPH_FILE, tried / GRAPH_FILE)
    Version.read(served).model_copy(update={"weights": "int8"}).write(tried)


def precisions_of(teacher_N: Vectors, float32_N: Vectors, int8_N: Vectors) -> tuple[float | None, float | None]:
    """Give the shares of the ten nearest works in the teacher's vectors that float32 and int8 find.

    Works that the teacher or float32 cannot embed (no words, nothing at all) do not count; int8 that cannot embed another one has None.
    """
    rows = [row for row, known in enumerate(zip(teacher_N, float32_N, strict=True)) if all(vector is not None for vector in known)]
    if not rows:
        return None, None
    teacher_ND = _rows_of(teacher_N, rows)
    assert teacher_ND is not None, "rows are those that the teacher answered"
    float32, int8 = (
        None if found_ND is None else agreement_figures(teacher_ND, found_ND)["neighbour_overlap"]
        for found_ND in (_rows_of(float32_N, rows), _rows_of(int8_N, rows))
    )
    return float32, int8


def _rows_of(vectors_N: Vectors, rows: Sequence[int]) -> NDArray[np.float32] | None:
    chosen = [vector for vector in (vectors_N[row] for row in rows) if vector is not None]
    return np.stack(chosen) if len(chosen) == len(rows) else None


@dataclass(frozen=True, slots=True)
class Asker:
    """An exported encoder and the request that asks it about a work."""

    encoder: Encoder
    request: Callable[[Sample], Mapping[str, Tensor]]

    @classmethod
    def of(cls, directory: Path) -> "Asker":
        encoder = Encoder(directory, num_threads=1)
        facts = encoder.version
        if not facts.is_video:
            return cls(encoder, lambda work: text_tensors([work.text]))
        signature = video_signature(facts.model, facts.sizes)
        return cls(encoder, lambda work: video_tensors([work], signature))

    def vectors(self, works: Sequence[Sample]) -> Vectors:
        """Ask about works as one batch; None for a work that is no good request, or whose vector is not finite."""
        answers = self.encoder.encode_requests([self.request(work) for work in works])
        return [None if isinstance(answer, ReelspaceError) else answer["EMBEDDING"][0] for answer in answers]


@dataclass(slots=True)
class Asked:
    """What one encoder answered about N works, and the seconds of processor that it took."""

    vectors_N: Vectors
    seconds: float = 0.0


def ask_in_turns(askers: Sequence[Asker], works: Sequence[Sample]) -> list[Asked]:
    """Ask encoders in turns, a batch each, so that what the machine does meanwhile meets all of them."""
    asked = [Asked([]) for _ in askers]
    for asker in askers:
        asker.vectors(works[:AT_ONCE])
    for start in range(0, len(works), AT_ONCE):
        for asker, answers in zip(askers, asked, strict=True):
            start_s = time.thread_time()
            answers.vectors_N += asker.vectors(works[start : start + AT_ONCE])
            answers.seconds += time.thread_time() - start_s
    return asked
