"""Vectors of one name in a .npy file: row by row, without payload; ids are the rows' numbers, or in a second file.

Legend: N rows, D dimension.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import TableError
from reelspace.search.tables.batch import BATCH_ROWS, NO_PAYLOAD, Batch, Batches, checked_dimension, float32_ND, spans
from reelspace.search.tables.id_file import IdsOf, id_rows, open_ids
from reelspace.search.tables.npy_file import NpyRows, let_go, open_npy
from reelspace.search.tables.whole_file import whole_file


def read_npy(path: Path, ids_path: Path | None = None, batch_rows: int = BATCH_ROWS) -> Batches:
    """Open an array of float16, float32 or float64 [N, D], which is mapped into memory; its vectors get the empty name.

    Args:
        ids_path: a .npy file of N integers, or UUIDs as 16 bytes; None: ids are the numbers of the rows.

    Raises:
        TableError: a file's header, type or size is wrong; reading raises it for a number that is not finite.
    """
    vectors_ND = open_npy(path, 2)
    if vectors_ND.dtype.kind != "f" or vectors_ND.dtype.itemsize > 8:
        raise TableError(f"{path}: expected float16, float32 or float64, got {vectors_ND.dtype}")
    checked_dimension(str(path), vectors_ND.shape[1])
    ids = open_ids(ids_path, len(vectors_ND))
    return Batches(len(vectors_ND), lambda: _batches(path, vectors_ND, ids, batch_rows))


def _batches(path: Path, vectors_ND: NDArray[Any], ids: IdsOf, batch_rows: int) -> Iterator[Batch]:
    for start, stop in spans(len(vectors_ND), batch_rows):
        rows_ND = float32_ND(str(path), vectors_ND[start:stop], start)
        let_go(vectors_ND)
        yield Batch(ids(start, stop), {"": rows_ND}, [NO_PAYLOAD] * (stop - start))


def write_npy(path: Path, batches: Iterable[Batch], dimension: int, *, vector: str = "", ids_path: Path | None = None) -> int:
    """Write the vectors of one name as float32 [N, D], and the ids if they get a file; payloads are left out.

    Both files appear when they are whole, the vectors last; nothing is left where an error ends it.

    Returns:
        N.

    Raises:
        OutputOccupied: a file of that name exists.
        UserError: some ids are integers and some UUIDs, and they get a file.
    """
    with ExitStack() as files:
        rows = NpyRows(files.enter_context(whole_file(path)), np.dtype("<f4"), (dimension,))
        ids = files.enter_context(id_rows(ids_path)) if ids_path else None
        for batch in batches:
            rows.append(batch.vectors[vector])
            if ids is not None:
                ids.append(batch.ids)
        rows.finish()
    return rows.num_rows
