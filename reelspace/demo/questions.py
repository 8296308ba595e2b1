"""Questions asked through the public endpoints, and the same questions answered offline from the artifacts.

Legend: Q queries, N works, D dimension, K hits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelspace.core.artifacts import Artifact
from reelspace.evaluate.ranking import exact_rows_QK
from reelspace.evaluate.vectors import Vectors, read_vectors
from reelspace.media.dataset import ShardReader
from reelspace.media.sample import Sample
from reelspace.search.client import SearchClient
from reelspace.serving.client import ServingClient

K = 10
TOLERANCE = 1e-4
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer:
    """One question with its hits: the question itself (words, or the id of the asking work), ids and scores by falling score."""

    question: str | int
    ids: list[int]
    scores: list[float]


def ask_texts(gateway_url: str, texts: Sequence[str]) -> list[Answer]:
    """Ask in words: the gateway embeds them with the promoted text encoder."""
    with SearchClient(gateway_url) as client:
        return [_answer(text, client.query(text, limit=K)) for text in texts]


def ask_videos(gateway_url: str, samples: Sequence[Sample]) -> list[Answer]:
    """Ask with works: their frames and sound go to the video encoder, the vector it gives is searched; the work itself is left out."""
    with ServingClient(gateway_url) as serving, SearchClient(gateway_url) as client:
        vectors_QD = serving.encode_videos(samples)
        return [
            _answer(sample.video_id, client.query(vector_D, limit=K, exclude_ids=[sample.video_id]))
            for sample, vector_D in zip(samples, vectors_QD, strict=True)
        ]


def _answer(question: str | int, hits: Sequence[object]) -> Answer:
    return Answer(question, [hit.id for hit in hits], [hit.score for hit in hits])  # type: ignore[attr-defined]


def offline_answers(questions: Sequence[str | int], queries_QD: Floats, vectors: Vectors, own_rows_Q: NDArray[np.int64]) -> list[Answer]:
    """Rank all works exactly by the vectors of the `vectors` artifact."""
    gallery_ND = vectors.by_name["vector"]
    rows_QK = exact_rows_QK(queries_QD, gallery_ND, min(K, len(gallery_ND) - 1), own_rows_Q)
    scores_QK = np.take_along_axis(queries_QD @ gallery_ND.T, rows_QK, axis=1)
    return [
        Answer(question, vectors.video_ids_N[rows_K].tolist(), scores_K.tolist())
        for question, rows_K, scores_K in zip(questions, rows_QK, scores_QK, strict=True)
    ]


def equal_answers(online: Sequence[Answer], offline: Sequence[Answer]) -> bool:
    """Hold answers against each other: same scores rank by rank, same ids wherever no tie leaves the order open."""
    return all(_equal(a, b) for a, b in zip(online, offline, strict=True))


def _equal(a: Answer, b: Answer) -> bool:
    if len(a.ids) != len(b.ids) or not np.allclose(a.scores, b.scores, atol=TOLERANCE):
        return False
    score_of = dict(zip(b.ids, b.scores, strict=True))
    last = b.scores[-1]
    return all(abs(score - score_of.get(hit, last)) <= TOLERANCE for hit, score in zip(a.ids, a.scores, strict=True))


@dataclass(frozen=True, slots=True)
class Corpus:
    """The works of a journey: their vectors and their samples."""

    vectors: Vectors
    reader: ShardReader

    @classmethod
    def open(cls, vectors: Artifact, shards: Artifact, scratch: Path) -> "Corpus":
        """Fetch vectors.parquet and open the shards."""
        return cls(read_vectors(vectors.fetch(scratch / "vectors") / "vectors.parquet"), ShardReader(shards))

    def rows_of(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """Give the rows of works by id."""
        order = np.argsort(self.vectors.video_ids_N)
        return np.asarray(order[np.searchsorted(self.vectors.video_ids_N, ids, sorter=order)], dtype=np.int64)
