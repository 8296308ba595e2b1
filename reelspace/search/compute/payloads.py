"""Payloads of a shard's rows: the JSON as it was given, and columns of what lies at the keys that filters ask for.

Everything is only ever added at the end: rows, and changes of rows, which are kept beside them and win over what they change.
So what was found out about the first rows and changes stays true, and a bitmap is brought up to date from the new ones alone.

Legend: N rows, M changes, W rows or changes from a start to the end.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.search.compute.filters import Condition, FieldCondition, Filter, HasId, PointId
from reelspace.search.compute.payload_column import PayloadColumn
from reelspace.search.compute.payload_rows import READ_ROWS, PayloadRows
from reelspace.search.compute.payload_values import Growing
from reelspace.search.storage.payload_edits import merged, without
from reelspace.search.storage.payload_path import parse_key

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
SURELY_SHALLOW: Final = 200
RowsOf = Callable[[Sequence[PointId]], Ints]


class PayloadRefused(UserError):
    """A payload that is no JSON object, or too deep to be written again."""


@dataclass(frozen=True, slots=True)
class Edition:
    """How many rows and changes a bitmap knows of."""

    num_rows: int = 0
    num_changes: int = 0


class Payloads:
    """The payloads of rows 0 to N - 1. Calls come from one thread at a time."""

    def __init__(self, indexed: Sequence[str] = ()) -> None:
        """Begin without rows; columns of `indexed` keys are kept for good, of other keys as long as filters ask for them."""
        self._rows = PayloadRows(indexed)
        self._changes = PayloadRows(indexed)
        self._changed_rows = Growing(np.int64)
        self._last_change: dict[int, int] = {}

    @property
    def indexed(self) -> tuple[str, ...]:
        """Keys whose columns stay."""
        return self._rows.indexed

    @property
    def edition(self) -> Edition:
        """What is known now."""
        return Edition(self._rows.num_rows, self._changes.num_rows)

    def append(self, payloads: Sequence[bytes]) -> None:
        """Add rows at the end.

        Raises:
            PayloadRefused: one is no JSON object; names its place, and no row was added.
        """
        for place, payload in enumerate(payloads):
            _check_object(payload, f"payload {place}")
        self.append_checked(payloads)

    def append_checked(self, payloads: Sequence[bytes]) -> None:
        """Add rows at the end whose payloads are known to be JSON objects, as those of the log are."""
        self._rows.append(payloads)

    def overwrite(self, row: int, payload: bytes) -> None:
        """Replace a row's payload; PayloadRefused if it is no JSON object."""
        _check_object(payload, f"payload of row {row}")
        self._last_change[self._checked(row)] = self._changes.num_rows
        self._changed_rows.extend([row])
        self._changes.append([payload])

    def set_keys(self, row: int, values: Mapping[str, Any], key: str | None = None) -> None:
        """Set keys of a row's payload, or of what lies at `key` in it; null deletes a key.

        Raises:
            KeyRefused: the key names nothing.
            PayloadRefused: a value is not of JSON, or the payload would become too deep.
        """
        path = () if key is None else parse_key(key)
        self.overwrite(row, _dumped(merged(self.payload(row), values, path), f"payload of row {row}"))

    def delete_keys(self, row: int, keys: Sequence[str]) -> None:
        """Delete what lies at keys of a row's payload; KeyRefused for a key that names nothing."""
        self.overwrite(row, _dumped(without(self.payload(row), [parse_key(key) for key in keys]), f"payload of row {row}"))

    def json(self, row: int) -> bytes:
        """Give a row's payload as it was written."""
        change = self._last_change.get(self._checked(row))
        return self._rows.json(row) if change is None else self._changes.json(change)

    def jsons(self, rows: Sequence[int]) -> list[bytes]:
        """Give the payloads of rows as they were written."""
        texts = self._rows.jsons(rows)
        if self._last_change:
            for place, row in enumerate(rows):
                if (change := self._last_change.get(row)) is not None:
                    texts[place] = self._changes.json(change)
        return texts

    def payload(self, row: int) -> dict[str, Any]:
        """Give a row's payload."""
        payload: dict[str, Any] = orjson.loads(self.json(row))
        return payload

    def keep_columns(self, keys: Collection[str]) -> None:
        """Keep columns of these keys for good and forget those of other keys; KeyRefused for a key that names nothing."""
        for part in (self._rows, self._changes):
            part.keep_columns(keys)

    def read_ahead(self, max_rows: int = READ_ROWS) -> bool:
        """Read some rows, at most max_rows, into the columns that are kept; False once they have all, so that filters parse none."""
        return any(part.read_ahead(max_rows) for part in (self._rows, self._changes))

    def mask(self, where: Filter, rows_of: RowsOf, known_N: Mask | None = None, known: Edition | None = None) -> Mask:
        """Give for each row whether a filter allows it.

        Args:
            rows_of: the row of each id, -1 for an unknown one; of an id that was written again, its newest row.
            known_N: what this gave at the edition `known`, so that only what came since is looked at.

        Raises:
            KeyRefused: a condition's key names nothing.
        """
        known = known or Edition()
        num_rows = self._rows.num_rows
        fresh = slice(known.num_rows, num_rows)
        mask_W = _Window(self._rows, known.num_rows, fresh, num_rows, rows_of).mask(where)
        mask_N = mask_W if known_N is None else np.concatenate([known_N, mask_W])
        changed_W = self._changed_rows.array[known.num_changes :]
        if len(changed_W):
            # A row that changed twice is there twice: the last one is assigned last.
            mask_N[changed_W] = _Window(self._changes, known.num_changes, changed_W, num_rows, rows_of).mask(where)
        return mask_N

    def sealed_arrays(self) -> list[NDArray[Any]]:
        """Give the memory of the JSON that was opened; no change of a payload alters it."""
        return self._rows.sealed_arrays()

    def sealed_columns(self) -> Mapping[str, PayloadColumn]:
        """Give by key the columns that are kept of the rows as they were written."""
        return self._rows.indexed_columns

    def to_table(self) -> pa.Table:
        """Give all rows with their changes applied, and the columns of indexed keys; `from_table` reads it without parsing."""
        whole = self
        if self._last_change:
            whole = Payloads(self._rows.indexed)
            whole.append([self.json(row) for row in range(self._rows.num_rows)])
        return whole._rows.to_table()

    @classmethod
    def from_table(cls, table: pa.Table, indexed: Sequence[str] = ()) -> "Payloads":
        """Open what `to_table` gave; the JSON stays where it lies, columns of `indexed` keys that are not there are read from it."""
        payloads = cls(indexed)
        payloads._rows = PayloadRows.from_table(table, indexed)
        return payloads

    def _checked(self, row: int) -> int:
        if not 0 <= row < self._rows.num_rows:
            raise IndexError(f"expected a row below {self._rows.num_rows}, got {row}")
        return row


@dataclass(frozen=True, slots=True)
class _Window:
    """Rows of a part from a start to the end; `rows_W` are their numbers in the shard, or the slice of them."""

    part: PayloadRows
    start: int
    rows_W: slice | Ints
    num_rows: int
    rows_of: RowsOf

    def mask(self, where: Filter) -> Mask:
        mask_W = np.ones(self.part.num_rows - self.start, dtype=np.bool_)
        for condition in where.must:
            mask_W &= self._condition(condition)
        for condition in where.must_not:
            mask_W &= ~self._condition(condition)
        if where.should:
            mask_W &= self._counts(where.should) >= 1
        if where.min_should is not None:
            mask_W &= self._counts(where.min_should.conditions) >= where.min_should.min_count
        return mask_W

    def _counts(self, conditions: Sequence[Condition]) -> NDArray[np.int32]:
        counts_W = np.zeros(self.part.num_rows - self.start, dtype=np.int32)
        for condition in conditions:
            counts_W += self._condition(condition)
        return counts_W

    def _condition(self, condition: Condition) -> Mask:
        if isinstance(condition, Filter):
            return self.mask(condition)
        if isinstance(condition, HasId):
            return self._has_id(condition)
        return self._field(condition)

    def _field(self, condition: FieldCondition) -> Mask:
        return self.part.column(condition.key).mask(condition, self.start)

    def _has_id(self, condition: HasId) -> Mask:
        rows = self.rows_of(condition.ids)
        wanted_N = np.zeros(self.num_rows, dtype=np.bool_)
        wanted_N[rows[rows >= 0]] = True
        return wanted_N[self.rows_W]


def payload_rows(table: pa.Table) -> list[bytes]:
    """Give each row of a table as a JSON object, times in RFC 3339; columns without a value are left out."""
    rows = ({key: value for key, value in row.items() if value is not None} for row in table.to_pylist())
    return [orjson.dumps(row, option=orjson.OPT_UTC_Z) for row in rows]


def _check_object(payload: bytes, where: str) -> None:
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise PayloadRefused(f"{where}: expected a JSON object, got {payload[:80]!r}: {error}") from error
    if not isinstance(value, dict):
        raise PayloadRefused(f"{where}: expected a JSON object, got {payload[:80]!r}")
    # Only what opens many lists and objects can be deep.
    if payload.count(b"{") + payload.count(b"[") > SURELY_SHALLOW:
        _dumped(value, where)


def _dumped(payload: Mapping[str, Any], where: str) -> bytes:
    try:
        return orjson.dumps(payload)
    except orjson.JSONEncodeError as error:
        raise PayloadRefused(f"{where}: expected JSON of at most 254 objects and lists inside each other: {error}") from error
