"""Generated vectors with the texture of real embeddings: many clusters of uneven size, each flat in its own directions.

Legend: N rows, C centres, D dimension, L latent dimension, B bases.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng

NUM_CENTRES: Final = 4000
NUM_BASES: Final = 200
CENTRE_DIMENSION: Final = 48
NOISE_DIMENSION: Final = 24
NOISE_NORM: Final = 0.62
ISOTROPIC: Final = 0.03
CHUNK_ROWS: Final = 50_000


class ClusteredVectors:
    """A world of clusters; rows of any stream are drawn from it, so queries are new rows of the same world."""

    def __init__(self, dimension: int, seed: int) -> None:
        self._seed = seed
        self._dimension = dimension
        draw = rng(seed, "clusters")
        latent_CL = draw.standard_normal((NUM_CENTRES, min(CENTRE_DIMENSION, dimension)))
        projection_LD = draw.standard_normal((latent_CL.shape[1], dimension))
        self._centres_CD = _unit(latent_CL @ projection_LD)
        weights_C = 1.0 / (np.arange(NUM_CENTRES) + 10.0) ** 0.9
        self._weights_C = weights_C / weights_C.sum()
        width = min(NOISE_DIMENSION, dimension)
        self._bases_BDL = np.linalg.qr(draw.standard_normal((NUM_BASES, dimension, width)))[0]
        self._scales_L = 1.0 / np.sqrt(1.0 + np.arange(width) / 4.0)

    def rows(self, num: int, stream: str) -> NDArray[np.float32]:
        """Draw unit vectors; equal stream names give equal rows."""
        draw = rng(self._seed, "rows", stream)
        chunks = [self._chunk(draw, min(CHUNK_ROWS, num - start)) for start in range(0, num, CHUNK_ROWS)]
        return np.concatenate(chunks)

    def _chunk(self, draw: np.random.Generator, num: int) -> NDArray[np.float32]:
        cluster_N = draw.choice(NUM_CENTRES, num, p=self._weights_C)
        noise_NL = draw.standard_normal((num, len(self._scales_L))) * self._scales_L
        noise_NL *= NOISE_NORM / np.linalg.norm(noise_NL, axis=1, keepdims=True)
        rows_ND = self._centres_CD[cluster_N] + ISOTROPIC * draw.standard_normal((num, self._dimension))
        for basis in range(NUM_BASES):
            members = np.flatnonzero(cluster_N % NUM_BASES == basis)
            rows_ND[members] += noise_NL[members] @ self._bases_BDL[basis].T
        return _unit(rows_ND).astype(np.float32)


def _unit(rows_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return scaled
