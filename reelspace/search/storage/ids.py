"""Ids of rows: an unsigned 64-bit integer or a UUID; 5 and the UUID that ends in 5 are two rows.

In arrays an id is three uint64: kind (0 integer, 1 UUID, 2 no id), upper and lower 64 bits; their order is that of ids: integers
first, then UUIDs by their bytes.

Legend: N ids.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np
import xxhash
from numpy.typing import NDArray

Id: TypeAlias = int | UUID
MAX_ID: Final = 2**64 - 1
NUM_WORDS: Final = 3
INTEGER: Final = 0
UUID_KIND: Final = 1
NO_ID: Final = 2
_LAST_UUID: Final = UUID(int=2**128 - 1)


def is_id(value: object) -> bool:
    """Tell whether a value may be an id: True, 1.0 and numbers of numpy are none."""
    return (type(value) is int and 0 <= value <= MAX_ID) or type(value) is UUID


def id_bytes(id: Id) -> bytes:
    """Give the bytes that are hashed: 8, little-endian, for an integer, the UUID's own 16 else."""
    return id.bytes if isinstance(id, UUID) else id.to_bytes(8, "little")


def shard_of(id: Id, num_shards: int) -> int:
    """Give the shard of a row: XXH64 of the id's bytes, seed 0, modulo the number of shards."""
    return xxhash.xxh64_intdigest(id_bytes(id)) % num_shards


def id_words(ids: Sequence[Id]) -> NDArray[np.uint64]:
    """Give ids as N x 3 uint64."""
    words_N3 = np.empty((len(ids), NUM_WORDS), dtype=np.uint64)
    if all(type(id) is int for id in ids):
        words_N3[:, :2] = INTEGER, 0
        words_N3[:, 2] = ids
        return words_N3
    for place, id in enumerate(ids):
        number = id.int if isinstance(id, UUID) else id
        words_N3[place] = UUID_KIND if isinstance(id, UUID) else INTEGER, number >> 64, number & MAX_ID
    return words_N3


def ids_of_words(words_N3: NDArray[np.uint64]) -> list[Id]:
    """Read ids from N x 3 uint64; none of them is NO_ID."""
    if not words_N3[:, 0].any():
        numbers: list[Id] = words_N3[:, 2].tolist()
        return numbers
    return [UUID(int=upper << 64 | lower) if kind else lower for kind, upper, lower in words_N3.tolist()]


def id_order(id: Id) -> tuple[int, int]:
    """Give what ids are ordered by: integers first, then UUIDs by their bytes."""
    return (UUID_KIND, id.int) if isinstance(id, UUID) else (INTEGER, id)


def next_id(id: Id) -> Id | None:
    """Give the id after this one in the order of ids, None after the last."""
    if isinstance(id, UUID):
        return None if id == _LAST_UUID else UUID(int=id.int + 1)
    return id + 1 if id < MAX_ID else UUID(int=0)
