"""Reading samples back from a stored artifact."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.artifacts import Artifact, write_artifact
from reelspace.core.errors import CorruptArtifact, UserError
from reelspace.core.local_store import LocalStore
from reelspace.media.dataset import ShardReader
from reelspace.media.decoded import Decoded
from reelspace.media.job import Packed
from reelspace.media.sample import Words, pack
from reelspace.media.shards import ShardWriter

IDS = [3, 5, 8, 900_000_000_000_000, 13_000_000_000_000_000]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    writer = ShardWriter(tmp_path / "work", 4_000)
    for number, video_id in enumerate(IDS):
        frames_FHWC = np.full((number % 3, 32, 32, 3), 40 * number, dtype=np.uint8)
        audio_S = None if number % 2 else np.full(500, number, dtype=np.int16)
        words = Words(video_id, f"work {number}", "2025-02-03T00:00:00+00:00")
        data = pack(words, Decoded(frames_FHWC, audio_S, 1.0, "video"), 90)
        writer.add(words, Packed("video", number % 3, audio_S is not None, data))
    writer.close()
    writer.publish(tmp_path / "out")
    return write_artifact(LocalStore(tmp_path / "store"), "shards", tmp_path / "out", parents=(), code="c", settings={})


def test_samples_come_back_in_the_order_asked_for(artifact: Artifact) -> None:
    reader = ShardReader(artifact)
    assert reader.video_ids.tolist() == IDS
    assert len(reader) == len(IDS)
    asked = [IDS[4], IDS[0], IDS[2], IDS[0]]
    found = reader.read_all(asked)
    assert [sample.video_id for sample in found] == asked
    assert [sample.text for sample in found] == ["work 4", "work 0", "work 2", "work 0"]
    assert found[0].created_at == datetime(2025, 2, 3, tzinfo=UTC)
    assert found[0].frames_FHWC.shape == (1, 32, 32, 3)
    assert reader.read(IDS[1]).audio_S is None
    assert np.array_equal(reader.read(IDS[2]).audio_S, np.full(500, 2))  # type: ignore[arg-type]


def test_shard_numbers_follow_the_index(artifact: Artifact) -> None:
    reader = ShardReader(artifact)
    names = sorted(set(reader.index["shard"].to_pylist()))
    assert len(names) >= 2
    assert [names[number] for number in reader.shard_of_row] == reader.index["shard"].to_pylist()


def test_an_unknown_id_is_named(artifact: Artifact) -> None:
    with pytest.raises(UserError, match="video 4 is not in the shards"):
        ShardReader(artifact).read(4)
    with pytest.raises(UserError, match="video 99999999999999999 is not in the shards"):
        ShardReader(artifact).read(99999999999999999)


def test_a_flipped_byte_costs_only_its_sample_and_is_named(artifact: Artifact, tmp_path: Path) -> None:
    row = ShardReader(artifact).index.to_pylist()[2]
    path = tmp_path / "store" / "artifacts" / artifact.id / row["shard"]
    data = bytearray(path.read_bytes())
    data[row["offset"] + 700] ^= 1
    path.write_bytes(bytes(data))
    reader = ShardReader(artifact)
    with pytest.raises(CorruptArtifact, match=rf"sample {IDS[2]} in '{row['shard']}' of artifact shards {artifact.id} is corrupt"):
        reader.read(IDS[2])
    assert [sample.video_id for sample in reader.read_all([IDS[0], IDS[1], IDS[3]])] == [IDS[0], IDS[1], IDS[3]]


def test_a_flipped_byte_in_the_index_is_refused_before_it_is_parsed(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "store" / "artifacts" / artifact.id / "index.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptArtifact, match=r"index\.parquet"):
        ShardReader(artifact)
