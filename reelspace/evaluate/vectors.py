"""Reading the `vectors` artifact: one row per work, one column per named vector."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Vectors:
    """N works with their upload times (UTC) and unit vectors of D dimensions by column name."""

    video_ids_N: NDArray[np.int64]
    created_at_N: list[datetime]
    by_name: dict[str, NDArray[np.float32]]


def read_vectors(path: Path) -> Vectors:
    """Read vectors.parquet; every fixed-size-list column is a named vector."""
    table = pq.read_table(path)
    by_name = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if hasattr(column.type, "list_size"):
            flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
            by_name[name] = flat.reshape(len(column), column.type.list_size)
    return Vectors(
        video_ids_N=np.asarray(table.column("video_id").to_numpy(), dtype=np.int64),
        created_at_N=table.column("created_at").to_pylist(),
        by_name=by_name,
    )
