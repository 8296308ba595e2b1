"""Rows on their way into the log, in columns, and what may not enter it.

Legend: N rows of one write, M of them with a vector of some name, D its dimension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Final, Literal, TypeAlias

import numpy as np
import orjson
import xxhash
from numpy.typing import ArrayLike, NDArray

from reelspace.core.errors import UserError
from reelspace.search.storage.ids import Id, id_bytes, is_id
from reelspace.search.storage.payload_edits import merged
from reelspace.search.storage.payload_path import KeyRefused, parse_key

# A quarter of the largest float32: the squared distance of two such vectors is still finite.
MAX_SQUARED_LENGTH: Final = float(np.finfo(np.float32).max) / 4
# Below it a cosine's length is zero or denormal in float32.
MIN_SQUARED_LENGTH: Final = float(np.finfo(np.float32).tiny)
_SURELY_SHALLOW: Final = 200


class RowRefused(UserError):
    """A row that no log may hold; the message names its place in the write and its id."""


class Op(IntEnum):
    """What a row of the log does to the row of its id."""

    UPSERT = 1
    """Put vectors and payload in the place of whatever was there."""
    DELETE = 2
    MERGE_PAYLOAD = 3
    """Set the given keys of an existing row's payload; null removes a key."""
    REPLACE_PAYLOAD = 4
    """Put the payload in the place of an existing row's."""
    DROP_PAYLOAD = 5
    """Remove what lies at the keys that the payload, a JSON array of strings, names from an existing row."""
    MERGE_PAYLOAD_AT = 6
    """Set keys of what lies at a key of an existing row's payload: {"key": the key, "payload": the values}."""


_OPS: Final = frozenset(Op)


@dataclass(frozen=True, slots=True)
class VectorField:
    """What the vectors of one name are; the name of an only, unnamed vector is empty."""

    dimension: int
    metric: Literal["cosine", "dot", "euclid"]


Fields: TypeAlias = Mapping[str, VectorField]


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """The vectors of one name: rows_M gives the place of each in its write, ascending; vectors_MD is float32."""

    rows_M: NDArray[np.int64]
    vectors_MD: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rows:
    """N changes in order: op, id, vectors by name, and payload as JSON bytes; an upsert may lack some vectors and the payload.

    `checked_for` are the fields for which `checked` found them good, so that none of those who must be sure looks at them again.
    """

    ops_N: NDArray[np.uint8]
    ids: tuple[Id, ...]
    vectors: Mapping[str, Vectors]
    payloads: tuple[bytes | None, ...]
    checked_for: Fields | None = field(default=None, init=False)

    @property
    def size_bytes(self) -> int:
        """Bytes of vectors and payload, and 32 for the rest of a row."""
        vectors = sum(one.vectors_MD.nbytes for one in self.vectors.values())
        return vectors + sum(len(payload or b"") for payload in self.payloads) + 32 * len(self.ids)

    @cached_property
    def digest(self) -> bytes:
        """XXH3-128 of the content: equal rows, equal digest, whatever request carries them."""
        whole = xxhash.xxh3_128(self.ops_N.tobytes())
        whole.update(b"".join(bytes([len(data)]) + data for data in map(id_bytes, self.ids)))
        for name, one in sorted(self.vectors.items()):
            if not len(one.rows_M):
                continue
            whole.update(f"{name}\0{len(one.rows_M)}\0".encode())
            whole.update(np.ascontiguousarray(one.rows_M, dtype="<i8").tobytes())
            whole.update(np.ascontiguousarray(one.vectors_MD, dtype="<f4").tobytes())
        whole.update(b"".join(b"-" if payload is None else f"{len(payload)}:".encode() + payload for payload in self.payloads))
        return whole.digest()


@dataclass(frozen=True, slots=True)
class Change:
    """One row as a caller states it; the payload is a JSON object, for DROP_PAYLOAD an array of keys."""

    op: Op
    id: Id
    vectors: Mapping[str, ArrayLike] = field(default_factory=dict)
    payload: Mapping[str, object] | Sequence[str] | None = None


def rows_of(changes: Sequence[Change], fields: Fields) -> Rows:
    """Put changes into columns.

    Raises:
        RowRefused: one of them may not enter the log; see `checked`.
    """
    rows = Rows(
        ops_N=np.array([change.op for change in changes], dtype=np.uint8),
        ids=tuple(change.id for change in changes),
        vectors={name: _column(changes, name, fields) for name in dict.fromkeys(name for one in changes for name in one.vectors)},
        payloads=tuple(None if change.payload is None else _json(place, change) for place, change in enumerate(changes)),
    )
    return checked(rows, fields)


def checked(rows: Rows, fields: Fields) -> Rows:
    """Give the rows, known to be good; refuse those that could not be told apart, indexed or ranked.

    Raises:
        RowRefused: no row at all; an id, op, payload or vector name that is none; a vector of another shape or type, not finite, so
            long that squares overflow float32, or of length zero where the metric is cosine; vectors or payload where the op has none.
    """
    if rows.checked_for == fields:
        return rows
    num_rows = len(rows.ids)
    if not num_rows or len(rows.ops_N) != num_rows or len(rows.payloads) != num_rows:
        raise RowRefused(f"rows: expected one op, id and payload for each of one or more rows, got {_lengths(rows)}")
    for place, id in enumerate(rows.ids):
        if not is_id(id):
            raise RowRefused(f"row {place}: id {str(id)[:60]!r}: expected an integer of 0 to 2^64 - 1 or a UUID")
    has_vector_N = np.zeros(num_rows, dtype=np.bool_)
    for name, vectors in rows.vectors.items():
        _check_vectors(rows, name, vectors, fields)
        has_vector_N[vectors.rows_M] = True
    for place, (op, payload, has_vector) in enumerate(zip(rows.ops_N.tolist(), rows.payloads, has_vector_N.tolist(), strict=True)):
        if op != Op.UPSERT or not has_vector or (payload is not None and payload != b"{}" and type(_parsed(payload)) is not dict):
            _check_op(_where(rows, place), op, payload, has_vector)
    object.__setattr__(rows, "checked_for", fields)
    return rows


def _column(changes: Sequence[Change], name: str, fields: Fields) -> Vectors:
    if name not in fields:
        raise _unknown(name, fields)
    wanted = fields[name].dimension
    places = [place for place, change in enumerate(changes) if name in change.vectors]
    vectors_MD = np.empty((len(places), wanted), dtype=np.float32)
    with np.errstate(over="ignore"):  # 1e39 becomes infinite and is refused as such
        for number, place in enumerate(places):
            vector = _array(changes[place].vectors[name])
            if vector is None or vector.shape != (wanted,):
                found = "something else" if vector is None else f"the shape {list(vector.shape)}"
                raise RowRefused(f"row {place} (id {changes[place].id}): vector {name!r}: expected {wanted} numbers, got {found}")
            vectors_MD[number] = vector
    return Vectors(np.array(places, dtype=np.int64), vectors_MD)


def _array(value: ArrayLike) -> NDArray[np.generic] | None:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal length
        return None
    return array if array.dtype.kind in "fiu" else None


def _json(place: int, change: Change) -> bytes:
    try:
        return orjson.dumps(change.payload)
    except TypeError as error:  # orjson's own error is one, too
        raise RowRefused(f"row {place} (id {change.id}): the payload is not JSON: {error}") from error


def _check_vectors(rows: Rows, name: str, vectors: Vectors, fields: Fields) -> None:
    if name not in fields:
        raise _unknown(name, fields)
    rows_M, vectors_MD, known = vectors.rows_M, vectors.vectors_MD, fields[name]
    if vectors_MD.dtype != np.float32 or vectors_MD.shape != (len(rows_M), known.dimension):
        shape = f"{vectors_MD.dtype} {list(vectors_MD.shape)}"
        raise RowRefused(f"vector {name!r}: expected float32 {[len(rows_M), known.dimension]}, got {shape}")
    if len(rows_M) and (rows_M[0] < 0 or rows_M[-1] >= len(rows.ids) or np.any(np.diff(rows_M) <= 0)):
        raise RowRefused(f"vector {name!r}: expected ascending places below {len(rows.ids)}")
    wide_MD = vectors_MD.astype(np.float64)
    squares_M = np.einsum("md,md->m", wide_MD, wide_MD)
    for bad_M, what in (
        (~np.isfinite(squares_M), "expected finite numbers, got NaN or infinity"),
        (squares_M > MAX_SQUARED_LENGTH, f"its squared length overflows float32: at most {MAX_SQUARED_LENGTH:.3g} is held"),
        ((squares_M < MIN_SQUARED_LENGTH) & (known.metric == "cosine"), "its length is zero, which has no cosine"),
    ):
        if bad_M.any():
            raise RowRefused(f"{_where(rows, int(rows_M[np.argmax(bad_M)]))}: vector {name!r}: {what}")


def _check_op(where: str, op: int, payload: bytes | None, has_vector: bool) -> None:
    if op not in _OPS:
        raise RowRefused(f"{where}: op {op}: expected one of {', '.join(f'{one.value} ({one.name})' for one in Op)}")
    if has_vector != (op == Op.UPSERT):
        raise RowRefused(f"{where}: expected vectors exactly where the op is UPSERT, it is {Op(op).name}")
    if payload is None and op in (Op.UPSERT, Op.DELETE):
        return
    if op == Op.DELETE or not _fits(op, _parsed(payload)):
        wanted = {
            Op.DELETE: "no payload",
            Op.DROP_PAYLOAD: "a JSON array of keys of payloads",
            Op.MERGE_PAYLOAD_AT: 'a JSON object of a "key" of payloads and a "payload" object',
        }.get(Op(op), "a JSON object")
        raise RowRefused(f"{where}: payload of {Op(op).name}: expected {wanted}, got {(payload or b'none')[:60]!r}")


def _fits(op: int, value: object) -> bool:
    if op == Op.DROP_PAYLOAD:
        return isinstance(value, list) and all(map(_is_key, value))
    if op == Op.MERGE_PAYLOAD_AT:
        if not isinstance(value, dict) or set(value) != {"key", "payload"} or not isinstance(value["payload"], dict):
            return False
        return _is_key(value["key"]) and _fits_at(value["key"], value["payload"])
    return isinstance(value, dict)


def _fits_at(key: str, values: dict[str, object]) -> bool:
    # Every shard writes the edited payload as JSON: an edit that makes it too deep for that would stop them all.
    return _is_shallow(merged({}, values, ("",) * len(parse_key(key))))


def _is_shallow(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _is_key(value: object) -> bool:
    try:
        return type(value) is str and bool(parse_key(value))
    except KeyRefused:
        return False


def _parsed(payload: bytes | None) -> object:
    try:
        value = None if payload is None else orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    # Only what opens many lists and objects can be too deep to be written again.
    is_surely_shallow = payload is None or payload.count(b"{") + payload.count(b"[") <= _SURELY_SHALLOW
    return value if is_surely_shallow or _is_shallow(value) else None


def _where(rows: Rows, place: int) -> str:
    return f"row {place} (id {rows.ids[place]})"


def _unknown(name: str, fields: Fields) -> RowRefused:
    return RowRefused(f"vector {name[:60]!r}: the collection has {', '.join(map(repr, fields))}")


def _lengths(rows: Rows) -> str:
    return f"{len(rows.ops_N)} ops, {len(rows.ids)} ids, {len(rows.payloads)} payloads"
