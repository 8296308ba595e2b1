"""Nothing about a file or an upload says what is in it: a linear probe finds neither topic nor quality."""

from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from reelspace.demo.drawing import draw_frames
from reelspace.demo.latents import World
from reelspace.demo.videos import encode_image

NUM_FOLDS = 5
NUM_SHUFFLES = 200


def probe_score(features_NK: NDArray[np.float64], target_NC: NDArray[np.float64]) -> float:
    """Cross-validated share of the targets' variance that least squares explains; below 0 means worse than the mean."""
    rows = np.random.default_rng(0).permutation(len(features_NK))
    scaled = (features_NK - features_NK.mean(axis=0)) / (features_NK.std(axis=0) + 1e-9)
    scaled = np.hstack([scaled, np.ones((len(scaled), 1))])
    error = total = 0.0
    for fold in range(NUM_FOLDS):
        held, rest = rows[fold::NUM_FOLDS], np.setdiff1d(rows, rows[fold::NUM_FOLDS])
        weights, *_ = np.linalg.lstsq(scaled[rest], target_NC[rest], rcond=None)
        error += float(((target_NC[held] - scaled[held] @ weights) ** 2).sum())
        total += float(((target_NC[held] - target_NC[rest].mean(axis=0)) ** 2).sum())
    return 1 - error / total


def is_predictable(features_NK: NDArray[np.float64], target_NC: NDArray[np.float64]) -> bool:
    """Whether the probe beats 99 of 100 probes on shuffled targets."""
    draw = np.random.default_rng(1)
    chance = [probe_score(features_NK, target_NC[draw.permutation(len(target_NC))]) for _ in range(NUM_SHUFFLES)]
    return probe_score(features_NK, target_NC) > np.quantile(chance, 0.99)


def upload_facts(root: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Facts of every readable video file, its topic and its quality."""
    truth = {row["video_id"]: row for row in pq.read_table(root / "truth" / "works.parquet").to_pylist()}
    rows, topics, qualities = [], [], []
    for path in sorted(root.glob("tables/videos/*/part.parquet")):
        for video in pq.read_table(path, partitioning=None).to_pylist():
            work = truth[video["video_id"]]
            if not work["decodable"] or work["kind"] == "image":
                continue
            file = root / video["uri"]
            rows.append(
                [file.stat().st_size, video["video_id"], video["created_at"].hour, video["created_at"].microsecond, *codec_facts(file)]
            )
            topics.append(work["topic"])
            qualities.append(work["quality"])
    return np.array(rows, dtype=np.float64), np.array(topics), np.array(qualities)


def codec_facts(file: Path) -> list[float]:
    """What a player reads before it decodes anything."""
    with av.open(str(file)) as container:
        video, audio = container.streams.video[0], next(iter(container.streams.audio), None)
        size_bytes = sum(packet.size for packet in container.demux(video))
        sound_rate = (audio.bit_rate or 0) if audio else 0
        return [container.duration or 0, video.bit_rate or 0, size_bytes, video.frames, len(container.streams), sound_rate]


def test_a_linear_probe_on_upload_facts_finds_neither_topic_nor_quality(small_world_directory: Path) -> None:
    facts, topics, qualities = upload_facts(small_world_directory)
    assert len(facts) > 100
    assert not is_predictable(facts, np.eye(16)[topics])
    assert not is_predictable(facts, qualities[:, None])


@pytest.mark.parametrize("target", ["topic", "quality"])
def test_planned_ids_and_upload_hours_say_nothing(apps_world: World, target: str) -> None:
    works = [work for work in apps_world.works if not work.newborn and work.look_of == work.video_id and work.series is None]
    hours = [work.created_us // 3_600_000_000 % 24 for work in works]
    facts = np.array(
        [[work.video_id, hour, work.created_us % 3_600_000_000] for work, hour in zip(works, hours, strict=True)], dtype=np.float64
    )
    targets = np.eye(24)[[work.topic for work in works]] if target == "topic" else np.array([[work.quality] for work in works])
    assert not is_predictable(facts, targets)


def test_the_probe_would_find_quality_in_files_that_are_not_padded(demo_world: World) -> None:
    works = [work for work in demo_world.works if work.look_of == work.video_id][:90]
    sizes = []
    for work in works:
        jpeg = encode_image(0, work.video_id, draw_frames(0, work, demo_world.topics[work.topic], ())[16])
        padding = int.from_bytes(jpeg[4:6], "big") + 2
        sizes.append([len(jpeg) - padding])
    assert is_predictable(np.array(sizes, dtype=np.float64), np.array([[work.quality] for work in works]))
