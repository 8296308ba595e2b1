"""Answers a batch of Triton requests with one search; a bad request fails alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import ReelspaceError, UserError
from reelspace.search.compute.calls import Look, Probe, Sync, decode_call, encode_answer
from reelspace.search.compute.host import GenerationGone, ShardHost
from reelspace.search.compute.queries import AlikeQueries, Describe, Read, ReadAnswer, ShardAnswer, ShardQuery, joined
from reelspace.search.compute.signature import ANSWER, CALL
from reelspace.search.compute.tensors import Tensors, answer_tensors, generation_of, queries_of

SYNC_S = 0.005
Search = tuple[int, Sequence[ShardQuery]]
"""The place of a request, and its queries."""


@dataclass(frozen=True, slots=True)
class ShardRequest:
    """One request as Triton gives it: input tensors and the names of the outputs it asks for."""

    inputs: Tensors
    wanted: frozenset[str]


def answer_requests(host: ShardHost, requests: Sequence[ShardRequest]) -> list[Tensors | ReelspaceError]:
    """Answer each request with its output tensors, or with the reason why it is refused."""
    answers: list[Tensors | ReelspaceError | None] = [None] * len(requests)
    searches: dict[int, list[Search]] = {}
    for place, request in enumerate(requests):
        try:
            if CALL in request.inputs:
                answers[place] = _called(host, request.inputs[CALL])
            else:
                search = place, queries_of(request.inputs, request.wanted)
                searches.setdefault(generation_of(request.inputs), []).append(search)
        except ReelspaceError as error:
            answers[place] = error
    for generation, some in searches.items():
        for place, found in _searched(host, generation, some):
            answers[place] = found if isinstance(found, ReelspaceError) else _only(found, requests[place].wanted)
    return [answer for answer in answers if answer is not None]


def _searched(host: ShardHost, generation: int, searches: Sequence[Search]) -> list[tuple[int, Tensors | ReelspaceError]]:
    try:
        answer = host.search(joined([queries for _, queries in searches]), generation)
    except GenerationGone as error:
        return [(place, error) for place, _ in searches]
    except UserError as error:
        if len(searches) == 1:
            return [(searches[0][0], error)]
        # One of them is bad: alone, each is answered or refused for itself.
        return [found for search in searches for found in _searched(host, generation, [search])]
    return _parted(answer, searches)


def _parted(answer: ShardAnswer, searches: Sequence[Search]) -> list[tuple[int, Tensors | ReelspaceError]]:
    found: list[tuple[int, Tensors | ReelspaceError]] = []
    start = 0
    for place, queries in searches:
        rows = slice(start, start + len(queries))
        widest = queries.k if isinstance(queries, AlikeQueries) else max(query.k for query in queries)
        found.append((place, answer_tensors(answer, rows, widest)))
        start = rows.stop
    return found


def _called(host: ShardHost, calls: NDArray[Any]) -> Tensors:
    answers = []
    for data in calls.reshape(-1).tolist():
        answers.append(encode_answer(_answered(host, *decode_call(data))))
    return {ANSWER: np.array(answers, dtype=np.object_).reshape(-1, 1)}


def _answered(host: ShardHost, call: Read | Sync | Look | Probe, generation: int) -> ReadAnswer:
    match call:
        case Sync(number=number):
            return host.hurry(number, SYNC_S)
        case Look():
            host.tell()
            return host.read(Describe())
        case Probe():
            host.probe()
            return host.read(Describe())
        case _:
            return host.read(call, generation)


def _only(tensors: Tensors, wanted: frozenset[str]) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name in wanted}
