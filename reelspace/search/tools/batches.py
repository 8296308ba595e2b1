"""Batches of a file on their way into a collection: named as it has them, small enough for one write, checked, and split by shard.

Legend: N rows of one batch.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from reelspace.core.errors import TableError
from reelspace.search.storage.ids import shard_of
from reelspace.search.storage.layout import VectorSettings
from reelspace.search.storage.rows import Fields, Op, RowRefused, Rows, Vectors, checked
from reelspace.search.tables.batch import Batch

MAX_FLOATS = 1 << 20
MAX_ROWS = 1000


def renamed(batches: Iterable[Batch], vectors: Mapping[str, VectorSettings]) -> Iterator[Batch]:
    """Give the only vector of a file the name of the only one that is wanted; others have their names."""
    for batch in batches:
        yield batch if set(batch.vectors) == set(vectors) else Batch(batch.ids, {next(iter(vectors)): batch.vectors[""]}, batch.payloads)


def for_requests(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Cut batches so that each fits into one write."""
    for batch in batches:
        num_floats = sum(one.shape[1] for one in batch.vectors.values())
        at_once = max(1, min(MAX_ROWS, MAX_FLOATS // num_floats))
        for start in range(0, len(batch.ids), at_once):
            part = slice(start, start + at_once)
            yield Batch(batch.ids[part], {name: one[part] for name, one in batch.vectors.items()}, batch.payloads[part])


def rows_of(batch: Batch) -> Rows:
    """Give upserts of the rows as the log holds them, unchecked."""
    num_rows = len(batch.ids)
    whole_N = np.arange(num_rows)
    return Rows(
        ops_N=np.full(num_rows, Op.UPSERT, dtype=np.uint8),
        ids=tuple(batch.ids),
        vectors={name: Vectors(whole_N, np.ascontiguousarray(one)) for name, one in batch.vectors.items()},
        payloads=tuple(batch.payloads),
    )


def check_batch(batch: Batch, fields: Fields, num_before: int) -> None:
    """Refuse a row that may not be stored.

    Args:
        num_before: rows of the file before these, for the message.

    Raises:
        TableError: names the row's place and its id.
    """
    try:
        checked(rows_of(batch), fields)
    except RowRefused as error:
        raise TableError(f"of the rows from {num_before} on: {error}") from error


def split(batch: Batch, num_shards: int) -> dict[int, Batch]:
    """Give each shard its rows, in their order; shards without rows are left out."""
    if num_shards == 1:
        return {0: batch}
    shard_N = np.fromiter((shard_of(id, num_shards) for id in batch.ids), dtype=np.int64, count=len(batch.ids))
    parts = {}
    for shard in np.unique(shard_N).tolist():
        places = np.flatnonzero(shard_N == shard)
        listed = places.tolist()
        vectors = {name: one[places] for name, one in batch.vectors.items()}
        parts[shard] = Batch([batch.ids[place] for place in listed], vectors, [batch.payloads[place] for place in listed])
    return parts
