"""Vocabulary over versions: a label's id means the same text for ever.

Known labels keep their id, new ones get the ids after the largest ever given. A label that is missing from a version stays in the table:
as "merged" when its text became another label, else as "retired". Either may come back under its old id. A merge stands until the text is
a label again or goes into another one; `merged_into` always names the last target, so one step leads there.
Legend: L labels of this version, K labels known so far (K >= L).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import TableError

VOCABULARY_FILE = "vocabulary.parquet"
CHANGES_FILE = "changes.json"
Status = Literal["active", "merged", "retired"]
_COLUMNS = ("label_id", "text", "first_seen", "status", "merged_into", "version_added", "version_changed")


@dataclass(frozen=True, slots=True)
class KnownLabel:
    """One label as of a version; its id is its place in the vocabulary."""

    text: str
    first_us: int
    status: Status
    merged_into: int | None
    version_added: int
    version_changed: int


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All labels ever known, by id, and the number of the version, from 1."""

    version: int
    known: tuple[KnownLabel, ...]

    def number(self) -> dict[str, int]:
        """Give the id of each text ever known."""
        return {label.text: label_id for label_id, label in enumerate(self.known)}

    def ids_L(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Give the ids of known texts, in their order."""
        number = self.number()
        return np.array([number[text] for text in texts], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids that changed in a version, each list rising: new, gone into another (or yet another), gone, and back."""

    version: int
    appended: tuple[int, ...]
    merged: tuple[int, ...]
    retired: tuple[int, ...]
    revived: tuple[int, ...]

    def json(self) -> bytes:
        """Give the bytes of changes.json."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2)


def next_version(
    previous: Vocabulary | None, texts: Sequence[str], first_us_L: NDArray[np.int64], canonical: Mapping[str, str]
) -> tuple[Vocabulary, Changes]:
    """Give the vocabulary after this version's labels, and what changed.

    Args:
        previous: None for the first version, whose ids are 0 to L - 1 in the order of `texts`.
        texts: this version's labels, each once; new ones get their ids in this order.
        first_us_L: microseconds; a label's first time never moves forward.
        canonical: tag that each merged tag became.
    """
    before = previous.known if previous else ()
    version = previous.version + 1 if previous else 1
    old = {label.text: label_id for label_id, label in enumerate(before)}
    first_us = dict(zip(texts, first_us_L.tolist(), strict=True))
    new = [text for text in texts if text not in old]
    number = old | {text: len(before) + place for place, text in enumerate(new)}
    active = {number[text] for text in texts}
    targets = {old[text]: number[into] for text, into in canonical.items() if text in old and into in first_us}
    known = [_carried(label_id, label, first_us, targets, active, version) for label_id, label in enumerate(before)]
    known = [_at_last_target(label, known, version) for label in known]
    known += [KnownLabel(text, first_us[text], "active", None, version, version) for text in new]
    return Vocabulary(version, tuple(known)), _changes(before, known, version)


def _carried(
    label_id: int, label: KnownLabel, first_us: Mapping[str, int], targets: Mapping[int, int], active: set[int], version: int
) -> KnownLabel:
    """One known label in this version."""
    status: Status
    if label_id in active:
        label = replace(label, first_us=min(label.first_us, first_us[label.text]))
        status, into = "active", None
    elif label_id in targets:
        status, into = "merged", targets[label_id]
    elif label.status == "merged":
        return label
    else:
        status, into = "retired", None
    if (status, into) == (label.status, label.merged_into):
        return label
    return replace(label, status=status, merged_into=into, version_changed=version)


def _at_last_target(label: KnownLabel, known: Sequence[KnownLabel], version: int) -> KnownLabel:
    """Follow a target that itself merged; this version's targets are active, so the way is short and has no circle."""
    into = label.merged_into
    while into is not None and into < len(known) and known[into].merged_into is not None:
        into = known[into].merged_into
    return label if into == label.merged_into else replace(label, merged_into=into, version_changed=version)


def _changes(before: Sequence[KnownLabel], known: Sequence[KnownLabel], version: int) -> Changes:
    moved = [label_id for label_id in range(len(before)) if known[label_id].version_changed == version]
    by_status = {
        status: tuple(label_id for label_id in moved if known[label_id].status == status) for status in ("active", "merged", "retired")
    }
    return Changes(version, tuple(range(len(before), len(known))), by_status["merged"], by_status["retired"], by_status["active"])


def read_vocabulary(directory: Path) -> Vocabulary:
    """Read the vocabulary of an earlier version from its two files.

    Raises:
        TableError: the file was written before ids outlived a version, or its ids or texts are not those of a whole history.
    """
    path = directory / VOCABULARY_FILE
    missing = [name for name in _COLUMNS if name not in pq.read_schema(path).names]
    if missing or not (directory / CHANGES_FILE).is_file():
        what = f"columns {', '.join(missing)}" if missing else CHANGES_FILE
        raise TableError(f"earlier vocabulary {path}: {what} missing: it is from before versions; leave vocabulary.previous out once")
    rows = pq.read_table(path, columns=list(_COLUMNS)).set_column(2, "first_seen", _microseconds(path)).to_pylist()
    if [row["label_id"] for row in rows] != list(range(len(rows))):
        raise TableError(f"earlier vocabulary {path}: expected the ids 0 to {len(rows) - 1} in order")
    if len({row["text"] for row in rows}) != len(rows):
        raise TableError(f"earlier vocabulary {path}: expected each text once")
    known = tuple(
        KnownLabel(row["text"], row["first_seen"], row["status"], row["merged_into"], row["version_added"], row["version_changed"])
        for row in rows
    )
    version = cast(int, orjson.loads((directory / CHANGES_FILE).read_bytes())["version"])
    return Vocabulary(version, known)


def _microseconds(path: Path) -> pa.ChunkedArray:
    return pq.read_table(path, columns=["first_seen"])["first_seen"].cast(pa.int64())
