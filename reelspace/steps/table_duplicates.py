"""Rows whose key an earlier row has: found in the sorted table, said where they lie in the files."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reelspace.core.schemas import TableSchema
from reelspace.steps.bad_rows import BadRow, Fault, Reason, TableLedger
from reelspace.steps.table_batches import Tolerance, places_of
from reelspace.steps.table_files import TableFile
from reelspace.steps.table_values import short

_AT_ONCE = 1 << 18


class Origins:
    """Where each row of a table that was read in batches comes from."""

    def __init__(self) -> None:
        self._files: list[TableFile] = []
        self._numbers: list[Sequence[int]] = []
        self._ends: list[int] = []

    def add(self, file: TableFile, numbers: Sequence[int]) -> None:
        """Note the next rows."""
        self._files.append(file)
        self._numbers.append(numbers)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(numbers))

    def find(self, rows: Iterable[int]) -> list[tuple[TableFile, int]]:
        """Give file and number of some rows of the table."""
        found: list[tuple[TableFile, int]] = []
        for row in rows:
            batch = bisect_right(self._ends, row)
            found.append((self._files[batch], self._numbers[batch][int(row) - self._ends[batch]]))
        return found


@dataclass(frozen=True, slots=True)
class Duplicates:
    """D rows whose key an earlier one has: their places as they were read (ascending), those of the earlier ones, and in `table`."""

    schema: TableSchema
    table: pa.Table
    rows_D: NDArray[np.int64]
    firsts_D: NDArray[np.int64]
    sorted_D: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows_D)

    def key(self, index: int) -> str:
        """Show the key of one of them."""
        values: list[Any] = [self.table[name][int(self.sorted_D[index])].as_py() for name in self.schema.unique]
        return ", ".join(short(value) if isinstance(value, str) else str(value) for value in values)

    def kept(self) -> pa.Table:
        """Give the table without them."""
        keep = np.ones(self.table.num_rows, np.bool_)
        keep[self.sorted_D] = False
        return self.table.filter(pa.array(keep)) if len(self) else self.table


def find_duplicates(schema: TableSchema, table: pa.Table, order: NDArray[np.int64]) -> Duplicates:
    """Find them in a table sorted stably by its key, where `order` gives the place each row had when it was read."""
    doubled = _equals_the_row_before(schema, table)
    places = np.flatnonzero(doubled)
    if not len(places):
        return Duplicates(schema, table, places, places, places)
    firsts = np.maximum.accumulate(np.where(doubled, 0, np.arange(len(doubled))))[places]
    by_reading = np.argsort(order[places])
    return Duplicates(schema, table, order[places][by_reading], order[firsts][by_reading], places[by_reading])


def reject_duplicates(duplicates: Duplicates, origins: Origins, tolerance: Tolerance, ledger: TableLedger) -> None:
    """Put them into the quarantine, in the order of files and rows."""
    if len(duplicates) and ledger.has_too_many(tolerance.max_bad_ratio, num_more=len(duplicates)):
        # The import stops: bytes and hashes of maybe half a table would help nobody.
        ledger.reject(next(_bad_rows(duplicates, range(1), origins, tolerance)), num_more=len(duplicates) - 1)
        return
    for start in range(0, len(duplicates), _AT_ONCE):
        for bad in _bad_rows(duplicates, range(start, min(start + _AT_ONCE, len(duplicates))), origins, tolerance):
            ledger.reject(bad)


def _equals_the_row_before(schema: TableSchema, table: pa.Table) -> NDArray[np.bool_]:
    equal = np.zeros(table.num_rows, np.bool_)
    if not schema.unique or table.num_rows < 2:
        return equal
    equal[1:] = True
    for name in schema.unique:
        column = table[name].combine_chunks()
        equal[1:] &= pc.equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    return equal


def _bad_rows(duplicates: Duplicates, chosen: range, origins: Origins, tolerance: Tolerance) -> Iterator[BadRow]:
    """Say of some of them what they repeat; the files that hold them are read again for their hashes."""
    schema = duplicates.schema
    places = origins.find(duplicates.rows_D[chosen.start : chosen.stop])
    firsts = origins.find(duplicates.firsts_D[chosen.start : chosen.stop])
    numbers: dict[TableFile, list[int]] = {}
    for file, number in places:
        numbers.setdefault(file, []).append(number)
    hashes = {file: places_of(schema, file, tolerance, wanted) for file, wanted in numbers.items()}
    for index, (file, number), (first_file, first_number) in zip(chosen, places, firsts, strict=True):
        what = f"{duplicates.key(index)} is there twice, first in file {first_file.label}, row {first_number}"
        yield BadRow(file, number, Fault(Reason.DUPLICATE, what, "+".join(schema.unique)), *hashes[file][number])
