"""Shards: tar archives of samples and their index, written so that a killed writer goes on where it was.

<directory>/shard-00000.tar     the samples' members, side by side; complete archives of any tool
<directory>/shard-00000.jsonl   the journal: one line per item that came, also for those refused, and one when the shard is closed

A line follows its bytes. What a killed writer left is read back, every sample checked against its hash, and cut behind the last
whole line. Where a shard ends depends on the sizes of the samples alone, so a resumed writer gives the same bytes.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from reelspace.media.decoded import Kind
from reelspace.media.job import Packed, Refused
from reelspace.media.sample import Words
from reelspace.media.tar import END_OF_ARCHIVE

INDEX_FILE: Final = "index.parquet"
_CLOSED: Final = b'{"closed":true}\n'
_INDEX_SCHEMA: Final = pa.schema(
    {
        "video_id": pa.int64(),
        "shard": pa.string(),
        "offset": pa.int64(),
        "length": pa.int64(),
        "sha256": pa.string(),
        "created_at": pa.timestamp("us", "UTC"),
        "kind": pa.string(),
        "num_frames": pa.int32(),
        "has_audio": pa.bool_(),
        "text": pa.large_string(),
    }
)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Where a sample lies, and what can be asked about it without reading it; created_at is ISO 8601."""

    video_id: int
    shard: str
    offset: int
    length: int
    sha256: str
    created_at: str
    kind: Kind
    num_frames: int
    has_audio: bool
    text: str
    """The author's words, as the sample has them: who trains on many works needs all words at once, and few pictures."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """An item that gave no sample."""

    video_id: int
    refused: str
    detail: str


Row = IndexRow | RefusedRow


class ShardWriter:
    """Appends samples to shards of about `shard_bytes` in a directory that may hold the work of an earlier writer.

    Args:
        on_closed: called when a shard is complete and will not change again.
    """

    def __init__(self, directory: Path, shard_bytes: int, on_closed: Callable[[], None] = lambda: None) -> None:
        self._directory = directory
        self._shard_bytes = shard_bytes
        self._on_closed = on_closed
        directory.mkdir(parents=True, exist_ok=True)
        self.rows: list[Row] = []
        """Every item so far, in the order they came; those of an earlier writer included."""
        self._open: _Shard | None = None
        self._num_shards = 0
        for shard in self._left_behind():
            self.rows += shard.rows

    @property
    def index_rows(self) -> tuple[IndexRow, ...]:
        """The samples so far."""
        return tuple(row for row in self.rows if isinstance(row, IndexRow))

    def add(self, words: Words, packed: Packed) -> IndexRow:
        """Append the sample of a work."""
        shard = self._current(len(packed.data))
        digest = hashlib.sha256(packed.data).hexdigest()
        facts = (words.created_at, packed.kind, packed.num_frames, packed.has_audio, words.text)
        row = IndexRow(words.video_id, shard.name, shard.size_bytes, len(packed.data), digest, *facts)
        shard.append(row, packed.data)
        self.rows.append(row)
        return row

    def refuse(self, video_id: int, refused: Refused) -> RefusedRow:
        """Note an item that gave no sample."""
        row = RefusedRow(video_id, refused.reason, refused.detail)
        self._current(0).append(row, b"")
        self.rows.append(row)
        return row

    def close(self) -> None:
        """Complete the last shard."""
        if self._open is not None:
            self._open.close()
            self._open = None
            self._on_closed()

    def publish(self, directory: Path) -> None:
        """Put every shard that holds samples, and the index, into a directory on the same machine. Close first."""
        directory.mkdir(parents=True, exist_ok=True)
        rows = self.index_rows
        for name in sorted({row.shard for row in rows}):
            _link(self._directory / name, directory / name)
        columns = {name: [getattr(row, name) for row in rows] for name in _INDEX_SCHEMA.names}
        columns["created_at"] = [datetime.fromisoformat(row.created_at) for row in rows]
        pq.write_table(pa.table(columns, schema=_INDEX_SCHEMA), directory / INDEX_FILE, compression="zstd")

    def _current(self, length: int) -> "_Shard":
        if self._open is not None and self._open.size_bytes and self._open.size_bytes + length > self._shard_bytes:
            self.close()
        if self._open is None:
            self._open = _Shard.create(self._directory, self._num_shards)
            self._num_shards += 1
        return self._open

    def _left_behind(self) -> Iterator["_Shard"]:
        while (self._directory / _journal_name(self._num_shards)).exists():
            shard = _Shard.resume(self._directory, self._num_shards)
            self._num_shards += 1
            yield shard
            if not shard.is_closed:
                self._open = shard
                return


@dataclass
class _Shard:
    """One shard with its journal, open for appending unless it is closed."""

    name: str
    archive: BinaryIO
    journal: BinaryIO
    rows: list[Row]
    size_bytes: int = 0
    is_closed: bool = False

    @classmethod
    def create(cls, directory: Path, number: int) -> "_Shard":
        name = _archive_name(number)
        return cls(name, (directory / name).open("wb"), (directory / _journal_name(number)).open("wb"), [])

    @classmethod
    def resume(cls, directory: Path, number: int) -> "_Shard":
        name = _archive_name(number)
        shard = cls(name, (directory / name).open("r+b"), (directory / _journal_name(number)).open("r+b"), [])
        shard._read_back()
        return shard

    def append(self, row: Row, data: bytes) -> None:
        self.archive.write(data)
        self.archive.flush()
        self.size_bytes += len(data)
        self.journal.write(orjson.dumps(asdict(row)) + b"\n")
        self.journal.flush()

    def close(self) -> None:
        self.archive.write(END_OF_ARCHIVE)
        self.archive.flush()
        self.journal.write(_CLOSED)
        self.is_closed = True
        self._hang_up()

    def _read_back(self) -> None:
        kept_bytes = 0
        for line in self.journal:
            if line == _CLOSED and self.archive.read() == END_OF_ARCHIVE:
                self.is_closed = True
                self._hang_up()
                return
            row = _row(line)
            if row is None or not self._is_whole(row):
                break
            self.rows.append(row)
            kept_bytes += len(line)
        self.archive.truncate(self.size_bytes)
        self.archive.seek(self.size_bytes)
        self.journal.truncate(kept_bytes)
        self.journal.seek(kept_bytes)

    def _is_whole(self, row: Row) -> bool:
        if isinstance(row, RefusedRow):
            return True
        data = self.archive.read(row.length)
        if row.offset != self.size_bytes or hashlib.sha256(data).hexdigest() != row.sha256:
            return False
        self.size_bytes += row.length
        return True

    def _hang_up(self) -> None:
        self.archive.close()
        self.journal.close()


def _row(line: bytes) -> Row | None:
    if not line.endswith(b"\n"):
        return None
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    for kind in (IndexRow, RefusedRow):
        if set(values) == {field.name for field in fields(kind)}:
            return kind(**values)
    return None


def _archive_name(number: int) -> str:
    return f"shard-{number:05d}.tar"


def _journal_name(number: int) -> str:
    return f"shard-{number:05d}.jsonl"


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)  # another file system, or one without links
