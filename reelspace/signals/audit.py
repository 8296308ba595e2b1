"""Audit of privacy: every text on its way into a file is masked here, and what was masked is counted, never kept.

Masking twice changes nothing, so texts that were masked where they were read are counted too.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.signals.masks import KINDS, marks_in
from reelspace.signals.normal_forms import public_text
from reelspace.signals.tables import write_columns

_JSON_COLUMNS = frozenset({"evidence"})


@dataclass(frozen=True, slots=True)
class Masked:
    """How many texts of one column were written, and how often something of one kind was masked in them."""

    table: str
    column: str
    kind: str
    num_texts: int
    num_masked: int


class Audit:
    """Masks what is written and counts."""

    def __init__(self) -> None:
        self._num_texts: Counter[tuple[str, str]] = Counter()
        self._num_masked: Counter[tuple[str, str, str]] = Counter()
        self._known: dict[str, tuple[str, Counter[str]]] = {}

    def rows(self) -> list[Masked]:
        """Give the counts: every table and column with texts, every kind, zeros included."""
        return [
            Masked(table, column, kind, count, self._num_masked[table, column, kind])
            for (table, column), count in sorted(self._num_texts.items())
            for kind in KINDS
        ]

    def write_columns(
        self, path: Path, columns: Mapping[str, Sequence[object] | NDArray[np.generic]], types: Mapping[str, pa.DataType]
    ) -> None:
        """Write one Parquet file with every text column masked, texts in lists and in JSON included."""
        table = path.stem
        out = {name: self._column(table, name, columns[name], types[name]) for name in types}
        self._known.clear()
        write_columns(path, out, types)

    def write_counts(self, path: Path) -> None:
        """Write the counts as JSON."""
        path.write_bytes(orjson.dumps([asdict(row) for row in self.rows()], option=orjson.OPT_INDENT_2))

    def text(self, table: str, column: str, text: str) -> str:
        """Give one text masked."""
        shown, kinds = self._seen(text)
        self._num_texts[table, column] += 1
        for kind, count in kinds.items():
            self._num_masked[table, column, kind] += count
        return shown

    def json(self, table: str, column: str, value: object) -> object:
        """Give JSON values with every text masked, keys included; where two keys become one, the larger value stays."""
        if isinstance(value, str):
            return self.text(table, column, value)
        if isinstance(value, Mapping):
            out: dict[str, object] = {}
            for name, inner in value.items():
                key, found = self.text(table, column, str(name)), self.json(table, column, inner)
                out[key] = _larger(out[key], found) if key in out else found
            return out
        if isinstance(value, list | tuple):
            return [self.json(table, column, inner) for inner in value]
        return value

    def _column(
        self, table: str, name: str, values: Sequence[object] | NDArray[np.generic], kind: pa.DataType
    ) -> Sequence[object] | NDArray[np.generic]:
        if name in _JSON_COLUMNS:
            return [None if value is None else self._json_text(table, name, str(value)) for value in values]
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return [None if value is None else self.text(table, name, str(value)) for value in values]
        if pa.types.is_list(kind) and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
            return [self.json(table, name, texts) for texts in values]
        return values

    def _json_text(self, table: str, column: str, text: str) -> str:
        return orjson.dumps(self.json(table, column, orjson.loads(text)), option=orjson.OPT_SORT_KEYS).decode()

    def _seen(self, text: str) -> tuple[str, Counter[str]]:
        """The masked text and its masks; texts repeat within a table."""
        if text not in self._known:
            shown = public_text(text)
            self._known[text] = (shown, marks_in(shown))
        return self._known[text]


def _larger(first: object, second: object) -> object:
    return max(first, second) if isinstance(first, int | float) and isinstance(second, int | float) else first
