"""JSON objects row by row, and columns of what lies at the keys that filters ask for."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.search.compute.payload_column import PayloadColumn

JSON: Final = "json"
COLUMN: Final = "column:"
READ_ROWS: Final = 16_384
MAX_ASKED_COLUMNS: Final = 16


class PayloadRows:
    """JSON objects one after the other, and columns over them that are read up to the last row when they are asked for."""

    def __init__(self, indexed: Sequence[str] = ()) -> None:
        """Begin without rows; columns of `indexed` keys stay, of other keys the MAX_ASKED_COLUMNS asked for last do."""
        self._sealed = pa.array([], pa.large_binary())
        self._fresh: list[bytes] = []
        self._indexed = {key: PayloadColumn(key) for key in indexed}
        self._asked: OrderedDict[str, PayloadColumn] = OrderedDict()

    @classmethod
    def from_table(cls, table: pa.Table, indexed: Sequence[str]) -> "PayloadRows":
        """Open what `to_table` gave; the JSON stays where it lies."""
        rows = cls(indexed)
        rows._sealed = table[JSON].combine_chunks()
        for name in table.column_names:
            if name.startswith(COLUMN):
                key = name.removeprefix(COLUMN)
                rows._indexed[key] = PayloadColumn.from_arrow(key, table[name].combine_chunks())
        return rows

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return len(self._sealed) + len(self._fresh)

    @property
    def indexed(self) -> tuple[str, ...]:
        """Keys whose columns stay."""
        return tuple(self._indexed)

    @property
    def indexed_columns(self) -> Mapping[str, PayloadColumn]:
        """Columns that stay, by key."""
        return self._indexed

    def sealed_arrays(self) -> list[NDArray[Any]]:
        """Give the memory of the rows that were opened."""
        return [np.frombuffer(one, dtype=np.uint8) for one in self._sealed.buffers() if one is not None and one.size]

    def append(self, payloads: Sequence[bytes]) -> None:
        """Add rows; each must be a JSON object."""
        self._fresh.extend(payloads)

    def json(self, row: int) -> bytes:
        """Give a row as it was written."""
        if row >= len(self._sealed):
            return self._fresh[row - len(self._sealed)]
        text: bytes = self._sealed[row].as_py()
        return text

    def jsons(self, rows: Sequence[int]) -> list[bytes]:
        """Give rows as they were written, many at a time."""
        num_sealed, fresh = len(self._sealed), self._fresh
        sealed = iter(self._sealed.take(pa.array([row for row in rows if row < num_sealed], pa.int64())).to_pylist())
        return [next(sealed) if row < num_sealed else fresh[row - num_sealed] for row in rows]

    def keep_columns(self, keys: Iterable[str]) -> None:
        """Let the columns of these keys stay and forget those of other keys; nothing is read yet. KeyRefused for one that names nothing."""
        known = {**self._asked, **self._indexed}
        self._indexed = {key: known.get(key) or PayloadColumn(key) for key in sorted(keys)}
        for key in self._indexed:
            self._asked.pop(key, None)

    def read_ahead(self, max_rows: int) -> bool:
        """Read the next rows into the columns that stay and lack them; False if they lack none."""
        behind = min(self._indexed.values(), key=lambda column: column.num_rows, default=None)
        if behind is None or behind.num_rows == self.num_rows:
            return False
        self._read(behind, min(self.num_rows, behind.num_rows + max_rows))
        return True

    def column(self, key: str) -> PayloadColumn:
        """Give a key's column, read up to the last row; KeyRefused for a key that names nothing."""
        column = self._indexed.get(key) or self._asked.get(key)
        if column is None:
            column = self._asked[key] = PayloadColumn(key)
            if len(self._asked) > MAX_ASKED_COLUMNS:
                self._asked.popitem(last=False)
        if key in self._asked:
            self._asked.move_to_end(key)
        if column.num_rows < self.num_rows:
            self._read(column, self.num_rows)
        return column

    def to_table(self) -> pa.Table:
        """Give the rows, and the columns of indexed keys."""
        columns = {COLUMN + key: self.column(key).to_arrow() for key in self._indexed}
        fresh = pa.array(self._fresh, pa.large_binary())
        return pa.table({JSON: pa.concat_arrays([self._sealed, fresh]) if len(self._sealed) else fresh, **columns})

    def _read(self, column: PayloadColumn, end: int) -> None:
        # Columns that stand at the same row are read together: parsing costs more than reading.
        together = [one for one in (*self._indexed.values(), *self._asked.values()) if one.num_rows == column.num_rows]
        for first in range(column.num_rows, end, READ_ROWS):
            payloads = [orjson.loads(text) for text in self._texts(first, min(end, first + READ_ROWS))]
            for one in together:
                one.extend(payloads)

    def _texts(self, start: int, end: int) -> list[bytes]:
        num_sealed = len(self._sealed)
        sealed: list[bytes] = self._sealed[start:end].to_pylist() if start < num_sealed else []
        return sealed + self._fresh[max(0, start - num_sealed) : max(0, end - num_sealed)]
