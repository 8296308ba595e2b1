"""A small world on disk, as the steps before training leave it: shards in a store, and the crowd's labels."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reelspace.core.artifacts import write_artifact, write_manifest_file
from reelspace.core.store import open_store
from reelspace.media.decoded import Decoded
from reelspace.media.job import Packed
from reelspace.media.sample import Words, pack
from reelspace.media.shards import ShardWriter
from reelspace.media.spec import FrameSpec
from reelspace.serving.media_limits import MediaFacts

TOPICS = ("camera", "ramen", "cat", "drone")
NUM_WORKS = 20
FIRST_ID = 100
DECODED = MediaFacts(frames=FrameSpec(num_frames=4, size=64, max_audio_s=2.0), jpeg_quality=90)


@dataclass(frozen=True, slots=True)
class World:
    """Where the inputs of a training lie: the store's url, the ids in it, their manifest files, and the labels' directory."""

    store: str
    shards: str
    labels: str
    shards_manifest: Path
    labels_manifest: Path
    labels_directory: Path


def write_world(root: Path, store_url: str | None = None) -> World:
    """Write works 100 to 119, a topic each, drawn at random; every fourth is silent."""
    store = open_store(store_url or str(root / "store"))
    _write_shards(root / "shards", root / "writing")
    _write_labels(root / "labels")
    made = {}
    settings: dict[str, dict[str, object]] = {"shards": DECODED.model_dump(mode="json"), "labels": {}}
    for kind in ("shards", "labels"):
        artifact = write_artifact(store, kind, root / kind, parents=(), code="", settings=settings[kind])
        write_manifest_file(artifact.manifest, root / f"{kind}.json")
        made[kind] = artifact.id
    return World(store.url, made["shards"], made["labels"], root / "shards.json", root / "labels.json", root / "labels")


def _write_shards(directory: Path, scratch: Path) -> None:
    writer = ShardWriter(scratch, 1 << 20)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    draw = np.random.default_rng(3)
    for row in range(NUM_WORKS):
        base = np.full((4, 64, 64, 3), 60 * (row % len(TOPICS)), dtype=np.uint8)
        frames = base + draw.integers(0, 70, base.shape, dtype=np.uint8)
        sound = None if row % 4 == 3 else draw.integers(-9_000, 9_000, 32_000).astype(np.int16)
        decoded = Decoded(frames, sound, 4.0, "video")
        words = Words(FIRST_ID + row, f"my {TOPICS[row % len(TOPICS)]} {row}", (start + timedelta(days=row)).isoformat())
        writer.add(words, Packed("video", 4, sound is not None, pack(words, decoded, DECODED.jpeg_quality)))
    writer.close()
    writer.publish(directory)


def _write_labels(directory: Path) -> None:
    directory.mkdir(parents=True)
    ids = range(FIRST_ID, FIRST_ID + NUM_WORKS)
    tables: dict[str, list[dict[str, Any]]] = {
        "vocabulary": [{"label_id": number, "text": topic} for number, topic in enumerate(TOPICS)],
        "video_labels": [
            {"video_id": video_id, "label_id": video_id % len(TOPICS), "weight": 0.8, "evidence": '{"queries": {}, "tags": {"t": 0.8}}'}
            for video_id in ids
            if video_id % 5
        ],
        "propensities": [
            {"label_id": number, "propensity": 0.5, "num_both": 0, "num_tags": 4, "num_queries": 0, "method": "frequency"}
            for number in range(len(TOPICS))
        ],
        "missing": [{"video_id": video_id} for video_id in ids],
        "graph": [{"i": 0, "j": 3, "count": 2, "p_ij": 0.5}, {"i": 3, "j": 0, "count": 2, "p_ij": 0.5}],
        "weights": [{"label_id": number, "idf": 1.0, "freshness": 1.0, "weight": 1.0} for number in range(len(TOPICS))],
        "texts": [
            {
                "video_id": video_id,
                "caption": f"my {TOPICS[video_id % len(TOPICS)]}",
                "comments": ["so nice"],
                "queries": [f"best {TOPICS[video_id % len(TOPICS)]}"],
            }
            for video_id in ids
        ],
    }
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), directory / f"{name}.parquet")
