"""Reading vectors: the `vectors` artifact, and embedding files of any model.

Legend: N works, D dimension.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Vectors:
    """N works with their upload times (UTC) and unit vectors of D dimensions by column name."""

    video_ids_N: NDArray[np.int64]
    created_at_N: list[datetime]
    by_name: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Embedding:
    """One vector per work, of length 1."""

    video_ids_N: NDArray[np.int64]
    vectors_ND: NDArray[np.float32]


def read_vectors(path: Path) -> Vectors:
    """Read vectors.parquet; every fixed-size-list column is a named vector."""
    table = pq.read_table(path)
    by_name = {name: _matrix_ND(table.column(name), path) for name in table.column_names if pa.types.is_fixed_size_list(table[name].type)}
    return Vectors(
        video_ids_N=np.asarray(table.column("video_id").to_numpy(), dtype=np.int64),
        created_at_N=table.column("created_at").to_pylist(),
        by_name=by_name,
    )


def read_embedding(path: Path, ids: Path | None = None, column: str | None = None) -> Embedding:
    """Read the vectors that any model gave works, and make them unit vectors.

    Args:
        path: .parquet with `video_id` and a column of lists of D numbers, or .npy of shape [N, D].
        ids: for .npy, the video id of each row: .npy of N integers, or text with one a line.
        column: of the Parquet file; None takes the only column of lists, or the one named `vector`.

    Raises:
        UserError: the file has another form, a vector without a direction (all 0, not finite, absent), or an id twice.
    """
    if path.suffix == ".npy":
        if ids is None:
            raise UserError(f"expected --ids beside {path}: an .npy file does not say which works its rows are")
        embedding = Embedding(_read_ids(ids), _load(path))
    else:
        table = _table(path)
        name = column or _only_list_column(table, path)
        if "video_id" not in table.column_names or name not in table.column_names:
            raise UserError(f"expected the columns video_id and {name!r} in {path}, it has {', '.join(table.column_names)}")
        embedding = Embedding(np.asarray(table.column("video_id").to_numpy(), dtype=np.int64), _matrix_ND(table.column(name), path))
    return _checked(embedding, path)


def _checked(embedding: Embedding, path: Path) -> Embedding:
    ids_N, vectors_ND = embedding.video_ids_N, np.asarray(embedding.vectors_ND, dtype=np.float64)
    if vectors_ND.ndim != 2 or len(ids_N) != len(vectors_ND):
        raise UserError(f"expected one vector for each of {len(ids_N)} ids, {path} has an array of shape {vectors_ND.shape}")
    if len(np.unique(ids_N)) != len(ids_N):
        raise UserError(f"expected each video id once, {path} has {len(ids_N)} rows of {len(np.unique(ids_N))} works")
    norms_N = np.linalg.norm(vectors_ND, axis=1)
    wrong_N = ~(np.isfinite(norms_N) & (norms_N > 0))
    if wrong_N.any():
        raise UserError(f"expected finite vectors that are not 0, {path} has {wrong_N.sum()} others, e.g. of video {ids_N[wrong_N][0]}")
    return Embedding(ids_N, np.asarray(vectors_ND / norms_N[:, None], dtype=np.float32))


def _matrix_ND(column: pa.ChunkedArray, path: Path) -> NDArray[np.float32]:
    lists = column.combine_chunks()
    lengths = {None} if lists.null_count else set(lists.value_lengths().to_pylist())
    if len(lengths) != 1 or None in lengths:
        raise UserError(f"expected a vector of one length in every row of {path}, got rows without one or of {len(lengths)} lengths")
    flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
    return flat.reshape(len(lists), -1)


def _only_list_column(table: pa.Table, path: Path) -> str:
    kinds = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    names = [name for name in table.column_names if any(is_kind(table[name].type) for is_kind in kinds)]
    if len(names) == 1 or "vector" in names:
        return "vector" if "vector" in names else names[0]
    raise UserError(f"expected one column of lists in {path}, it has {', '.join(names) or 'none'}; name one with --column")


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"expected a Parquet file of vectors, or an .npy file, at {path}: {error}") from error


def _load(path: Path) -> NDArray[np.float32]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise UserError(f"expected an array of numbers at {path}: {error}") from error


def _read_ids(path: Path) -> NDArray[np.int64]:
    try:
        return np.asarray(np.load(path, allow_pickle=False) if path.suffix == ".npy" else path.read_text().split(), dtype=np.int64)
    except (OSError, ValueError) as error:
        raise UserError(f"expected video ids at {path}, as .npy or one a line: {error}") from error
