"""Label graph: which labels occur together on works, and how likely one is where the other is.

Legend: L labels, E work-label entries, G directed edges.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from reelspace.signals.settings import GraphSettings
from reelspace.signals.vocabulary import Labels


@dataclass(frozen=True, slots=True)
class LabelGraph:
    """G edges in the order of (i, j), i != j, each pair in both directions; p_ij = count_ij / works of i."""

    i_G: NDArray[np.int64]
    j_G: NDArray[np.int64]
    count_G: NDArray[np.int64]
    p_G: NDArray[np.float32]


def label_graph(labels: Labels, settings: GraphSettings) -> LabelGraph:
    """Count the works that pairs of labels share."""
    bounds = np.flatnonzero(np.diff(labels.work_E, prepend=-1, append=-1))
    counts: Counter[tuple[int, int]] = Counter()
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        counts.update(combinations(labels.label_E[start:end].tolist(), 2))
    edges = sorted(
        (first, second, count) for (i, j), count in counts.items() if count >= settings.min_count for first, second in ((i, j), (j, i))
    )
    i_G, j_G, count_G = (np.array([edge[place] for edge in edges], dtype=np.int64) for place in range(3))
    return LabelGraph(i_G, j_G, count_G, (count_G / np.maximum(labels.num_works_L()[i_G], 1)).round(6).astype(np.float32))
