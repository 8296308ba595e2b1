import numpy as np
import pytest
import xxhash

from reelspace.core.errors import CorruptArtifact
from reelspace.search.storage.layout import Collection, checked_name, json_bytes, parse, shard_of_ids

from .builders import make_collection


def test_shard_is_xxh64_of_the_ids_eight_bytes() -> None:
    ids = [0, 1, 2**40, 2**63 - 1]
    expected = [xxhash.xxh64(one.to_bytes(8, "little"), seed=0).intdigest() % 5 for one in ids]
    assert shard_of_ids(np.array(ids), 5).tolist() == expected


def test_shards_of_known_ids_never_change() -> None:
    # Rows already stored would be looked for in the wrong shard.
    assert shard_of_ids(np.arange(12), 4).tolist() == [3, 1, 0, 1, 3, 1, 3, 1, 2, 0, 2, 3]


def test_rows_spread_evenly() -> None:
    counts = np.bincount(shard_of_ids(np.arange(40_000), 4))
    assert counts.min() > 9_600


def test_layout_file_reads_back_equal() -> None:
    collection = make_collection()
    assert parse(Collection, json_bytes(collection), "there") == collection
    assert collection.full_name == "videos@00112233"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", json_bytes(make_collection()).replace(b'"num_shards":2', b'"num_shards":-2')])
def test_damaged_layout_file_is_refused_by_place(data: bytes) -> None:
    with pytest.raises(CorruptArtifact, match="there"):
        parse(Collection, data, "there")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a@b", "a@0011223Z", "a" * 65, ".hidden"])
def test_name_that_could_leave_its_place_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="collection name"):
        checked_name(name)
