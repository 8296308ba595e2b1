"""From upload to findable: a clip's bytes to a vector of the student, an upsert through the gateway, and the search that finds it.

Takes what `make demo` left: its clips, its student as it is served, on one core. The gateway is `reelspace search serve` with the shards
in its process, over a collection that has rows already. By the clock, one clip at a time:

- waited: the upsert is acknowledged when searches see it, and the next search must find the clip
- not waited: the upsert is acknowledged when it is durable, and searches are repeated until one finds the clip

    OMP_NUM_THREADS=1 python benchmarks/findable.py --demo demo-out
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write_result  # noqa: E402
from reelspace.core.errors import ReelspaceError  # noqa: E402
from reelspace.core.processes import child, stop  # noqa: E402
from reelspace.media.decode import decode_media  # noqa: E402
from reelspace.media.spec import FrameSpec  # noqa: E402
from reelspace.search.clustered import ClusteredVectors  # noqa: E402
from reelspace.serving.encoder import Encoder  # noqa: E402
from reelspace.serving.preprocess import VideoQuery, video_tensors  # noqa: E402
from reelspace.serving.signatures import EncoderSizes, Signature, video_signature  # noqa: E402

MODEL = "video_encoder_light"
COLLECTION = "works"
NUM_ROWS, BATCH_ROWS = 50_000, 1_000
NUM_CLIPS, WARM_UP = 200, 10
NEW_ID = NUM_ROWS
HITS = 10
CAPTION = "best of the day"
PATIENCE_S, INDEXED_S = 30.0, 300.0
PARTS = ("decode", "encode", "upsert", "find")
FINDABLE_P99_S = 1.0
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Student:
    """The served encoder of new clips, one thread."""

    encoder: Encoder
    signature: Signature

    def vector(self, query: VideoQuery) -> Vector:
        """Give the vector of a clip."""
        answer = self.encoder.encode_requests([video_tensors([query], self.signature)])[0]
        assert isinstance(answer, dict), "a clip that decodes is a good request"
        found: Vector = answer["EMBEDDING"][0]
        return found


@dataclass
class Times:
    """Seconds of every clip's parts, and how many clips the first search found."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PARTS})
    num_at_once: int = 0

    def figures(self) -> dict[str, object]:
        """Give percentiles of the whole, medians of the parts."""
        total_s = np.sum(list(self.seconds.values()), axis=0)
        return {
            "p50_ms": round(float(np.percentile(total_s, 50)) * 1e3, 1),
            "p99_ms": round(float(np.percentile(total_s, 99)) * 1e3, 1),
            "median_ms_of": {name: round(float(np.median(seconds)) * 1e3, 2) for name, seconds in self.seconds.items()},
            "found_by_the_first_search": self.num_at_once,
        }


def main() -> None:
    """Measure, and write benchmarks/results/findable.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=ROOT / "demo-out", help="what `make demo` wrote")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    student = open_student(arguments.demo / "store" / "repository" / MODEL / "1")
    clips = readable_clips(arguments.demo / "world" / "media", NUM_CLIPS + WARM_UP)
    with tempfile.TemporaryDirectory() as place, gateway(Path(place)) as client:
        fill(client, student.encoder.version.dimension, arguments.seed)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        waited, not_waited = Times(), Times()
        for number, data in enumerate(clips):
            # Which goes first changes from clip to clip.
            for wait in (True, False) if number % 2 else (False, True):
                measure(client, student, data, waited if wait else not_waited, wait=wait)
            if number + 1 == WARM_UP:
                waited, not_waited = Times(), Times()
    figures = waited.figures()
    values = {
        "unit": "milliseconds",
        "clips": NUM_CLIPS,
        "rows_before": NUM_ROWS,
        "waited": figures,
        "not_waited": not_waited.figures(),
        "bars": bars(waited),
    }
    write_result("findable", values, seed=arguments.seed, packages=("numpy", "onnxruntime", "av", "qdrant-client"))


def open_student(directory: Path) -> Student:
    """Open the student as it is served."""
    if not directory.is_dir():
        raise SystemExit(f"expected the served student in {directory}: run `make demo`, or give its directory by --demo")
    encoder = Encoder(directory, num_threads=1)
    facts = encoder.version
    sizes = EncoderSizes(facts.dimension, *(int(size or 0) for size in (facts.num_frames, facts.height, facts.width, facts.num_samples)))
    return Student(encoder, video_signature(MODEL, sizes))


def readable_clips(media: Path, num: int) -> Sequence[bytes]:
    """Read the newest clips that decode: the world has broken ones too."""
    found: list[bytes] = []
    for path in sorted(media.glob("*.mp4"), reverse=True):
        data = path.read_bytes()
        try:
            decode_media(data, FrameSpec())
        except ReelspaceError:
            continue
        found.append(data)
        if len(found) == num:
            return found
    raise SystemExit(f"expected {num} clips in {media}, got {len(found)}: make a larger demo")


@contextmanager
def gateway(directory: Path) -> Iterator[QdrantClient]:
    """Serve an empty directory."""
    command = [sys.executable, "-m", "reelspace.cli", "search", "serve", "--dir", str(directory), "--port", "0", "--grpc-port", "0"]
    process = child(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        http, grpc = (int(ready[name].rpartition(":")[2]) for name in ("url", "grpc"))
        client = QdrantClient(host="127.0.0.1", port=http, grpc_port=grpc, prefer_grpc=True, check_compatibility=False, timeout=60)
        yield client
        client.close()
    finally:
        stop(process)


def fill(client: QdrantClient, dimension: int, seed: int) -> None:
    """Make the collection and the rows that it has before, and wait until they are indexed."""
    client.create_collection(COLLECTION, vectors_config=models.VectorParams(size=dimension, distance=models.Distance.COSINE))
    rows_ND = ClusteredVectors(dimension, seed).rows(NUM_ROWS, "gallery")
    for start in range(0, NUM_ROWS, BATCH_ROWS):
        batch_ND = rows_ND[start : start + BATCH_ROWS]
        ids = list(range(start, start + len(batch_ND)))
        client.upsert(COLLECTION, models.Batch(ids=ids, vectors=batch_ND.tolist()), wait=start + BATCH_ROWS >= NUM_ROWS)
    end_s = time.monotonic() + INDEXED_S
    while client.get_collection(COLLECTION).status != models.CollectionStatus.GREEN:
        if time.monotonic() > end_s:
            raise SystemExit(f"expected {NUM_ROWS} rows to be indexed within {INDEXED_S:g} s")
        time.sleep(1.0)


def measure(client: QdrantClient, student: Student, data: bytes, times: Times, *, wait: bool) -> None:
    """Time one clip from its bytes to the search that finds it."""
    marks = [time.perf_counter()]
    decoded = decode_media(data, FrameSpec())
    marks.append(time.perf_counter())
    vector = student.vector(VideoQuery(decoded.frames_FHWC, decoded.audio_S, CAPTION)).tolist()
    marks.append(time.perf_counter())
    client.upsert(COLLECTION, [models.PointStruct(id=NEW_ID, vector=vector)], wait=wait)
    marks.append(time.perf_counter())
    num_searches = 0
    while True:
        num_searches += 1
        if NEW_ID in [hit.id for hit in client.query_points(COLLECTION, vector, limit=HITS).points]:
            break
        if time.perf_counter() - marks[-1] > PATIENCE_S:
            raise SystemExit(f"a clip was not found within {PATIENCE_S:g} s")
    marks.append(time.perf_counter())
    client.delete(COLLECTION, [NEW_ID], wait=True)
    times.num_at_once += num_searches == 1
    for name, seconds in zip(PARTS, np.diff(marks), strict=True):
        times.seconds[name].append(float(seconds))


def bars(waited: Times) -> dict[str, object]:
    """Hold the clips that were waited for against what real time asks."""
    p99_s = float(np.percentile(np.sum(list(waited.seconds.values()), axis=0), 99))
    return {
        "waited_p99_s": {"value": round(p99_s, 4), "bar": FINDABLE_P99_S, "passed": p99_s < FINDABLE_P99_S},
        "waited_found_by_the_first_search": {"value": waited.num_at_once, "bar": NUM_CLIPS, "passed": waited.num_at_once == NUM_CLIPS},
    }


if __name__ == "__main__":
    main()
