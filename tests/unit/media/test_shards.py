"""Shards: deterministic, and resumed from whatever a killed writer left."""

import hashlib
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reelspace.media.bad_media import Reason
from reelspace.media.job import Packed, Refused
from reelspace.media.sample import Words
from reelspace.media.shards import ShardWriter
from reelspace.media.tar import member

SHARD_BYTES = 8_000
NUM_ITEMS = 30


def item(number: int) -> Packed | Refused:
    if number % 7 == 3:
        return Refused(Reason.TRUNCATED, f"cut {number}")
    return Packed("video", 4, number % 2 == 0, member(f"{number:012d}.json", bytes([number]) * (number * 97 % 1500)))


def feed(writer: ShardWriter, start: int, stop: int) -> None:
    for number in range(start, stop):
        answer = item(number)
        if isinstance(answer, Packed):
            writer.add(Words(number, f"words {number}", "2025-01-01T00:00:00+00:00"), answer)
        else:
            writer.refuse(number, answer)


def published(writer: ShardWriter, directory: Path) -> dict[str, bytes]:
    writer.close()
    writer.publish(directory)
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, bytes]:
    writer = ShardWriter(tmp_path / "reference", SHARD_BYTES)
    feed(writer, 0, NUM_ITEMS)
    return published(writer, tmp_path / "reference-out")


def test_the_index_gives_the_place_and_hash_of_every_sample(expected: dict[str, bytes], tmp_path: Path) -> None:
    rows = pq.read_table(tmp_path / "reference-out" / "index.parquet").to_pylist()
    assert [row["video_id"] for row in rows] == [number for number in range(NUM_ITEMS) if number % 7 != 3]
    assert len({row["shard"] for row in rows}) >= 3
    for row in rows:
        data = expected[row["shard"]][row["offset"] : row["offset"] + row["length"]]
        answer = item(row["video_id"])
        assert isinstance(answer, Packed)
        assert data == answer.data
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        assert (row["kind"], row["num_frames"], row["has_audio"]) == ("video", 4, answer.has_audio)
        assert row["text"] == f"words {row['video_id']}"


def test_shards_are_archives_of_about_the_wanted_size(expected: dict[str, bytes], tmp_path: Path) -> None:
    names = [name for name in expected if name.endswith(".tar")]
    assert all(len(expected[name]) <= SHARD_BYTES + 1024 for name in names)
    assert all(len(expected[name]) > SHARD_BYTES / 2 for name in names[:-1])
    found = []
    for name in names:
        with tarfile.open(tmp_path / "reference-out" / name) as tar:
            found += tar.getnames()
    assert found == [f"{number:012d}.json" for number in range(NUM_ITEMS) if number % 7 != 3]


@pytest.mark.parametrize("stop", [0, 1, 4, 11, 29, 30])
def test_a_writer_that_stopped_anywhere_is_resumed_to_the_same_bytes(expected: dict[str, bytes], tmp_path: Path, stop: int) -> None:
    feed(ShardWriter(tmp_path / "work", SHARD_BYTES), 0, stop)  # not closed, as if killed
    writer = ShardWriter(tmp_path / "work", SHARD_BYTES)
    assert [row.video_id for row in writer.rows] == list(range(stop))
    feed(writer, stop, NUM_ITEMS)
    assert published(writer, tmp_path / "out") == expected


@pytest.mark.parametrize(
    "damage", ["half a line", "half a sample", "line without bytes", "flipped byte", "no end of the archive", "noise behind"]
)
def test_what_a_killed_writer_tore_is_cut_and_written_again(expected: dict[str, bytes], tmp_path: Path, damage: str) -> None:
    feed(ShardWriter(tmp_path / "work", SHARD_BYTES), 0, 20)
    archives, journals = sorted((tmp_path / "work").glob("*.tar")), sorted((tmp_path / "work").glob("*.jsonl"))
    if damage == "half a line":
        journals[-1].write_bytes(journals[-1].read_bytes()[:-20])
    elif damage == "half a sample":
        archives[-1].write_bytes(archives[-1].read_bytes()[:-700])
    elif damage == "line without bytes":
        lines = journals[-1].read_bytes().splitlines(keepends=True)
        journals[-1].write_bytes(b"".join([*lines, lines[-1]]))
    elif damage == "flipped byte":
        data = bytearray(archives[-1].read_bytes())
        data[10] ^= 1
        archives[-1].write_bytes(bytes(data))
    elif damage == "no end of the archive":
        archives[0].write_bytes(archives[0].read_bytes()[:-1024])
    else:
        archives[-1].write_bytes(archives[-1].read_bytes() + b"noise")
    writer = ShardWriter(tmp_path / "work", SHARD_BYTES)
    start = len(writer.rows)
    assert [row.video_id for row in writer.rows] == list(range(start))
    feed(writer, start, NUM_ITEMS)
    assert published(writer, tmp_path / "out") == expected


def test_closed_shards_are_announced_once_each(tmp_path: Path) -> None:
    sizes: list[int] = []
    writer = ShardWriter(tmp_path / "work", SHARD_BYTES, lambda: sizes.append(len(list((tmp_path / "work").glob("*.tar")))))
    feed(writer, 0, NUM_ITEMS)
    writer.close()
    assert sizes == list(range(1, len(sizes) + 1))


def test_refused_items_alone_leave_an_empty_index(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "work", SHARD_BYTES)
    writer.refuse(1, Refused(Reason.EMPTY_FILE, "no bytes"))
    assert list(published(writer, tmp_path / "out")) == ["index.parquet"]
    assert pq.read_table(tmp_path / "out" / "index.parquet").num_rows == 0
