"""Writes a table of vectors into the collection that serves, through the log, as any client's writes go."""

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from reelspace.core.store import Store
from reelspace.search.compute.build import Table
from reelspace.search.compute.payloads import payload_rows
from reelspace.search.storage.layout import Collection, shard_of_ids
from reelspace.search.storage.log import Log
from reelspace.search.storage.rows import Op, Rows, Vectors
from reelspace.search.storage.writer import LogWriter

ROWS_PER_REQUEST = 500


def upsert_table(store: Store, collection: Collection, table: Table, request: str) -> dict[int, int]:
    """Write every row; they are durable when this returns, and shards that follow the log see them within a second.

    Args:
        table: vectors of the collection's only vector name.
        request: names this table, at most 64 characters: what was interrupted and is soon tried again takes effect once.

    Returns:
        By shard, the last number of its log that holds a row of the table.

    Raises:
        RowRefused: a vector is none that the collection can hold.
        UserError, TemporaryError: see LogWriter.
    """
    (name,) = collection.vectors
    shard_N = shard_of_ids(table.ids_N, collection.num_shards)
    last: dict[int, int] = {}
    for shard in np.unique(shard_N).tolist():
        log = Log(store, collection.full_name, shard, collection.fields)
        with ExitStack() as stack:
            writer = stack.enter_context(LogWriter(log))
            parts = enumerate(_parts(np.flatnonzero(shard_N == shard)))
            waiting = [writer.submit(f"{request}:{shard}:{number}", _rows(table, part, name)) for number, part in parts]
            last[shard] = max(future.result() for future in waiting)
    return last


def _parts(rows_M: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows_M), ROWS_PER_REQUEST):
        yield rows_M[start : start + ROWS_PER_REQUEST]


def _rows(table: Table, rows_M: NDArray[np.int64], name: str) -> Rows:
    vectors = Vectors(np.arange(len(rows_M)), np.ascontiguousarray(table.vectors_ND[rows_M]))
    ops_M = np.full(len(rows_M), Op.UPSERT, dtype=np.uint8)
    return Rows(ops_M, tuple(table.ids_N[rows_M].tolist()), {name: vectors}, tuple(payload_rows(table.payload.take(rows_M))))
