"""int8 against float32 weights of students on this processor: time in interleaved pairs, and what is found less.

Time of the exported graphs, one thread, seconds of processor, weights random since time does not see them: the demo's student, and one of
a size that a service would run. What is found less is measured with the trained models that benchmarks/student.py leaves in its `--place`:
by the gate of the step, and against the truth of the generated platform.

    OMP_NUM_THREADS=1 python -m benchmarks.serving_parts.int8 --place /var/tmp/student
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.record import write_result
from benchmarks.serving_parts.models import student
from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.store import open_store
from reelspace.demo.presets import CUTOFF
from reelspace.evaluate.latency import random_work
from reelspace.evaluate.topics import text_values, topic_task, video_precision_Q
from reelspace.evaluate.truth import read_queries, read_works
from reelspace.evaluate.vectors import read_vectors
from reelspace.media.dataset import ShardReader
from reelspace.model.model import ReelModel
from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings
from reelspace.serving.encoder import OUTPUT, open_graph
from reelspace.serving.graphs import Inputs, TextGraph, VideoGraph, write_graph
from reelspace.serving.preprocess import text_tensors
from reelspace.serving.quantise import write_int8
from reelspace.steps.int8 import Asker, Int8Settings, ask_in_turns, settle_weights, write_tried

BARS: Final = {"text": 2.0, "pictures": 1.3}
MAX_PRECISION_LOSS: Final = 0.01
BATCHES: Final = (1, 8, 32)
LEAST_PAIRS: Final = 5
MIN_TRAINING_WORKS: Final = 12
SIZES: Final[Mapping[str, Callable[[], ModelSettings]]] = {"tiny_student": lambda: preset("tiny_student"), "student": student}

Row = dict[str, Any]
Floats = NDArray[np.float32]


def rows(seconds: float) -> list[Row]:
    """Time every size, graph and batch; what took `seconds` per row is enough."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, size in SIZES.items():
            torch.manual_seed(0)
            model, settings = ReelModel(size()).eval(), size()
            for what, graph in (("text", TextGraph(model)), ("pictures", VideoGraph(model))):
                float32, int8 = Path(scratch) / f"{name}-{what}.onnx", Path(scratch) / f"{name}-{what}-int8.onnx"
                write_graph(graph, inputs_of(settings, what, 2), float32, opset=17)
                products = write_int8(float32, int8)
                facts = {"size": name, "what": what, "products": products, "bytes_ratio": share(int8, float32)}
                found += [facts | timed(float32, int8, inputs_of(settings, what, batch), BARS[what], seconds) for batch in BATCHES]
    return found


def share(part: Path, whole: Path) -> float:
    """Give the length of one file as a share of another's."""
    return round(part.stat().st_size / whole.stat().st_size, 3)


def inputs_of(settings: ModelSettings, what: str, batch: int) -> Inputs:
    """Give a graph's inputs: different works of noise, with every part there."""
    works = [[part.numpy() for part in random_work(settings, seed)] for seed in range(batch)]
    parts = [np.concatenate([work[place] for work in works]) for place in range(6)]
    named = dict(zip(("frames", "frames_mask", "audio", "audio_mask", "text", "text_mask"), parts, strict=True))
    return named if what == "pictures" else {name: named[name] for name in ("text", "text_mask")}


def timed(float32: Path, int8: Path, inputs: Inputs, bar: float, seconds: float) -> Row:
    """Time both graphs in pairs, of which either goes first in turns; gives the median ratio, its middle half, both medians."""
    sessions = [open_graph(path, num_threads=1) for path in (float32, int8)]
    vectors = [session.run([OUTPUT], dict(inputs))[0] for session in sessions]
    pairs: list[list[float]] = []
    end_s = time.monotonic() + seconds
    while len(pairs) < LEAST_PAIRS or time.monotonic() < end_s:
        took = [0.0, 0.0]
        for which in (0, 1) if len(pairs) % 2 else (1, 0):
            start_s = time.thread_time()
            sessions[which].run([OUTPUT], dict(inputs))
            took[which] = time.thread_time() - start_s
        pairs.append(took)
    seconds_P2 = np.array(pairs)
    low, median, high = np.percentile(seconds_P2[:, 0] / seconds_P2[:, 1], [25, 50, 75])
    float32_ms, int8_ms = np.median(seconds_P2, axis=0) * 1e3
    return {
        "batch": len(inputs["text"]),
        "pairs": len(pairs),
        "times_faster": round(float(median), 2),
        "middle_half": [round(float(low), 2), round(float(high), 2)],
        "float32_ms": round(float(float32_ms), 2),
        "int8_ms": round(float(int8_ms), 2),
        "bar": bar,
        "passed": bool(median >= bar),
        "least_cosine": round(float((vectors[0] * vectors[1]).sum(axis=1).min()), 4),
    }


class Trained:
    """The trained models and works that benchmarks/student.py left, read only."""

    def __init__(self, place: Path, scratch: Path) -> None:
        self.place = place
        self.scratch = scratch
        self.repository = self.opened("repository").fetch(scratch / "repository")

    def opened(self, kind: str) -> Artifact:
        """Open an artifact of the world."""
        return open_artifact(open_store(str(self.place / "store")), read_manifest_file(self.place / f"{kind}.manifest").id)

    def gate(self) -> Row:
        """Run the gate of the step `export` on both encoders."""
        settings = Int8Settings(models=("text_encoder", "video_encoder_light"), max_precision_loss=MAX_PRECISION_LOSS)
        copied = Path(shutil.copytree(self.repository, self.scratch / "copied"))
        outcomes = settle_weights(copied, ShardReader(self.opened("shards")), settings, self.scratch / "tried")
        return {model: outcome.facts() for model, outcome in outcomes.items()}

    def by_truth(self) -> Row:
        """Give the precision at 10 in the teacher's vectors by topic, asked by the student's vectors and by texts, and what int8 loses."""
        vectors = read_vectors(self.opened("vectors").fetch(self.scratch / "vectors") / "vectors.parquet")
        teacher_ND, truth = vectors.by_name["vector"], self.place / "world"
        task = topic_task(read_works(truth, vectors.video_ids_N), vectors.created_at_N, CUTOFF, MIN_TRAINING_WORKS)
        asked = task.query_rows_Q
        samples = ShardReader(self.opened("shards")).read_all(vectors.video_ids_N[asked].tolist())
        precisions = {"pictures": [], "text": []}
        for asker in self._pair("video_encoder_light"):
            queries_ND = np.zeros_like(teacher_ND)
            queries_ND[asked] = _stacked(ask_in_turns([asker], samples)[0].vectors_N)
            precisions["pictures"].append(float(video_precision_Q(task, queries_ND, teacher_ND)[task.trained_Q].mean()))
        texts = read_queries(truth)
        for asker in self._pair("text_encoder"):
            answers = [asker.encoder.encode_requests([text_tensors([query.text])])[0] for query in texts]
            queries_QD = _stacked([answer["EMBEDDING"][0] if isinstance(answer, dict) else None for answer in answers])
            precisions["text"].append(float(np.mean(text_values(task, texts, queries_QD, teacher_ND)["text_to_topic_p10_all"])))
        return {what: precision_row(*pair, num) for (what, pair), num in zip(precisions.items(), (len(asked), len(texts)), strict=True)}

    def _pair(self, model: str) -> list[Asker]:
        served, tried = self.repository / model / "1", self.scratch / f"{model}-int8"
        write_tried(served, tried)
        return [Asker.of(served), Asker.of(tried)]


def precision_row(float32: float, int8: float, num_queries: int) -> Row:
    """Hold the loss of precision against its bar."""
    loss = float32 - int8
    figures = {"float32": round(float32, 4), "int8": round(int8, 4), "loss": round(loss, 4)}
    return {"queries": num_queries, **figures, "bar": MAX_PRECISION_LOSS, "passed": loss <= MAX_PRECISION_LOSS}


def _stacked(vectors: Sequence[Floats | None]) -> Floats:
    assert all(vector is not None for vector in vectors), "every query of the world is a good request"
    return np.stack([vector for vector in vectors if vector is not None])


def main() -> None:
    """Measure, and write benchmarks/results/int8.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=None, help="what benchmarks/student.py was given as --place; None: time alone")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each row of times")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    values: Row = {"unit": "ratios of seconds of processor, float32 over int8; precisions at 10", "times": rows(arguments.seconds)}
    if arguments.place is not None:
        with tempfile.TemporaryDirectory() as scratch:
            trained = Trained(arguments.place.resolve() / "seed-0", Path(scratch))
            values |= {"gate": trained.gate(), "by_truth": trained.by_truth()}
    write_result("int8", values, seed=0, packages=("torch", "numpy", "onnx", "onnxruntime"))


if __name__ == "__main__":
    main()
