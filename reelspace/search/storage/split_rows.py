"""Parts of the rows of a write, each in the order of the whole.

Legend: N rows of the write, K of them in a part, M with a vector of some name.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reelspace.search.storage.ids import Id
from reelspace.search.storage.rows import Rows, Vectors

P = TypeVar("P", bound=Hashable)


def split_rows(rows: Rows, part_of: Callable[[Id], P]) -> dict[P, Rows]:
    """Give the rows of each part, by what an id's part is called."""
    parts: dict[P, list[int]] = {}
    for place, id in enumerate(rows.ids):
        parts.setdefault(part_of(id), []).append(place)
    if len(parts) == 1:
        return dict.fromkeys(parts, rows)
    return {part: _taken(rows, np.array(places, dtype=np.int64)) for part, places in parts.items()}


def _taken(rows: Rows, places_K: NDArray[np.int64]) -> Rows:
    """Take the rows at some places, ascending."""
    place_N = np.full(len(rows.ids), -1, dtype=np.int64)
    place_N[places_K] = np.arange(len(places_K))
    vectors = {}
    for name, column in rows.vectors.items():
        rows_M = place_N[column.rows_M]
        if (is_here_M := rows_M >= 0).any():
            vectors[name] = Vectors(rows_M[is_here_M], column.vectors_MD[is_here_M])
    listed = places_K.tolist()
    return Rows(
        ops_N=rows.ops_N[places_K],
        ids=tuple(rows.ids[place] for place in listed),
        vectors=vectors,
        payloads=tuple(rows.payloads[place] for place in listed),
    )
