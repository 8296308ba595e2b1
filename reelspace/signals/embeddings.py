"""Embeddings: the vectors that a model of ours gave works, where there is one; a second opinion on what a work is about.

Legend: V works, D dimension.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import TableError
from reelspace.signals.contexts import unit
from reelspace.signals.tables import Works

VECTORS_FILE: Final = "vectors.parquet"
_COLUMNS: Final = ("video_id", "vector")


def read_embeddings(directory: Path, works: Works) -> NDArray[np.float64]:
    """Read the unit vectors of V works from a `vectors` artifact; zero for a work without one.

    Raises:
        TableError: the file lacks a column, or its vectors differ in length.
    """
    path = directory / VECTORS_FILE
    names = pq.read_schema(path).names
    if missing := [name for name in _COLUMNS if name not in names]:
        raise TableError(f"vectors {path}: expected the columns {', '.join(_COLUMNS)}, {' and '.join(missing)} is missing")
    table = pq.read_table(path, columns=list(_COLUMNS))
    lengths = set(pc.unique(pc.list_value_length(table["vector"])).to_pylist())
    if len(lengths) != 1:
        raise TableError(f"vectors {path}: expected vectors of one length, got lengths {sorted(map(str, lengths))}")
    vectors_ND = np.stack(table["vector"].to_numpy()).astype(np.float64)
    rows = works.rows()
    out_VD = np.zeros((len(works.ids_V), vectors_ND.shape[1]))
    for video_id, vector_D in zip(table["video_id"].to_pylist(), vectors_ND, strict=True):
        if video_id in rows:
            out_VD[rows[video_id]] = vector_D
    return unit(out_VD)
