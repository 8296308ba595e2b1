"""Vectors in .fvecs and .bvecs files: before each row its dimension as int32, then D float32 or D bytes, little-endian.

Without payload; ids are the rows' numbers, or in a .npy file. Format: http://corpus-texmex.irisa.fr. Legend: N rows, D dimension.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import TableError, UserError
from reelspace.search.tables.batch import BATCH_ROWS, NO_PAYLOAD, Batch, Batches, Floats, checked_dimension, float32_ND, spans
from reelspace.search.tables.id_file import IdsOf, id_rows, open_ids
from reelspace.search.tables.whole_file import whole_file

ELEMENTS: Final[dict[str, np.dtype[Any]]] = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1")}
_INT32: Final = np.dtype("<i4")
_HEAD_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class _File:
    """N rows as they lie in the file, each with its dimension before it."""

    path: Path
    dimension: int
    bytes_NB: NDArray[np.uint8]
    element: np.dtype[Any]


def read_vecs(path: Path, ids_path: Path | None = None, batch_rows: int = BATCH_ROWS) -> Batches:
    """Open a file, which is mapped into memory; its vectors get the empty name, bytes become float32.

    Args:
        path: ends in .fvecs or .bvecs, which tells the type of the numbers.
        ids_path: a .npy file of N integers, or UUIDs as 16 bytes; None: ids are the numbers of the rows.

    Raises:
        TableError: the size does not fit rows of the first row's dimension; names the row that breaks off or differs. Reading raises it
            for a row of another dimension, or a number that is not finite.
    """
    file = _opened(path)
    ids = open_ids(ids_path, len(file.bytes_NB))
    return Batches(len(file.bytes_NB), lambda: _batches(file, ids, batch_rows))


def _opened(path: Path) -> _File:
    element = ELEMENTS[path.suffix]
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise TableError(f"{path}: expected a readable file: {error.strerror}") from error
    if not size:
        return _File(path, 0, np.empty((0, 0), np.uint8), element)
    if len(head) < _HEAD_BYTES:
        raise TableError(f"{path}: row 0: expected the dimension in {_HEAD_BYTES} bytes, the file has {size}")
    dimension = checked_dimension(f"{path}: row 0", int(np.frombuffer(head, _INT32)[0]))
    row_bytes = _HEAD_BYTES + dimension * element.itemsize
    num_rows, rest = divmod(size, row_bytes)
    bytes_B = np.memmap(path, dtype=np.uint8, mode="r")
    file = _File(path, dimension, bytes_B[: size - rest].reshape(num_rows, row_bytes), element)
    if rest:
        # A row of another dimension is the cause more often than a file that was cut.
        for start, stop in spans(num_rows, BATCH_ROWS):
            _check_dimensions(file, start, stop)
        raise TableError(f"{path}: row {num_rows}: expected {row_bytes} bytes for {dimension} numbers, the file ends after {rest}")
    return file


def _batches(file: _File, ids: IdsOf, batch_rows: int) -> Iterator[Batch]:
    for start, stop in spans(len(file.bytes_NB), batch_rows):
        _check_dimensions(file, start, stop)
        values_ND = np.ascontiguousarray(file.bytes_NB[start:stop, _HEAD_BYTES:]).view(file.element)
        yield Batch(ids(start, stop), {"": float32_ND(str(file.path), values_ND, start)}, [NO_PAYLOAD] * (stop - start))


def _check_dimensions(file: _File, start: int, stop: int) -> None:
    dimensions_N = np.ascontiguousarray(file.bytes_NB[start:stop, :_HEAD_BYTES]).view(_INT32)[:, 0]
    others = np.flatnonzero(dimensions_N != file.dimension)
    if len(others):
        found = dimensions_N[others[0]]
        raise TableError(f"{file.path}: row {start + others[0]}: expected {file.dimension} numbers as in row 0, it says {found}")


def write_vecs(path: Path, batches: Iterable[Batch], dimension: int, *, vector: str = "", ids_path: Path | None = None) -> int:
    """Write the vectors of one name, and the ids if they get a file; payloads are left out.

    Both files appear when they are whole, the vectors last; nothing is left where an error ends it.

    Returns:
        N.

    Raises:
        OutputOccupied: a file of that name exists.
        UserError: a number of a .bvecs file is no whole number of 0 to 255, or some ids are integers and some UUIDs, and they get a file.
    """
    element, num_rows = ELEMENTS[path.suffix], 0
    with ExitStack() as files:
        file = files.enter_context(whole_file(path))
        ids = files.enter_context(id_rows(ids_path)) if ids_path else None
        for batch in batches:
            vectors_ND = batch.vectors[vector]
            assert vectors_ND.shape == (len(batch.ids), dimension)
            if element.kind == "u":
                _check_bytes(path, vectors_ND, num_rows)
            heads_NB = np.full((len(vectors_ND), 1), dimension, _INT32).view(np.uint8)
            values_NB = np.ascontiguousarray(vectors_ND.astype(element)).view(np.uint8)
            file.write(np.concatenate([heads_NB, values_NB], axis=1).data)
            if ids is not None:
                ids.append(batch.ids)
            num_rows += len(vectors_ND)
    return num_rows


def _check_bytes(path: Path, vectors_ND: Floats, first_row: int) -> None:
    bad_ND = (vectors_ND != np.floor(vectors_ND)) | (vectors_ND < 0) | (vectors_ND > 255)
    if bad_ND.any():
        row, place = np.argwhere(bad_ND)[0]
        told = f"number {place} of the vector is {vectors_ND[row, place]}"
        raise UserError(f"{path}: row {first_row + row}: expected whole numbers of 0 to 255, {told}; write .fvecs")
