"""Answers queries and reads from one shard, as any gateway asks them.

Legend: Q queries, K hits, D dimension.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.search.compute.hits import NO_SCORE, Rows, nothing
from reelspace.search.compute.queries import (
    AlikeQueries,
    Count,
    Describe,
    Read,
    ReadAnswer,
    Record,
    Retrieve,
    Scroll,
    ShardAnswer,
    ShardFacts,
    ShardQuery,
)
from reelspace.search.compute.shard import QueryRefused, Shard
from reelspace.search.storage.ids import Id, id_order, ids_of_words

Ints = NDArray[np.int64]
NO_ROW_JSON = b"null"


def answer_queries(shard: Shard, queries: Sequence[ShardQuery]) -> ShardAnswer:
    """Search for several queries; those over the same vectors with the same filter go together.

    Raises:
        QueryRefused, FilterRefused, KeyRefused: a query is none; see Shard.search.
    """
    if len(queries) == 1 and not queries[0].excluded:
        lone = shard.lone(queries[0].vector_D, queries[0].k, queries[0].using, queries[0].where)
        if lone is not None:
            rows, scores = lone
            return _completed(shard, queries, Rows(np.array([rows]), np.array([scores], dtype=np.float32)))
    if isinstance(queries, AlikeQueries):
        found = shard.search(queries.vectors_QD, queries.k, using=queries.using, where=queries.where)
        return _completed(shard, queries, found)
    groups = _groups(queries)
    if len(groups) == 1:
        found = _search(shard, queries)
    else:
        found = nothing(len(queries), max(query.k for query in queries))
        for places in groups.values():
            part = _search(shard, [queries[place] for place in places])
            width = part.rows_QK.shape[1]
            found.rows_QK[places, :width], found.scores_QK[places, :width] = part.rows_QK, part.scores_QK
    return _completed(shard, queries, found)


def _completed(shard: Shard, queries: Sequence[ShardQuery], found: Rows) -> ShardAnswer:
    """Add what else the queries want of their hits."""
    payloads = vectors = None
    some = [queries] if isinstance(queries, AlikeQueries) else queries
    if any(one.with_payload for one in some):
        payloads = _payloads(shard, found.rows_QK, [query.with_payload for query in queries])
    if any(one.with_vectors for one in some):
        vectors = _vectors(shard, found.rows_QK, queries)
    return ShardAnswer(shard.ids.words(found.rows_QK), found.scores_QK, payloads, vectors)


def answer_read(shard: Shard, request: Read, generation: int) -> ReadAnswer:
    """Look up, list or count rows, or describe the shard."""
    match request:
        case Retrieve():
            rows = shard.ids.rows_of(request.ids)
            alive = [(id, row) for id, row in zip(request.ids, rows.tolist(), strict=True) if row >= 0 and not shard.dead_N[row]]
            return _records(shard, alive, request)
        case Scroll():
            return _records(shard, _listed(shard, request), request)
        case Count():
            return int(np.count_nonzero(shard.allowed_rows(request.where)))
        case Describe():
            num_indexed = sum(index.num_sealed + index.num_grown for index in shard.indexes.values())
            return ShardFacts(shard.num_rows, num_indexed, shard.applied, generation, shard.size_bytes, shard.num_unsealed)


def _groups(queries: Sequence[ShardQuery]) -> dict[tuple[str, bytes], list[int]]:
    groups: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    for place, query in enumerate(queries):
        groups[query.using, query.where].append(place)
    return groups


def _search(shard: Shard, queries: Sequence[ShardQuery]) -> Rows:
    first = queries[0]
    vectors_QD = first.vector_D[None] if len(queries) == 1 else _stacked(queries)
    excluded = [query.excluded for query in queries] if any(query.excluded for query in queries) else None
    widest = max(query.k for query in queries)
    found = shard.search(vectors_QD, widest, using=first.using, where=first.where, excluded=excluded)
    if any(query.k != widest for query in queries):
        beyond_QK = np.arange(widest) >= np.array([query.k for query in queries])[:, None]
        found.rows_QK[beyond_QK], found.scores_QK[beyond_QK] = -1, NO_SCORE
    return found


def _stacked(queries: Sequence[ShardQuery]) -> NDArray[np.float32]:
    try:
        return np.stack([query.vector_D for query in queries])
    except ValueError as error:
        lengths = sorted({len(query.vector_D) for query in queries})
        raise QueryRefused(f"vector: expected vectors of one length, got {lengths}") from error


def _payloads(shard: Shard, rows_QK: Ints, wanted_Q: Sequence[bool]) -> NDArray[np.object_]:
    found_QK = np.full(rows_QK.shape, NO_ROW_JSON, dtype=np.object_)
    for query, wanted in enumerate(wanted_Q):
        for column, row in enumerate(rows_QK[query].tolist() if wanted else ()):
            if row >= 0:
                found_QK[query, column] = shard.payloads.json(row)
    return found_QK


def _vectors(shard: Shard, rows_QK: Ints, queries: Sequence[ShardQuery]) -> NDArray[np.object_]:
    found_QK = np.full(rows_QK.shape, NO_ROW_JSON, dtype=np.object_)
    for number, query in enumerate(queries):
        rows = [row for row in rows_QK[number].tolist() if row >= 0] if query.with_vectors else []
        for column, vectors in enumerate(_stored_vectors(shard, rows, query.with_vectors)):
            found_QK[number, column] = orjson.dumps(vectors, option=orjson.OPT_SERIALIZE_NUMPY)
    return found_QK


def _stored_vectors(shard: Shard, rows: Sequence[int], names: Sequence[str]) -> list[dict[str, NDArray[np.float32]]]:
    """Give the stored vectors of rows by name; a name is left out where a row has none."""
    found: list[dict[str, NDArray[np.float32]]] = [{} for _ in rows]
    for name in names:
        index = shard.indexes.get(name)
        if index is None:
            raise QueryRefused(f"with_vectors: expected names among {', '.join(map(repr, shard.indexes))}, got {name[:80]!r}")
        positions = index.positions(np.array(rows, dtype=np.int64))
        for place, (position, vector_D) in enumerate(zip(positions.tolist(), index.gather(positions), strict=True)):
            if position >= 0:
                found[place][name] = vector_D
    return found


def _records(shard: Shard, rows: Sequence[tuple[Id, int]], request: Retrieve | Scroll) -> list[Record]:
    payloads = [shard.payloads.json(row) if request.with_payload else None for _, row in rows]
    vectors = _stored_vectors(shard, [row for _, row in rows], request.with_vectors)
    return [
        Record(id, payload, found if request.with_vectors else None)
        for (id, _), payload, found in zip(rows, payloads, vectors, strict=True)
    ]


def _listed(shard: Shard, request: Scroll) -> list[tuple[Id, int]]:
    """Give rows in the order of their ids: the sealed ones are, of the fresh ones there are few."""
    allowed_N = shard.allowed_rows(request.where)
    num_sealed = shard.ids.num_sealed
    first = shard.ids.first_sealed_from(request.start)
    sealed = first + np.flatnonzero(allowed_N[first:num_sealed])[: request.limit]
    fresh = list(islice(((id, row) for id, row in shard.ids.fresh_from(request.start) if allowed_N[row]), request.limit))
    found = [*zip(ids_of_words(shard.ids.words(sealed)), sealed.tolist(), strict=True), *fresh]
    if fresh:
        found.sort(key=lambda pair: id_order(pair[0]))
    return found[: request.limit]
