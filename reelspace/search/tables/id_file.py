"""Ids beside files of bare vectors: a .npy file of one id per row, integers or the 16 bytes of UUIDs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import TableError, UserError
from reelspace.search.storage.ids import Id
from reelspace.search.tables.npy_file import NpyRows, open_npy
from reelspace.search.tables.whole_file import whole_file

IdsOf: TypeAlias = Callable[[int, int], Sequence[Id]]
"""The ids of the rows from a first one to the one before a second."""
_INTEGER: Final = np.dtype("<u8")
_UUID: Final = np.dtype("V16")


def open_ids(path: Path | None, num_rows: int) -> IdsOf:
    """Open the ids of a file of vectors; without a path, ids are the numbers of the rows.

    Raises:
        TableError: it holds no integers nor UUIDs (dtype V16), or not one per row.
    """
    if path is None:
        return range
    ids_N = open_npy(path, 1)
    if len(ids_N) != num_rows:
        raise TableError(f"{path}: expected one id for each of {num_rows:,} rows, got {len(ids_N):,}")
    if ids_N.dtype == _UUID:
        return lambda start, stop: [UUID(bytes=bytes(one)) for one in ids_N[start:stop]]
    if ids_N.dtype.kind not in "iu":
        raise TableError(f"{path}: expected integers, or UUIDs as 16 bytes (V16), got {ids_N.dtype}")
    return lambda start, stop: _integers(path, ids_N[start:stop], start)


def _integers(path: Path, ids_N: NDArray[Any], first_row: int) -> list[int]:
    if ids_N.dtype.kind == "i" and (ids_N < 0).any():
        row = int(np.argmax(ids_N < 0))
        raise TableError(f"{path}: row {first_row + row}: expected ids of at least 0, got {ids_N[row]}")
    found: list[int] = ids_N.tolist()
    return found


class IdRows:
    """A file of ids that grows: all are integers, or all are UUIDs."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._rows: NpyRows | None = None

    def append(self, ids: Sequence[Id]) -> None:
        """Write ids at the end; UserError where both kinds meet."""
        uuids = [id.bytes for id in ids if isinstance(id, UUID)]
        if len(uuids) not in (0, len(ids)):
            raise self._mixed()
        ids_N = np.frombuffer(b"".join(uuids), dtype=_UUID) if uuids else np.array(ids, dtype=_INTEGER)
        if self._rows is None:
            self._rows = NpyRows(self._file, ids_N.dtype, ())
        elif self._rows.dtype != ids_N.dtype:
            raise self._mixed()
        self._rows.append(ids_N)

    def finish(self) -> None:
        """Write how many there are."""
        (self._rows or NpyRows(self._file, _INTEGER, ())).finish()

    def _mixed(self) -> UserError:
        return UserError(f"{self._path}: expected integers or UUIDs as ids, got both: a .npy file has one type; write Parquet")


@contextmanager
def id_rows(path: Path) -> Iterator[IdRows]:
    """Open a file for ids; it appears when the block ends without an error."""
    with whole_file(path) as file:
        rows = IdRows(path, file)
        yield rows
        rows.finish()
