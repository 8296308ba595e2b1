"""What a shard holds in memory as its generation brought it, part by part: the same bytes for as long as it is loaded.

Whatever is written later lies beside or behind it: fresh vectors, rows and payloads, changed payloads, and deletes as a bitmap.
Left out are these, what is only kept to be quick, what a GPU has, and Python's own objects, as the texts of a column.
"""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from reelspace.search.compute.index_memory import Arrays, index_memory
from reelspace.search.compute.payload_column import PayloadColumn
from reelspace.search.compute.shard import Shard


@dataclass(frozen=True, slots=True)
class SealedPart:
    """A part of the memory.

    Attributes:
        name: tells an operator what it is.
        arrays: gives it, none where it is gone; to be called in the shard's turn, what it gives may be read outside of it while the
            shard is held.
    """

    name: str
    arrays: Callable[[Shard], Arrays]


def sealed_parts(shard: Shard) -> list[SealedPart]:
    """Name the parts of a shard as it is now; of files that are mapped there are none."""
    parts = [
        SealedPart("ids", lambda one: one.ids.sealed_arrays()),
        SealedPart("payloads", lambda one: one.payloads.sealed_arrays()),
        *(_column_part(key, column) for key, column in shard.payloads.sealed_columns().items()),
    ]
    for name in shard.indexes:
        parts += _vector_parts(shard, name)
    return parts


def _vector_parts(shard: Shard, name: str) -> Iterator[SealedPart]:
    if not shard.mapped_files:
        yield SealedPart(f"vectors {name!r}", lambda one: [one.indexes[name].sealed_vectors])
        if shard.indexes[name].sealed_rows is not None:
            yield SealedPart(f"rows of vectors {name!r}", lambda one: _rows(one, name))
    sealed = shard.indexes[name].sealed_index
    if sealed is not None:
        for part, arrays in index_memory(sealed).items():
            yield SealedPart(f"{part} of index {name!r}", partial(_of_index, name, arrays))


def _of_index(name: str, arrays: Callable[[Any], Arrays], shard: Shard) -> Arrays:
    return arrays(shard.indexes[name].sealed_index)


def _rows(shard: Shard, name: str) -> Arrays:
    rows_P = shard.indexes[name].sealed_rows
    return [] if rows_P is None else [rows_P]


def _column_part(key: str, column: PayloadColumn) -> SealedPart:
    """Make the part of a column: its first values, for it grows, and none once it is dropped, though there may be another of its key."""
    kept, lengths = weakref.ref(column), [len(one) for one in column.arrays()]

    def arrays(_shard: Shard) -> Arrays:
        found = kept()
        return [] if found is None else [np.asarray(one)[:length] for one, length in zip(found.arrays(), lengths, strict=True)]

    return SealedPart(f"column {key!r} of payloads", arrays)
