"""Prefixes of an embedding: what its first numbers alone are worth (Matryoshka; Kusupati et al., 2022).

Legend: N works, D dimension.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reelspace.evaluate.ranking import Values
from reelspace.evaluate.topics import TopicTask, video_values

Floats = NDArray[np.float32]


def prefix_ND(vectors_ND: Floats, dimension: int) -> Floats:
    """Cut vectors and make them unit vectors again; a prefix that is all 0 stays 0 and finds nothing in particular."""
    cut_ND = vectors_ND[:, :dimension]
    norms_N = np.linalg.norm(cut_ND, axis=1, keepdims=True)
    return np.asarray(np.divide(cut_ND, norms_N, out=np.zeros_like(cut_ND), where=norms_N > 0), dtype=np.float32)


def prefix_values(task: TopicTask, vectors_ND: Floats, dimensions: Sequence[int]) -> dict[str, Values]:
    """Give `video_to_topic_p10_d<dimension>` of every query of a trained topic, for the dimensions below D."""
    values = {}
    for dimension in dimensions:
        if dimension < vectors_ND.shape[1]:
            cut_ND = prefix_ND(vectors_ND, dimension)
            values[f"video_to_topic_p10_d{dimension}"] = video_values(task, cut_ND, cut_ND)["video_to_topic_p10"]
    return values
