"""Ids of rows: an unsigned 64-bit integer or a UUID; 5 and the UUID that ends in 5 are two rows."""

from typing import Final, TypeAlias
from uuid import UUID

import xxhash

Id: TypeAlias = int | UUID
MAX_ID: Final = 2**64 - 1


def is_id(value: object) -> bool:
    """Tell whether a value may be an id: True, 1.0 and numbers of numpy are none."""
    return (type(value) is int and 0 <= value <= MAX_ID) or type(value) is UUID


def id_bytes(id: Id) -> bytes:
    """Give the bytes that are hashed: 8, little-endian, for an integer, the UUID's own 16 else."""
    return id.bytes if isinstance(id, UUID) else id.to_bytes(8, "little")


def shard_of(id: Id, num_shards: int) -> int:
    """Give the shard of a row: XXH64 of the id's bytes, seed 0, modulo the number of shards."""
    return xxhash.xxh64_intdigest(id_bytes(id)) % num_shards
