"""The bytes of one log object: an Arrow IPC stream with one record batch per write, then 32 bytes of SHA-256.

The hash covers the object's key and the stream, so an object that is damaged, cut short or lies under another's number is
refused before Arrow sees it. `pyarrow.ipc.open_stream` reads such a file as it is.

op uint8 | id uint64 | uuid 16 bytes | payload JSON | request_key string | at microseconds UTC | vector:<name> list<float32>

An object that is a mark (marks.py) has no record batch, and what it says in the stream's metadata: a program that knows no marks
refuses it, so it neither writes behind the end of a log nor skips one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.core.errors import CorruptArtifact
from reelspace.search.storage.marks import Mark, mark_of_metadata, metadata_of_mark
from reelspace.search.storage.rows import Fields, RowRefused, Rows, Vectors, checked

_VERSION: Final = (b"reelspace.log", b"1")
_VECTOR: Final = "vector:"
_HASH_BYTES: Final = 32
# No client's key has it: it is not printable.
_ORIGIN: Final = "\0"


@dataclass(frozen=True, slots=True)
class Write:
    """What one request changes in one shard: its rows enter the log together or not at all. `at_us`: microseconds since 1970, UTC."""

    request_key: str
    at_us: int
    rows: Rows

    @property
    def client_key(self) -> str:
        """The key under which a client sent it, without where a forwarder had it from (forwarded_key)."""
        return self.request_key.partition(_ORIGIN)[0]


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of the log: writes, or a mark."""

    number: int
    writes: tuple[Write, ...]
    mark: Mark | None = None


def forwarded_key(client_key: str, shard: int, number: int) -> str:
    """Give the key of a write that was brought from a number of the log of a shard of another collection: no other write has it."""
    return f"{client_key}{_ORIGIN}{shard}.{number}"


def encode(key: str, fields: Fields, writes: Sequence[Write]) -> bytes:
    """Give the bytes of the object that lies under `key`."""
    schema = _schema(fields)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for write in writes:
            stream.write_batch(_batch(write, schema, fields))
    return seal(key, sink.getvalue().to_pybytes())


def encode_mark(key: str, fields: Fields, mark: Mark) -> bytes:
    """Give the bytes of a mark that lies under `key`."""
    sink = pa.BufferOutputStream()
    schema = _schema(fields)
    with pa.ipc.new_stream(sink, schema.with_metadata(schema.metadata | metadata_of_mark(mark))):
        pass
    return seal(key, sink.getvalue().to_pybytes())


def decode(key: str, number: int, fields: Fields, data: bytes) -> Entry:
    """Read an object.

    Raises:
        CorruptArtifact: the bytes are not what was written under this key, are of a newer version or another collection, or hold
            what `rows.checked` refuses, whoever wrote it.
    """
    stream = unseal(key, data)
    try:
        with pa.ipc.open_stream(stream) as reader:
            _check_schema(key, reader.schema, fields)
            writes = tuple(_write(batch, fields) for batch in reader)
            mark = mark_of_metadata(reader.schema.metadata)
    except (pa.ArrowInvalid, RowRefused, ValueError, OSError) as error:
        raise CorruptArtifact(f"log object {key} does not hold writes: {error}") from error
    if bool(writes) == bool(mark):
        raise CorruptArtifact(f"log object {key} holds {'a mark and writes' if mark else 'no write'}")
    return Entry(number, writes, mark)


def mark_of(key: str, data: bytes) -> Mark | None:
    """Give the mark that an object is, None for one of writes, which are not looked at; CorruptArtifact if its hash differs."""
    with pa.ipc.open_stream(unseal(key, data)) as reader:
        return mark_of_metadata(reader.schema.metadata)


def seal(key: str, stream: bytes) -> bytes:
    """Put the hash behind a stream, for the place where it will lie."""
    return stream + _hash(key, stream)


def unseal(key: str, data: bytes) -> bytes:
    """Give the stream of an object; CorruptArtifact if its hash differs."""
    stream, found = data[:-_HASH_BYTES], data[-_HASH_BYTES:]
    if _hash(key, stream) != found:
        raise CorruptArtifact(f"log object {key} is corrupt: its SHA-256 differs; restore the collection from a snapshot")
    return stream


def _hash(key: str, stream: bytes) -> bytes:
    digest = hashlib.sha256(key.encode() + b"\0")
    digest.update(stream)
    return digest.digest()


def _schema(fields: Fields) -> Any:
    columns = [
        pa.field("op", pa.uint8(), nullable=False),
        pa.field("id", pa.uint64()),
        pa.field("uuid", pa.binary(16)),
        pa.field("payload", pa.binary()),
        pa.field("request_key", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
    columns += [pa.field(_VECTOR + name, pa.list_(pa.float32())) for name in sorted(fields)]
    return pa.schema(columns, metadata=dict([_VERSION]))


def _check_schema(key: str, found: Any, fields: Fields) -> None:
    version = (found.metadata or {}).get(_VERSION[0])
    if version != _VERSION[1]:
        raise CorruptArtifact(f"log object {key} is of version {version!r}, this program reads {_VERSION[1]!r}: use the one that wrote it")
    if not found.equals(_schema(fields)):
        raise CorruptArtifact(f"log object {key} is of another collection: its columns are {', '.join(found.names)}")


def _batch(write: Write, schema: Any, fields: Fields) -> Any:
    rows = write.rows
    num_rows = len(rows.ids)
    columns = [
        pa.array(rows.ops_N, pa.uint8()),
        pa.array([id if isinstance(id, int) else None for id in rows.ids], pa.uint64()),
        pa.array([id.bytes if isinstance(id, UUID) else None for id in rows.ids], pa.binary(16)),
        pa.array(rows.payloads, pa.binary()),
        pa.array([write.request_key] * num_rows, pa.string()),
        pa.array(np.full(num_rows, write.at_us, dtype=np.int64)).cast(pa.timestamp("us", tz="UTC")),
    ]
    columns += [_lists(rows.vectors.get(name), num_rows) for name in sorted(fields)]
    return pa.record_batch(columns, schema=schema)


def _lists(vectors: Vectors | None, num_rows: int) -> Any:
    # Variable lists, for a row without a vector then costs 4 bytes: a write of deletes stays small.
    if vectors is None:
        return pa.nulls(num_rows, pa.list_(pa.float32()))
    lengths_N = np.zeros(num_rows, dtype=np.int32)
    lengths_N[vectors.rows_M] = vectors.vectors_MD.shape[1]
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(lengths_N, dtype=np.int32)])
    values = pa.array(np.ascontiguousarray(vectors.vectors_MD).reshape(-1), pa.float32())
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(lengths_N == 0))


def _write(batch: Any, fields: Fields) -> Write:
    batch.validate(full=True)
    keys, times = batch["request_key"].unique(), batch["at"].unique()
    if len(keys) != 1 or len(times) != 1 or batch["op"].null_count:
        raise RowRefused(f"expected one request key and one time in each write, got {len(keys)} and {len(times)}")
    both = batch["id"].is_valid().to_numpy(zero_copy_only=False) & batch["uuid"].is_valid().to_numpy(zero_copy_only=False)
    if both.any():
        raise RowRefused(f"row {int(both.argmax())}: expected an integer or a UUID as its id, got both")
    rows = Rows(
        ops_N=batch["op"].to_numpy(),
        ids=_ids(batch),
        vectors={name: column for name in sorted(fields) if len((column := _vectors(batch[_VECTOR + name], name, fields)).rows_M)},
        payloads=tuple(batch["payload"].to_pylist()),
    )
    return Write(request_key=keys[0].as_py(), at_us=times[0].value, rows=checked(rows, fields))


def _ids(batch: Any) -> tuple[Any, ...]:
    numbers, uuids = batch["id"].to_pylist(), batch["uuid"].to_pylist()
    return tuple(UUID(bytes=uuid) if uuid is not None else number for number, uuid in zip(numbers, uuids, strict=True))


def _vectors(column: Any, name: str, fields: Fields) -> Vectors:
    dimension = fields[name].dimension
    rows_M: NDArray[np.int64] = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    values = column.flatten()
    lengths = column.value_lengths().drop_null()
    if values.null_count or any(length != dimension for length in lengths.unique().to_pylist()):
        raise RowRefused(f"vector {name!r}: expected {dimension} numbers in each")
    return Vectors(rows_M, values.to_numpy().reshape(-1, dimension))
