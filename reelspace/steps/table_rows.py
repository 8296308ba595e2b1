"""One whole table: its files read and checked, sorted, freed of duplicates, its books closed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import TableError
from reelspace.core.schemas import TableSchema
from reelspace.steps.bad_rows import TableLedger
from reelspace.steps.table_batches import Tolerance, read_batches
from reelspace.steps.table_columns import arrow_schema
from reelspace.steps.table_duplicates import Origins, find_duplicates, reject_duplicates
from reelspace.steps.table_files import TableFile

_ROWS_PER_GROUP = 1 << 16


def read_table(schema: TableSchema, files: Sequence[TableFile], tolerance: Tolerance, ledger: TableLedger) -> pa.Table:
    """Read, check and sort one table; with no files it is empty.

    Bad rows go to the ledger: those that are wrong in themselves in the order of files and rows, then the duplicates in that order.

    Raises:
        TableError: something is wrong with a file as a whole, or more rows are bad than allowed.
    """
    origins, parts = Origins(), [arrow_schema(schema).empty_table()]
    for file in files:
        for batch in read_batches(schema, file, tolerance):
            ledger.num_in += batch.num_in
            for bad in batch.bad:
                ledger.reject(bad)
            parts.append(batch.rows)
            origins.add(file, batch.numbers)
    duplicates = find_duplicates(schema, *_sorted(schema, pa.concat_tables(parts).combine_chunks()))
    reject_duplicates(duplicates, origins, tolerance, ledger)
    table = duplicates.kept()
    ledger.num_out = table.num_rows
    ledger.finish()
    _refuse_too_many(ledger, tolerance.max_bad_ratio)
    return table


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet whose bytes depend on the rows alone."""
    pq.write_table(table.combine_chunks(), path, compression="zstd", compression_level=3, row_group_size=_ROWS_PER_GROUP, version="2.6")


def _sorted(schema: TableSchema, table: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """Sort by the schema's order, rows that are equal there by the numbers of their boxes; give the old places too.

    The sort is stable: of rows with one key the first that was read stays first.
    """
    keys = list(schema.order)
    work = table
    if "box" in table.column_names:
        numbers = pc.list_flatten(table["box"]).to_numpy().reshape(-1, 4) if table.num_rows else None
        for axis in range(4):
            work = work.append_column(f"box.{axis}", pa.array([] if numbers is None else numbers[:, axis], pa.float32()))
            keys.append(f"box.{axis}")
    order = pc.sort_indices(work, sort_keys=[(key, "ascending") for key in keys])
    return table.take(order), order.to_numpy().view(np.int64)


def _refuse_too_many(ledger: TableLedger, max_bad_ratio: float) -> None:
    if ledger.first is None or not ledger.has_too_many(max_bad_ratio):
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in ledger.reasons().items())
    raise TableError(
        f"{ledger.first.sentence()}; {ledger.num_quarantined} of {ledger.num_in} rows are bad ({reasons}), more than the allowed "
        f"share of {max_bad_ratio:g}: repair them or raise max_bad_ratio"
    )
