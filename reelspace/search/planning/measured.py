"""What an index of each type weighs, finds and takes: the figures of benchmarks/results/index_bytes.json, which a test compares.

Measured with faiss-cpu 1.15.1, one thread of a busy machine with 2 cores, 128 dimensions, inner product of unit vectors drawn by
reelspace/search/clustered.py, 1,000 queries that are no rows. The engine built them, each list learned from 128 rows; it has learned
from 64 since, which at 50,000 rows moved the recall of IVF-SQ8 by 0.0065 where one list is visited, by less than 0.003 where 2 to 16
are. `python benchmarks/index_bytes.py` measures all anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

Kind: TypeAlias = Literal["flat", "ivf_sq8", "ivf_pq64", "ivf_pq64_reranked", "ivf_pq_fastscan", "hnsw"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

DIMENSION: Final = 128
RERANK_FACTORS: Final[Mapping[Kind, int]] = {"ivf_pq64_reranked": 10, "ivf_pq_fastscan": 10, "hnsw": 2}
"""Candidates per hit that are scored again with their float32 vectors."""


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of an index: lists visited or, in a graph, candidates kept; recall at 10; seconds of one core per query."""

    effort: int
    recall: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Curve:
    """An index over some rows: bytes per vector without the vectors for re-ranking, and its settings by rising effort."""

    rows: int
    bytes_per_vector: float
    points: tuple[Point, ...]


ALONE_SECONDS: Final[Mapping[int, float]] = {50_000: 0.00141, 100_000: 0.00426, 200_000: 0.00831, 500_000: 0.0165}
"""Seconds of an exact query that comes alone, by rows: it reads every vector for itself, where a batch shares the reading."""

CURVES: Final[Mapping[Kind, tuple[Curve, ...]]] = {
    "flat": (
        Curve(50_000, 512.001, (Point(1, 1.0, 0.000188),)),
        Curve(100_000, 512.0, (Point(1, 1.0, 0.000387),)),
        Curve(200_000, 512.0, (Point(1, 1.0, 0.000787),)),
        Curve(500_000, 512.0, (Point(1, 1.0, 0.00178),)),
    ),
    "ivf_sq8": (
        Curve(
            50_000,
            141.838,
            (
                Point(1, 0.7597, 6.41e-06),
                Point(2, 0.8454, 9.5e-06),
                Point(4, 0.8928, 1.45e-05),
                Point(8, 0.9235, 2.4e-05),
                Point(16, 0.9472, 4.47e-05),
                Point(32, 0.9667, 8.21e-05),
                Point(64, 0.9788, 0.000158),
                Point(128, 0.9861, 0.000287),
                Point(256, 0.989, 0.00057),
            ),
        ),
        Curve(
            100_000,
            140.125,
            (
                Point(1, 0.8084, 9.6e-06),
                Point(2, 0.8925, 1.28e-05),
                Point(4, 0.9308, 2.17e-05),
                Point(8, 0.9541, 4.38e-05),
                Point(16, 0.9674, 6.93e-05),
                Point(32, 0.9776, 0.000115),
                Point(64, 0.9849, 0.000221),
                Point(128, 0.9872, 0.000427),
                Point(256, 0.9885, 0.00086),
            ),
        ),
        Curve(
            200_000,
            138.913,
            (
                Point(1, 0.8293, 1.46e-05),
                Point(2, 0.9087, 2.19e-05),
                Point(4, 0.9538, 3.49e-05),
                Point(8, 0.9731, 6.08e-05),
                Point(16, 0.9804, 9.82e-05),
                Point(32, 0.9846, 0.000179),
                Point(64, 0.9864, 0.000372),
                Point(128, 0.9869, 0.00075),
                Point(256, 0.987, 0.00148),
                Point(512, 0.9871, 0.00267),
            ),
        ),
        Curve(
            500_000,
            137.841,
            (
                Point(1, 0.8206, 1.72e-05),
                Point(2, 0.9067, 2.59e-05),
                Point(4, 0.9579, 4.08e-05),
                Point(8, 0.9754, 7.07e-05),
                Point(16, 0.9814, 0.000136),
                Point(32, 0.9826, 0.000243),
                Point(64, 0.9836, 0.000475),
                Point(128, 0.9838, 0.000931),
                Point(256, 0.9838, 0.00189),
                Point(512, 0.9838, 0.00365),
            ),
        ),
    ),
    "ivf_pq64": (
        Curve(
            50_000,
            80.439,
            (
                Point(1, 0.7328, 1.06e-05),
                Point(2, 0.8112, 1.5e-05),
                Point(4, 0.855, 2.29e-05),
                Point(8, 0.8837, 3.93e-05),
                Point(16, 0.9035, 7.04e-05),
                Point(32, 0.9201, 0.000135),
                Point(64, 0.9285, 0.000252),
                Point(128, 0.9328, 0.000492),
                Point(256, 0.9342, 0.00092),
            ),
        ),
        Curve(
            100_000,
            77.426,
            (
                Point(1, 0.775, 1.94e-05),
                Point(2, 0.8506, 1.87e-05),
                Point(4, 0.8833, 2.95e-05),
                Point(8, 0.9042, 4.97e-05),
                Point(16, 0.9152, 9.38e-05),
                Point(32, 0.9232, 0.000176),
                Point(64, 0.9285, 0.000367),
                Point(128, 0.9299, 0.00074),
                Point(256, 0.9306, 0.00146),
            ),
        ),
        Curve(
            200_000,
            75.563,
            (
                Point(1, 0.788, 1.69e-05),
                Point(2, 0.8571, 2.46e-05),
                Point(4, 0.8927, 4.07e-05),
                Point(8, 0.9087, 6.73e-05),
                Point(16, 0.9152, 0.000122),
                Point(32, 0.9187, 0.000235),
                Point(64, 0.9201, 0.000464),
                Point(128, 0.9202, 0.000912),
                Point(256, 0.9203, 0.00177),
                Point(512, 0.9204, 0.00359),
            ),
        ),
        Curve(
            500_000,
            74.101,
            (
                Point(1, 0.7674, 2.49e-05),
                Point(2, 0.8422, 3.85e-05),
                Point(4, 0.8809, 6.53e-05),
                Point(8, 0.8934, 0.000111),
                Point(16, 0.8976, 0.000205),
                Point(32, 0.8985, 0.000394),
                Point(64, 0.899, 0.000765),
                Point(128, 0.8991, 0.00156),
                Point(256, 0.8991, 0.00306),
                Point(512, 0.8991, 0.00643),
            ),
        ),
    ),
    "ivf_pq64_reranked": (
        Curve(
            50_000,
            80.439,
            (
                Point(1, 0.7651, 2.73e-05),
                Point(2, 0.8523, 3.55e-05),
                Point(4, 0.9006, 4.84e-05),
                Point(8, 0.9314, 6.5e-05),
                Point(16, 0.9552, 9.81e-05),
                Point(32, 0.9753, 0.000167),
                Point(64, 0.9883, 0.000306),
                Point(128, 0.9962, 0.000516),
                Point(256, 0.9995, 0.000966),
            ),
        ),
        Curve(
            100_000,
            77.426,
            (
                Point(1, 0.8143, 3.16e-05),
                Point(2, 0.9008, 4.26e-05),
                Point(4, 0.9407, 5.66e-05),
                Point(8, 0.9646, 8.15e-05),
                Point(16, 0.9782, 0.000129),
                Point(32, 0.9884, 0.000217),
                Point(64, 0.996, 0.000412),
                Point(128, 0.9987, 0.000775),
                Point(256, 1.0, 0.0015),
            ),
        ),
        Curve(
            200_000,
            75.563,
            (
                Point(1, 0.8354, 3.98e-05),
                Point(2, 0.9175, 4.99e-05),
                Point(4, 0.9653, 6.89e-05),
                Point(8, 0.9857, 9.54e-05),
                Point(16, 0.9931, 0.000153),
                Point(32, 0.9974, 0.000274),
                Point(64, 0.9993, 0.000495),
                Point(128, 0.9998, 0.000972),
                Point(256, 0.9999, 0.00187),
                Point(512, 1.0, 0.00385),
            ),
        ),
        Curve(
            500_000,
            74.101,
            (
                Point(1, 0.8293, 5.94e-05),
                Point(2, 0.9177, 7.27e-05),
                Point(4, 0.9716, 9.57e-05),
                Point(8, 0.991, 0.000149),
                Point(16, 0.9975, 0.000248),
                Point(32, 0.9987, 0.00043),
                Point(64, 0.9997, 0.000816),
                Point(128, 1.0, 0.00154),
                Point(256, 1.0, 0.00305),
                Point(512, 1.0, 0.00595),
            ),
        ),
    ),
    "ivf_pq_fastscan": (
        Curve(
            50_000,
            51.59,
            (
                Point(1, 0.7649, 1.51e-05),
                Point(2, 0.852, 1.78e-05),
                Point(4, 0.8999, 2.09e-05),
                Point(8, 0.9306, 2.47e-05),
                Point(16, 0.9537, 2.83e-05),
                Point(32, 0.9733, 3.94e-05),
                Point(64, 0.986, 5.63e-05),
                Point(128, 0.9935, 8.39e-05),
                Point(256, 0.9967, 0.00014),
            ),
        ),
        Curve(
            100_000,
            48.234,
            (
                Point(1, 0.814, 2.08e-05),
                Point(2, 0.8995, 2.25e-05),
                Point(4, 0.9375, 3.01e-05),
                Point(8, 0.9599, 3.47e-05),
                Point(16, 0.9735, 3.81e-05),
                Point(32, 0.9835, 5.08e-05),
                Point(64, 0.9911, 6.73e-05),
                Point(128, 0.9937, 9.59e-05),
                Point(256, 0.9948, 0.00016),
            ),
        ),
        Curve(
            200_000,
            45.794,
            (
                Point(1, 0.8343, 2.48e-05),
                Point(2, 0.9141, 2.72e-05),
                Point(4, 0.9581, 2.99e-05),
                Point(8, 0.9753, 3.65e-05),
                Point(16, 0.9824, 4.74e-05),
                Point(32, 0.9867, 5.82e-05),
                Point(64, 0.9886, 7.95e-05),
                Point(128, 0.9891, 0.000118),
                Point(256, 0.9892, 0.000196),
                Point(512, 0.9893, 0.000312),
            ),
        ),
        Curve(
            500_000,
            43.647,
            (
                Point(1, 0.8253, 2.93e-05),
                Point(2, 0.9074, 3.23e-05),
                Point(4, 0.9527, 3.65e-05),
                Point(8, 0.9674, 4.71e-05),
                Point(16, 0.9722, 4.8e-05),
                Point(32, 0.9734, 6.81e-05),
                Point(64, 0.9744, 0.000102),
                Point(128, 0.9747, 0.000149),
                Point(256, 0.9747, 0.000248),
                Point(512, 0.9747, 0.000428),
            ),
        ),
    ),
    "hnsw": (
        Curve(
            50_000,
            400.273,
            (
                Point(16, 0.9693, 3.51e-05),
                Point(32, 0.9826, 5.22e-05),
                Point(64, 0.9923, 8.81e-05),
                Point(128, 0.9968, 0.00016),
                Point(256, 0.9989, 0.000293),
                Point(512, 0.9999, 0.000604),
            ),
        ),
        Curve(
            100_000,
            400.219,
            (
                Point(16, 0.9675, 5.45e-05),
                Point(32, 0.9872, 7.64e-05),
                Point(64, 0.9944, 0.000132),
                Point(128, 0.9964, 0.000235),
                Point(256, 0.9982, 0.000451),
                Point(512, 0.9995, 0.000881),
            ),
        ),
        Curve(
            200_000,
            400.146,
            (
                Point(16, 0.9736, 5.53e-05),
                Point(32, 0.9866, 7.77e-05),
                Point(64, 0.9908, 0.000108),
                Point(128, 0.9949, 0.000216),
                Point(256, 0.9972, 0.000408),
                Point(512, 0.9981, 0.000854),
            ),
        ),
        Curve(
            500_000,
            400.134,
            (
                Point(16, 0.9238, 7.87e-05),
                Point(32, 0.9612, 0.000111),
                Point(64, 0.9837, 0.000174),
                Point(128, 0.9894, 0.000244),
                Point(256, 0.9948, 0.0005),
                Point(512, 0.9959, 0.00095),
            ),
        ),
    ),
}
