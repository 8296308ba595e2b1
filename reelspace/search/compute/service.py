"""Answers a batch of requests with one search; a bad request fails alone.

Legend: B rows of one request, Q rows of all, K hits, E excluded ids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import ReelspaceError
from reelspace.search.compute.hits import NO_ID, NO_SCORE
from reelspace.search.compute.shard import MAX_K, QueryRefused, Shard
from reelspace.search.compute.signature import EXCLUDE, IDS, PAYLOAD, POINT, QUERY, SCORES, VECTOR, K

Tensors = Mapping[str, NDArray[Any]]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ShardRequest:
    """One request as Triton gives it: input tensors and the names of the outputs it asks for."""

    inputs: Tensors
    wanted: frozenset[str]

    @property
    def searches(self) -> bool:
        """Tell a search from a look-up."""
        return self.wanted != {VECTOR}

    @property
    def num_rows(self) -> int:
        """Queries of the request."""
        return len(self.inputs[QUERY])


@dataclass(frozen=True, slots=True)
class _Found:
    rows_QK: Ints
    scores_QK: NDArray[np.float32]


def answer_requests(shard: Shard, requests: Sequence[ShardRequest]) -> list[Tensors | ReelspaceError]:
    """Answer each request with its output tensors, or with the reason why it is refused."""
    problems = [_problem(shard, request) for request in requests]
    good = [request for request, problem in zip(requests, problems, strict=True) if problem is None]
    searching = [request for request in good if request.searches]
    found = iter(_search(shard, searching))
    answers = iter([_answer(shard, request, next(found) if request.searches else None) for request in good])
    return [next(answers) if problem is None else problem for problem in problems]


def _problem(shard: Shard, request: ShardRequest) -> QueryRefused | None:
    query_BD, k_B = request.inputs[QUERY], request.inputs[K]
    if query_BD.shape[1:] != (shard.dimension,):
        return QueryRefused(f"{QUERY}: expected vectors of length {shard.dimension}, got {list(query_BD.shape)}")
    if not np.isfinite(query_BD).all():
        return QueryRefused(f"{QUERY}: expected finite numbers, got NaN or infinity")
    if k_B.min() < 1 or k_B.max() > MAX_K:
        return QueryRefused(f"{K}: expected 1 to {MAX_K} hits, got {int(k_B.min())} to {int(k_B.max())}")
    return None


def _search(shard: Shard, requests: Sequence[ShardRequest]) -> list[_Found]:
    if not requests:
        return []
    vectors_QD = np.concatenate([request.inputs[QUERY] for request in requests])
    excluded = [_excluded(row_E) for request in requests for row_E in _exclude_BE(request)]
    widest = max(int(request.inputs[K].max()) for request in requests)
    found = shard.search(vectors_QD, widest, excluded=excluded if any(map(len, excluded)) else None)
    starts = np.cumsum([0, *(request.num_rows for request in requests)])
    return [
        _cut(found.rows_QK[start:end], found.scores_QK[start:end], request.inputs[K].reshape(-1))
        for request, start, end in zip(requests, starts[:-1], starts[1:], strict=True)
    ]


def _exclude_BE(request: ShardRequest) -> Ints:
    return request.inputs.get(EXCLUDE, np.empty((request.num_rows, 0), dtype=np.int64))


def _excluded(row_E: Ints) -> Ints:
    return row_E[row_E >= 0]


def _cut(rows_BK: Ints, scores_BK: NDArray[np.float32], k_B: NDArray[np.int32]) -> _Found:
    width = int(k_B.max())
    beyond_BK = np.arange(width) >= k_B[:, None]
    return _Found(np.where(beyond_BK, NO_ID, rows_BK[:, :width]), np.where(beyond_BK, NO_SCORE, scores_BK[:, :width]))


def _answer(shard: Shard, request: ShardRequest, found: _Found | None) -> Tensors:
    answer: dict[str, NDArray[Any]] = {}
    if found is not None:
        answer[IDS] = shard.ids(found.rows_QK)
        answer[SCORES] = found.scores_QK
        if PAYLOAD in request.wanted:
            payloads = shard.payload_json(found.rows_QK.reshape(-1))
            answer[PAYLOAD] = np.array(payloads, dtype=np.object_).reshape(found.rows_QK.shape)
    if VECTOR in request.wanted:
        no_points_B = np.full(request.num_rows, NO_ID, dtype=np.int64)
        answer[VECTOR] = shard.vectors(shard.rows_of(request.inputs.get(POINT, no_points_B).reshape(-1)))
    return {name: tensor for name, tensor in answer.items() if name in request.wanted}
