"""The student of the generated platform `apps` against its teacher: size, what it finds, labels, speed, and a clip from bytes to labels.

The journey's own steps train and measure both. Speed is taken of the exported graphs, which are what is served, and beside it of whole
requests and of torch: one thread, one work at a time, in interleaved pairs, in seconds of processor, so that what else the machine does
does not count. `--place` keeps what is done, so that a run that was stopped goes on.

    OMP_NUM_THREADS=1 python benchmarks/student.py --place /var/tmp/student
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.ablation import World, prepare  # noqa: E402
from benchmarks.record import write_result  # noqa: E402
from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file  # noqa: E402
from reelspace.core.store import open_store  # noqa: E402
from reelspace.demo.presets import CUTOFF  # noqa: E402
from reelspace.evaluate.latency import measure_latency  # noqa: E402
from reelspace.media.dataset import ShardReader  # noqa: E402
from reelspace.media.decode import decode_media  # noqa: E402
from reelspace.media.spec import FrameSpec  # noqa: E402
from reelspace.model.checkpoint import load_model  # noqa: E402
from reelspace.model.tokenizer import Tokenizer  # noqa: E402
from reelspace.serving.encoder import OUTPUT, Encoder, open_graph  # noqa: E402
from reelspace.serving.preprocess import VideoQuery, video_inputs, video_tensors  # noqa: E402
from reelspace.serving.signatures import EncoderSizes, Signature, video_signature  # noqa: E402
from reelspace.serving.version import GRAPH_FILE, TOKENIZER_FILE  # noqa: E402
from reelspace.serving.wire import Tensor  # noqa: E402
from reelspace.steps import distill, embed, evaluate, export, pretrain  # noqa: E402
from reelspace.train.settings import TrainSettings, distill_preset  # noqa: E402
from reelspace.train.teacher_outputs import read_labels  # noqa: E402

BARS = {
    "student.times_smaller": 4.0,
    "student.video_to_topic_p10_ratio": 0.93,
    "student.cross_space_p10_ratio": 0.90,
}
TIMES_FASTER = 3.0
CLIP_P99_S = 1.0
NUM_PAIRS = 400
WARM_UP = 10
NUM_CLIPS = 300


def train(world: World, teacher_steps: int, student_steps: int) -> None:
    """Run the steps from teacher to evaluation, each unless its manifest is there."""
    os.environ["REELSPACE_STORE"] = world.store
    teacher, shards, labels, student, vectors = (manifest(world, kind) for kind in ("teacher", "shards", "labels", "student", "vectors"))
    shared = {"engine": "torch", "seed": world.seed, "train_until": CUTOFF.isoformat()}
    of_teacher = TrainSettings(steps=teacher_steps).model_dump(mode="json") | shared
    of_student = distill_preset("tiny").model_dump(mode="json") | shared | {"steps": student_steps}
    of_evaluation = {"cutoff": CUTOFF.isoformat(), "thresholds": BARS, "seed": world.seed}
    truth = str(world.place / "world")
    once(world, "teacher", lambda out: pretrain.run(shards, labels, out, json.dumps(of_teacher)))
    once(world, "student", lambda out: distill.run(teacher, shards, labels, out, json.dumps(of_student)))
    once(world, "vectors", lambda out: embed.run(teacher, student, shards, out, "{}"))
    once(world, "evaluation", lambda out: evaluate.run(teacher, student, vectors, labels, out, truth, json.dumps(of_evaluation)))
    once(world, "repository", lambda out: export.run(teacher, student, out, "{}"))


def manifest(world: World, kind: str) -> str:
    """Where the manifest of an artifact lies."""
    return str(world.place / f"{kind}.manifest")


def once(world: World, kind: str, step: Callable[[str], None]) -> None:
    """Run a step unless its output is there."""
    if not Path(manifest(world, kind)).is_file():
        step(manifest(world, kind))


def opened(world: World, kind: str) -> Artifact:
    """Open an artifact of the world."""
    return open_artifact(open_store(world.store), read_manifest_file(manifest(world, kind)).id)


def speed(world: World, scratch: Path) -> dict[str, object]:
    """Give how many times as long the teacher takes as the student: the exported graph, the request around it, and the model in torch."""
    served = [open_served(world, scratch, model) for model in ("video_encoder", "video_encoder_light")]
    reader = ShardReader(opened(world, "shards"))
    samples = [
        sample for sample in reader.read_all(reader.video_ids[:200].tolist()) if sample.audio_S is not None and sample.kind == "video"
    ]
    graph_P2, request_P2 = np.zeros((NUM_PAIRS, 2)), np.zeros((NUM_PAIRS, 2))
    for number in range(-WARM_UP, NUM_PAIRS):
        # Which goes first changes from pair to pair.
        for which in (0, 1) if number % 2 else (1, 0):
            request = video_tensors([samples[number % len(samples)]], served[which].signature)
            took = served[which].seconds_of_graph(request), served[which].seconds_of_request(request)
            if number >= 0:
                graph_P2[number, which], request_P2[number, which] = took
    teacher, student = (load_model(opened(world, kind).fetch(scratch / kind))[0] for kind in ("teacher", "student"))
    in_torch = measure_latency(teacher, student, NUM_PAIRS // 4)
    return {
        "pairs": NUM_PAIRS,
        "times_faster": times_of(graph_P2),
        "of_requests": times_of(request_P2),
        "in_torch": times_of(np.stack([in_torch.teacher_ms_P, in_torch.student_ms_P], axis=1) / 1e3),
    }


def times_of(seconds_P2: NDArray[np.float64]) -> dict[str, object]:
    """Give the median ratio of the pairs (teacher, student), the middle half of them, and both medians."""
    low, median, high = np.percentile(seconds_P2[:, 0] / seconds_P2[:, 1], [25, 50, 75])
    teacher_ms, student_ms = np.median(seconds_P2, axis=0) * 1e3
    return {
        "median": round(float(median), 2),
        "middle_half": [round(float(low), 2), round(float(high), 2)],
        "teacher_ms": round(float(teacher_ms), 2),
        "student_ms": round(float(student_ms), 2),
    }


@dataclass(frozen=True, slots=True)
class Served:
    """An exported encoder with one thread, as the backend opens it, and its graph alone."""

    encoder: Encoder
    signature: Signature
    graph: InferenceSession
    tokenizer: Tokenizer

    def seconds_of_graph(self, request: Mapping[str, Tensor]) -> float:
        """Time the graph alone, in seconds of this thread's processor."""
        inputs = video_inputs(request, self.tokenizer)
        start_s = time.thread_time()
        self.graph.run([OUTPUT], inputs)
        return time.thread_time() - start_s

    def seconds_of_request(self, request: Mapping[str, Tensor]) -> float:
        """Time the graph with what is around it in a request: checks, tokens, the answer's tensors."""
        start_s = time.thread_time()
        self.encoder.encode_requests([request])
        return time.thread_time() - start_s


def open_served(world: World, scratch: Path, model: str) -> Served:
    """Open an exported encoder of videos."""
    directory = opened(world, "repository").fetch(scratch / "repository") / model / "1"
    encoder = Encoder(directory, num_threads=1)
    facts = encoder.version
    sizes = EncoderSizes(facts.dimension, *(int(size or 0) for size in (facts.num_frames, facts.height, facts.width, facts.num_samples)))
    tokenizer = Tokenizer.load(directory / TOKENIZER_FILE, facts.text_length)
    return Served(encoder, video_signature(model, sizes), open_graph(directory / GRAPH_FILE, 1), tokenizer)


def from_bytes(world: World, scratch: Path) -> dict[str, object]:
    """Time clips from a file's bytes to vector and labels, on one core, by the clock: decode, encode, tell the labels."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        served = open_served(world, scratch, "video_encoder_light")
        labels = read_labels(opened(world, "student").fetch(scratch / "student"), served.encoder.version.dimension)
        assert labels is not None, "the teacher of this world has labels"
        parts = {name: np.zeros(NUM_CLIPS) for name in ("decode", "encode", "labels")}
        durations = []
        for number, data in enumerate(clips(world, NUM_CLIPS + WARM_UP)):
            marks = [time.perf_counter()]
            decoded = decode_media(data, FrameSpec())
            marks.append(time.perf_counter())
            query = VideoQuery(decoded.frames_FHWC, decoded.audio_S, "best of the day")
            answer = served.encoder.encode_requests([video_tensors([query], served.signature)])[0]
            assert isinstance(answer, dict), "a clip of the world is a good request"
            marks.append(time.perf_counter())
            torch.topk(labels.logits_BK(torch.from_numpy(answer["EMBEDDING"])), 5)
            marks.append(time.perf_counter())
            if number >= WARM_UP:
                for name, seconds in zip(parts, np.diff(marks), strict=True):
                    parts[name][number - WARM_UP] = seconds
                durations.append(decoded.duration_s)
    finally:
        os.sched_setaffinity(0, before)
    total = np.sum(list(parts.values()), axis=0)
    return {
        "clips": NUM_CLIPS,
        "median_duration_s": round(float(np.median(durations)), 2),
        "p50_ms": round(float(np.percentile(total, 50)) * 1e3, 1),
        "p99_ms": round(float(np.percentile(total, 99)) * 1e3, 1),
        "median_ms_of": {name: round(float(np.median(seconds)) * 1e3, 2) for name, seconds in parts.items()},
    }


def clips(world: World, num: int) -> Sequence[bytes]:
    """Read the newest video files with sound among those that decode: the world has broken ones too."""
    index = ShardReader(opened(world, "shards")).index.select(["video_id", "kind", "has_audio"]).to_pylist()
    ids = [row["video_id"] for row in index if row["kind"] == "video" and row["has_audio"]]
    paths = [path for path in (world.place / "world" / "media" / f"{video_id:012d}.mp4" for video_id in ids) if path.is_file()][-num:]
    if len(paths) < num:
        raise SystemExit(f"expected {num} clips in {world.place}, got {len(paths)}: raise --works")
    return [path.read_bytes() for path in paths]


def bars(figures: Mapping[str, Mapping[str, object]], fast: Mapping[str, object], clip: Mapping[str, object]) -> dict[str, object]:
    """Hold every figure against its bar."""
    found = {name: float(str(figures[name.partition(".")[0]][name.partition(".")[2]])) for name in BARS}
    rows = {name: {"value": round(value, 4), "bar": BARS[name], "passed": value >= BARS[name]} for name, value in found.items()}
    median, p99_s = fast["times_faster"], float(str(clip["p99_ms"])) / 1e3
    assert isinstance(median, dict), "as speed gives it"
    times = float(median["median"])
    rows["times_faster"] = {"value": times, "bar": TIMES_FASTER, "passed": times >= TIMES_FASTER}
    rows["bytes_to_labels_p99_s"] = {"value": round(p99_s, 4), "bar": CLIP_P99_S, "passed": p99_s < CLIP_P99_S}
    return dict(rows)


def main() -> None:
    """Train, measure, and write benchmarks/results/student.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=None, help="directory that keeps finished steps; default: a temporary one")
    parser.add_argument("--works", type=int, default=3_000)
    parser.add_argument("--teacher-steps", type=int, default=700)
    parser.add_argument("--student-steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        world = prepare((arguments.place or Path(scratch)).resolve(), arguments.seed, arguments.works)
        train(world, arguments.teacher_steps, arguments.student_steps)
        figures = json.loads(opened(world, "evaluation").read("evaluation.json"))
        fast, clip = speed(world, Path(scratch)), from_bytes(world, Path(scratch))
    summary = json.loads(opened(world, "student").read("summary.json"))
    values = {
        "unit": "ratios to the teacher; milliseconds as named",
        "works": arguments.works,
        "teacher_steps": arguments.teacher_steps,
        "student_steps": summary["steps"],
        "bars": bars(figures, fast, clip),
        "teacher": figures["teacher"],
        "student": figures["student"],
        "speed": fast,
        "bytes_to_labels": clip,
    }
    write_result("student", values, seed=arguments.seed, packages=("torch", "numpy", "onnxruntime", "av"))


if __name__ == "__main__":
    main()
