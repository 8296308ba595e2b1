"""Rows of the input tables that are set aside: why, where they lie, and the books of one table."""

import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO

from reelspace.core.errors import InternalError
from reelspace.steps.table_files import TableFile


class Reason(StrEnum):
    """Codes of the quarantine."""

    LINE_TOO_LONG = "line_too_long"
    """A line has more bytes than allowed."""
    NOT_UTF8 = "not_utf8"
    """Bytes that are no UTF-8."""
    LONE_SURROGATE = "lone_surrogate"
    """Half of a UTF-16 pair, which no text may hold."""
    NUL_CHARACTER = "nul_character"
    """A text holds U+0000."""
    NOT_JSON = "not_json"
    """A line is not JSON."""
    NOT_AN_OBJECT = "not_an_object"
    """A line is JSON, but no object."""
    BAD_QUOTING = "bad_quoting"
    """A quote in CSV stands where RFC 4180 allows none, or is never closed."""
    RAGGED = "ragged"
    """A record of CSV has more or fewer fields than the header."""
    MISSING_VALUE = "missing_value"
    """A required column has no value."""
    WRONG_TYPE = "wrong_type"
    """A value is not of its column's type."""
    WRONG_VALUE = "wrong_value"
    """A value has the right type but is none the column allows."""
    WRONG_URI = "wrong_uri"
    """A uri names no file and no object."""
    NEGATIVE = "negative"
    """A number below zero."""
    OUT_OF_RANGE = "out_of_range"
    """A number or a time that the column's type cannot hold."""
    TOO_EARLY = "too_early"
    """A time before `earliest`."""
    IN_THE_FUTURE = "in_the_future"
    """A time after `latest`."""
    DUPLICATE = "duplicate"
    """An earlier row has the same key; that one stays."""


UNREADABLE = frozenset(
    {
        Reason.LINE_TOO_LONG,
        Reason.NOT_UTF8,
        Reason.NOT_JSON,
        Reason.NOT_AN_OBJECT,
        Reason.BAD_QUOTING,
        Reason.RAGGED,
    }
)
"""What a file of another kind shows in every row."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row is set aside; `detail` holds at most 60 characters of the value and nothing of a free text."""

    reason: Reason
    detail: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row set aside; `byte_range` (start, end) in the unpacked file, None in Parquet."""

    file: TableFile
    row: int
    fault: Fault
    sha256: str
    byte_range: tuple[int, int] | None = None

    def sentence(self) -> str:
        """Say what is wrong and where, in one line."""
        return str(self.file.error(self.fault.detail, self.fault.column, self.row))

    def record(self) -> dict[str, object]:
        """Give the values of its line in the quarantine."""
        return {
            "table": self.file.table,
            "file": self.file.label,
            "row": self.row,
            "byte_range": self.byte_range,
            "column": self.fault.column,
            "reason": self.fault.reason,
            "detail": self.fault.detail,
            "sha256": self.sha256,
        }


class TableLedger:
    """The books of one table: rows in, out and in quarantine; the quarantine is written as it grows, memory holds counts.

    The quarantine of core keeps each item's id in memory, a file per item and stops after a run of bad ones. A table has
    millions of rows, and a run of bad ones may be one bad day of many: here the share alone decides.
    """

    def __init__(self, quarantine: Path) -> None:
        self._path = quarantine
        self._file: IO[bytes] | None = None
        self._reasons: Counter[str] = Counter()
        self.first: BadRow | None = None
        self.num_in = 0
        self.num_out = 0

    def __enter__(self) -> "TableLedger":
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def num_quarantined(self) -> int:
        """Rows rejected so far."""
        return self._reasons.total()

    def reject(self, bad: BadRow, num_more: int = 0) -> None:
        """Count a row and write it to the quarantine; with `num_more` others of its reason, which are only counted.

        Only an import that stops may leave rows unwritten.
        """
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
            self.first = bad
        self._reasons[bad.fault.reason] += 1 + num_more
        self._file.write(json.dumps(bad.record(), ensure_ascii=True, sort_keys=True).encode() + b"\n")

    def has_too_many(self, max_bad_ratio: float, num_more: int = 0) -> bool:
        """Tell whether the rejected rows, and `num_more` to come, are a larger share of those that came in."""
        return self.num_quarantined + num_more > max_bad_ratio * self.num_in

    def finish(self) -> None:
        """Check that what came in went out or lies in quarantine.

        Raises:
            InternalError: it does not.
        """
        if self.num_in != self.num_out + self.num_quarantined:
            raise InternalError(f"{self._path.stem}: {self.num_in} rows came in, {self.num_out} went out, {self.num_quarantined} are bad")

    def summary(self) -> dict[str, object]:
        """Give the table's entry of ledger.json."""
        return {"in": self.num_in, "out": self.num_out, "quarantined": self.num_quarantined, "reasons": self.reasons()}

    def reasons(self) -> dict[str, int]:
        """Count the rejected rows by reason."""
        return dict(sorted(self._reasons.items()))
