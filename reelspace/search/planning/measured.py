"""What an index of each type weighs, finds and takes: the figures of benchmarks/results/index_bytes.json, which a test compares.

Measured with faiss-cpu 1.15.1, one thread of a machine with 2 cores, 128 dimensions, inner product of unit vectors drawn by
reelspace/search/clustered.py, 1,000 queries that are no rows. `python benchmarks/index_bytes.py` measures them anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

Kind: TypeAlias = Literal["flat", "ivf_sq8", "ivf_pq64", "ivf_pq64_reranked", "ivf_pq_fastscan", "hnsw"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

DIMENSION: Final = 128
RERANK_FACTORS: Final[Mapping[Kind, int]] = {"ivf_pq64_reranked": 10, "ivf_pq_fastscan": 10}
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


ALONE_SECONDS: Final[Mapping[int, float]] = {50_000: 0.00115, 100_000: 0.00276, 200_000: 0.00608, 500_000: 0.0164}
"""Seconds of an exact query that comes alone, by rows: it reads every vector for itself, where a batch shares the reading."""

CURVES: Final[Mapping[Kind, tuple[Curve, ...]]] = {
    "flat": (
        Curve(50_000, 512.001, (Point(1, 1.0, 0.000174),)),
        Curve(100_000, 512.0, (Point(1, 1.0, 0.000347),)),
        Curve(200_000, 512.0, (Point(1, 1.0, 0.000682),)),
        Curve(500_000, 512.0, (Point(1, 1.0, 0.00172),)),
    ),
    "ivf_sq8": (
        Curve(
            50_000,
            145.322,
            (
                Point(1, 0.7541, 5.9e-06),
                Point(2, 0.8483, 7.85e-06),
                Point(4, 0.9031, 1.11e-05),
                Point(8, 0.9315, 1.76e-05),
                Point(16, 0.9515, 2.98e-05),
                Point(32, 0.9655, 5.43e-05),
                Point(64, 0.9776, 0.000103),
                Point(128, 0.9849, 0.000195),
                Point(256, 0.989, 0.000383),
            ),
        ),
        Curve(
            100_000,
            142.59,
            (
                Point(1, 0.7856, 8e-06),
                Point(2, 0.8785, 1.11e-05),
                Point(4, 0.935, 1.59e-05),
                Point(8, 0.9599, 2.42e-05),
                Point(16, 0.9725, 4.21e-05),
                Point(32, 0.9784, 7.7e-05),
                Point(64, 0.9833, 0.000145),
                Point(128, 0.9864, 0.000274),
                Point(256, 0.9875, 0.000532),
                Point(512, 0.988, 0.00104),
            ),
        ),
        Curve(
            200_000,
            140.657,
            (
                Point(1, 0.7853, 1.16e-05),
                Point(2, 0.8954, 1.5e-05),
                Point(4, 0.9501, 2.17e-05),
                Point(8, 0.9755, 3.36e-05),
                Point(16, 0.9818, 5.78e-05),
                Point(32, 0.9856, 0.000107),
                Point(64, 0.9865, 0.000211),
                Point(128, 0.9869, 0.0004),
                Point(256, 0.987, 0.000789),
                Point(512, 0.987, 0.00158),
            ),
        ),
        Curve(
            500_000,
            138.944,
            (
                Point(1, 0.7841, 1.65e-05),
                Point(2, 0.8848, 2.26e-05),
                Point(4, 0.9495, 3.32e-05),
                Point(8, 0.9781, 5.21e-05),
                Point(16, 0.9833, 9.12e-05),
                Point(32, 0.9847, 0.000167),
                Point(64, 0.985, 0.000318),
                Point(128, 0.9851, 0.00063),
                Point(256, 0.9851, 0.00122),
                Point(512, 0.9851, 0.0024),
            ),
        ),
    ),
    "ivf_pq64": (
        Curve(
            50_000,
            83.923,
            (
                Point(1, 0.7328, 9.8e-06),
                Point(2, 0.8182, 1.29e-05),
                Point(4, 0.8647, 1.91e-05),
                Point(8, 0.8898, 2.78e-05),
                Point(16, 0.9065, 4.77e-05),
                Point(32, 0.9175, 8.64e-05),
                Point(64, 0.9266, 0.00017),
                Point(128, 0.9309, 0.000314),
                Point(256, 0.9338, 0.000603),
            ),
        ),
        Curve(
            100_000,
            79.891,
            (
                Point(1, 0.7575, 1.2e-05),
                Point(2, 0.8415, 1.59e-05),
                Point(4, 0.8893, 2.32e-05),
                Point(8, 0.9111, 3.67e-05),
                Point(16, 0.9218, 6.36e-05),
                Point(32, 0.926, 0.000118),
                Point(64, 0.9294, 0.000223),
                Point(128, 0.9313, 0.000426),
                Point(256, 0.9322, 0.000833),
                Point(512, 0.9323, 0.00165),
            ),
        ),
        Curve(
            200_000,
            77.308,
            (
                Point(1, 0.7506, 1.54e-05),
                Point(2, 0.847, 2.14e-05),
                Point(4, 0.8907, 3.15e-05),
                Point(8, 0.911, 5.03e-05),
                Point(16, 0.9161, 8.85e-05),
                Point(32, 0.9193, 0.000158),
                Point(64, 0.9199, 0.000302),
                Point(128, 0.9201, 0.000583),
                Point(256, 0.9202, 0.00115),
                Point(512, 0.9202, 0.00229),
            ),
        ),
        Curve(
            500_000,
            75.204,
            (
                Point(1, 0.7391, 2.21e-05),
                Point(2, 0.8264, 3.11e-05),
                Point(4, 0.8778, 4.63e-05),
                Point(8, 0.8975, 7.82e-05),
                Point(16, 0.9014, 0.000139),
                Point(32, 0.9022, 0.000248),
                Point(64, 0.9024, 0.000477),
                Point(128, 0.9023, 0.000919),
                Point(256, 0.9023, 0.00184),
                Point(512, 0.9023, 0.00361),
            ),
        ),
    ),
    "ivf_pq64_reranked": (
        Curve(
            50_000,
            83.923,
            (
                Point(1, 0.7593, 1.94e-05),
                Point(2, 0.8546, 2.68e-05),
                Point(4, 0.9103, 3.5e-05),
                Point(8, 0.9397, 4.69e-05),
                Point(16, 0.9597, 6.82e-05),
                Point(32, 0.9744, 0.000108),
                Point(64, 0.9873, 0.000189),
                Point(128, 0.9947, 0.000334),
                Point(256, 0.9991, 0.000627),
            ),
        ),
        Curve(
            100_000,
            79.891,
            (
                Point(1, 0.7903, 2.52e-05),
                Point(2, 0.885, 3.39e-05),
                Point(4, 0.9439, 4.33e-05),
                Point(8, 0.9702, 5.87e-05),
                Point(16, 0.9832, 8.66e-05),
                Point(32, 0.9894, 0.000143),
                Point(64, 0.9948, 0.00025),
                Point(128, 0.9982, 0.000453),
                Point(256, 0.9994, 0.000864),
                Point(512, 1.0, 0.00168),
            ),
        ),
        Curve(
            200_000,
            77.308,
            (
                Point(1, 0.791, 3.21e-05),
                Point(2, 0.9034, 4.18e-05),
                Point(4, 0.9611, 5.4e-05),
                Point(8, 0.9882, 7.48e-05),
                Point(16, 0.9948, 0.000113),
                Point(32, 0.9986, 0.000187),
                Point(64, 0.9995, 0.000334),
                Point(128, 0.9999, 0.000622),
                Point(256, 1.0, 0.00119),
                Point(512, 1.0, 0.00232),
            ),
        ),
        Curve(
            500_000,
            75.204,
            (
                Point(1, 0.7909, 4.43e-05),
                Point(2, 0.8933, 5.62e-05),
                Point(4, 0.9615, 7.36e-05),
                Point(8, 0.9925, 0.000106),
                Point(16, 0.9981, 0.000164),
                Point(32, 0.9995, 0.000279),
                Point(64, 0.9999, 0.000516),
                Point(128, 1.0, 0.000989),
                Point(256, 1.0, 0.00188),
                Point(512, 1.0, 0.00366),
            ),
        ),
    ),
    "ivf_pq_fastscan": (
        Curve(
            50_000,
            58.937,
            (
                Point(1, 0.759, 1.3e-05),
                Point(2, 0.8542, 1.74e-05),
                Point(4, 0.9097, 2e-05),
                Point(8, 0.9383, 2.29e-05),
                Point(16, 0.9574, 2.77e-05),
                Point(32, 0.9719, 3.67e-05),
                Point(64, 0.9847, 5.29e-05),
                Point(128, 0.9917, 7.56e-05),
                Point(256, 0.9957, 0.000122),
            ),
        ),
        Curve(
            100_000,
            53.03,
            (
                Point(1, 0.7902, 1.76e-05),
                Point(2, 0.8842, 2.15e-05),
                Point(4, 0.9421, 2.42e-05),
                Point(8, 0.9673, 2.73e-05),
                Point(16, 0.98, 3.27e-05),
                Point(32, 0.9859, 4.26e-05),
                Point(64, 0.9908, 6.11e-05),
                Point(128, 0.9942, 8.66e-05),
                Point(256, 0.9953, 0.000139),
                Point(512, 0.9959, 0.000238),
            ),
        ),
        Curve(
            200_000,
            49.189,
            (
                Point(1, 0.791, 2.21e-05),
                Point(2, 0.9015, 2.61e-05),
                Point(4, 0.9551, 2.83e-05),
                Point(8, 0.9786, 3.23e-05),
                Point(16, 0.9839, 3.8e-05),
                Point(32, 0.9877, 4.93e-05),
                Point(64, 0.9886, 6.96e-05),
                Point(128, 0.989, 9.93e-05),
                Point(256, 0.9891, 0.00016),
                Point(512, 0.9891, 0.000274),
            ),
        ),
        Curve(
            500_000,
            45.823,
            (
                Point(1, 0.7896, 2.74e-05),
                Point(2, 0.8876, 2.99e-05),
                Point(4, 0.9457, 3.38e-05),
                Point(8, 0.9691, 3.87e-05),
                Point(16, 0.9715, 4.54e-05),
                Point(32, 0.9725, 5.88e-05),
                Point(64, 0.9729, 8.4e-05),
                Point(128, 0.973, 0.00012),
                Point(256, 0.973, 0.000196),
                Point(512, 0.973, 0.00034),
            ),
        ),
    ),
    "hnsw": (
        Curve(
            50_000,
            784.252,
            (
                Point(16, 0.9715, 4.05e-05),
                Point(32, 0.9823, 6.36e-05),
                Point(64, 0.9921, 0.00011),
                Point(128, 0.9964, 0.000206),
                Point(256, 0.9987, 0.000415),
                Point(512, 1.0, 0.000833),
            ),
        ),
        Curve(
            100_000,
            784.208,
            (
                Point(16, 0.9669, 4.95e-05),
                Point(32, 0.9866, 7.8e-05),
                Point(64, 0.9925, 0.000131),
                Point(128, 0.9964, 0.000236),
                Point(256, 0.9983, 0.000476),
                Point(512, 0.9997, 0.000971),
            ),
        ),
        Curve(
            200_000,
            784.141,
            (
                Point(16, 0.9723, 5.4e-05),
                Point(32, 0.987, 8.34e-05),
                Point(64, 0.9952, 0.000135),
                Point(128, 0.9973, 0.000238),
                Point(256, 0.9975, 0.000465),
                Point(512, 0.998, 0.000921),
            ),
        ),
        Curve(
            500_000,
            784.132,
            (
                Point(16, 0.9174, 5.78e-05),
                Point(32, 0.9607, 8.51e-05),
                Point(64, 0.9785, 0.000132),
                Point(128, 0.9893, 0.000225),
                Point(256, 0.9935, 0.000404),
                Point(512, 0.9948, 0.000779),
            ),
        ),
    ),
}
