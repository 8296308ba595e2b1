from uuid import UUID

import numpy as np
import pytest
import xxhash

from reelspace.search.storage.ids import MAX_ID, id_bytes, is_id, shard_of
from reelspace.search.storage.layout import shard_of_ids


def test_shard_of_an_integer_is_xxh64_of_its_eight_bytes_as_for_whole_tables() -> None:
    ids = [0, 1, 5, 2**40, 2**63 - 1]
    assert [shard_of(id, 7) for id in ids] == shard_of_ids(np.array(ids), 7).tolist()
    assert shard_of(MAX_ID, 1 << 40) == xxhash.xxh64(b"\xff" * 8, seed=0).intdigest() % (1 << 40)


def test_shard_of_a_uuid_is_xxh64_of_its_sixteen_bytes() -> None:
    uuid = UUID("00112233-4455-6677-8899-aabbccddeeff")
    assert id_bytes(uuid) == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert shard_of(uuid, 1 << 40) == xxhash.xxh64(uuid.bytes, seed=0).intdigest() % (1 << 40)


def test_known_hashes_keep_rows_where_they_are() -> None:
    # Reference values of XXH64, seed 0: a change would lose every stored row.
    assert shard_of(0, 1 << 64) == 0x34C96ACDCADB1BBB
    assert shard_of(UUID(int=0), 1 << 64) == 0xAF09F71516247C32


def test_an_integer_and_the_uuid_that_ends_in_it_are_two_rows() -> None:
    assert id_bytes(5) != id_bytes(UUID(int=5))
    assert len({5: 1, UUID(int=5): 2}) == 2


@pytest.mark.parametrize("value", [-1, 2**64, True, 1.0, "1", None, np.int64(3), b"12345678", "00112233-4455-6677-8899-aabbccddeeff"])
def test_other_values_are_no_ids(value: object) -> None:
    assert not is_id(value)
