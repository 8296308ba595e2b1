"""Files of vectors by their suffix: .parquet, .npy, .fvecs, .bvecs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from reelspace.core.errors import UserError
from reelspace.search.tables.batch import BATCH_ROWS, Batch, Batches
from reelspace.search.tables.npy import read_npy, write_npy
from reelspace.search.tables.parquet import Columns, read_parquet
from reelspace.search.tables.parquet_writer import write_parquet
from reelspace.search.tables.vecs import ELEMENTS, read_vecs, write_vecs

SUFFIXES: Final = (".parquet", ".npy", *ELEMENTS)


def read_table(path: Path, *, columns: Columns | None = None, ids_path: Path | None = None, batch_rows: int = BATCH_ROWS) -> Batches:
    """Open a file of vectors.

    Args:
        columns: which columns are what; only Parquet has columns.
        ids_path: a .npy file of ids; Parquet has its own.

    Raises:
        UserError: the suffix is unknown, or an argument does not belong to the format.
        TableError: the file is not what its suffix says; reading raises it, too.
    """
    suffix = _checked_suffix(path)
    if suffix == ".parquet":
        if ids_path is not None:
            raise UserError(f"{path}: expected its own column of ids, got the file {ids_path}")
        return read_parquet(path, columns, batch_rows)
    if columns is not None:
        raise UserError(f"{path}: expected columns for a .parquet file only")
    return (read_npy if suffix == ".npy" else read_vecs)(path, ids_path, batch_rows)


def write_table(path: Path, batches: Iterable[Batch], dimensions: Mapping[str, int], *, vector: str | None = None) -> int:
    """Write rows; formats without ids get them in a second file, `<name>.ids.npy`, and leave payloads out.

    Args:
        dimensions: of every vector in the batches, by name.
        vector: the one that is written where a file holds one vector per row; None: the only one.

    Returns:
        The number of rows.

    Raises:
        UserError: the suffix is unknown, there is no such vector, or the format cannot hold the rows.
        OutputOccupied: a file of that name exists.
    """
    suffix = _checked_suffix(path)
    if vector is not None and vector not in dimensions:
        raise UserError(f"{path}: vector {vector!r}: expected one of {', '.join(map(repr, dimensions))}")
    if suffix == ".parquet":
        return write_parquet(path, batches, dimensions if vector is None else {vector: dimensions[vector]})
    if vector is None:
        if len(dimensions) != 1:
            raise UserError(f"{path}: {suffix} holds one vector per row: expected the name of one of {', '.join(map(repr, dimensions))}")
        vector = next(iter(dimensions))
    write = write_npy if suffix == ".npy" else write_vecs
    return write(path, batches, dimensions[vector], vector=vector, ids_path=ids_path_of(path))


def ids_path_of(path: Path) -> Path:
    """Give the file in which `write_table` puts the ids of a file without them."""
    return path.with_name(f"{path.name}.ids.npy")


def _checked_suffix(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    return path.suffix
