"""A shard that cannot be wrong: a dictionary of rows from the real log, searched by brute force, filtered by the official client."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray
from qdrant_client.http import models
from qdrant_client.local.payload_filters import check_filter

from reelspace.core.store import Store
from reelspace.search.access.shard_client import ShardTimeout
from reelspace.search.compute.filters import (
    Condition,
    Except,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    NumberRange,
    TimeRange,
    ValuesCount,
    decode_filter,
)
from reelspace.search.compute.queries import (
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
from reelspace.search.storage.ids import NO_ID, Id, id_order, id_words
from reelspace.search.storage.layout import Collection, collection_key, json_bytes
from reelspace.search.storage.log import Log
from reelspace.search.storage.points import Point, apply_writes
from reelspace.search.storage.reader import LogTail

Wide = NDArray[np.float64]


class OracleShard:
    """Sees new rows when it is told to; `pause_s`, `is_quick` and `error` are set by the tests, `calls` holds what was asked."""

    def __init__(self, store: Store, collection: Collection, shard: int) -> None:
        self._fields = collection.fields
        self.log = Log(store, collection.full_name, shard, collection.fields)
        self._tail = LogTail(self.log, 0)
        self.points: dict[Id, Point] = {}
        self.pause_s = 0.0
        self.is_quick = False
        self.error: Exception | None = None
        self.calls: list[Sequence[ShardQuery] | Read | int] = []

    def at(self, generation: int) -> "OracleShard":
        return self

    async def prepare(self, generation: int, timeout_s: float) -> None: ...

    async def look(self, timeout_s: float) -> Sequence[ShardFacts | None]:
        return [ShardFacts(len(self.points), 0, self._tail.number, 1, 0, loaded=(1,))]

    def search_now(self, queries: Sequence[ShardQuery]) -> ShardAnswer | None:
        if not self.is_quick:
            return None
        self.calls.append(queries)
        if self.error:
            raise self.error
        return self._found(queries)

    def lone_now(self, query: ShardQuery) -> None:
        return None

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        await self._answering(queries, timeout_s)
        return self._found(queries)

    def _found(self, queries: Sequence[ShardQuery]) -> ShardAnswer:
        found = [self._ranked(query)[: query.k] for query in queries]
        shape = len(queries), max(query.k for query in queries)
        ids_QK3 = np.full((*shape, 3), NO_ID, dtype=np.uint64)
        scores_QK = np.full(shape, -np.inf, dtype=np.float32)
        payloads_QK, vectors_QK = np.full(shape, b"null", dtype=np.object_), np.full(shape, b"null", dtype=np.object_)
        for row, (query, hits) in enumerate(zip(queries, found, strict=True)):
            ids_QK3[row, : len(hits)] = id_words([id for id, _ in hits])
            scores_QK[row, : len(hits)] = [score for _, score in hits]
            for column, (id, _) in enumerate(hits):
                record = self._record(id, True, query.with_vectors)
                payloads_QK[row, column] = record.payload
                vectors_QK[row, column] = orjson.dumps({name: one.tolist() for name, one in (record.vectors or {}).items()})
        with_payload, with_vectors = any(query.with_payload for query in queries), any(query.with_vectors for query in queries)
        return ShardAnswer(ids_QK3, scores_QK, payloads_QK if with_payload else None, vectors_QK if with_vectors else None)

    async def read(self, request: Read, timeout_s: float) -> ReadAnswer:
        await self._answering(request, timeout_s)
        match request:
            case Retrieve():
                return [self._record(id, request.with_payload, request.with_vectors) for id in request.ids if id in self.points]
            case Scroll():
                ids = sorted(self._allowed(request.where), key=id_order)
                ids = [id for id in ids if request.start is None or id_order(id) >= id_order(request.start)]
                return [self._record(id, request.with_payload, request.with_vectors) for id in ids[: request.limit]]
            case Count():
                return len(self._allowed(request.where))
            case Describe():
                return ShardFacts(len(self.points), 0, self._tail.number, 1, 0)

    async def sync(self, number: int, timeout_s: float) -> None:
        await self._answering(number, timeout_s)
        self.poll()
        assert self._tail.number >= number, "it was acknowledged"

    def poll(self) -> None:
        for entry in self._tail.poll():
            apply_writes(self.points, entry.writes)

    async def _answering(self, call: Any, timeout_s: float) -> None:
        self.calls.append(call)
        await asyncio.sleep(min(self.pause_s, timeout_s))
        if self.pause_s > timeout_s:
            raise ShardTimeout("late")
        if self.error:
            raise self.error

    def _allowed(self, where: bytes) -> list[Id]:
        model = model_of(decode_filter(where)) if where else models.Filter()
        return [id for id, point in self.points.items() if check_filter(model, dict(point.payload), client_id(id), {})]

    def _ranked(self, query: ShardQuery) -> list[tuple[Id, np.float32]]:
        metric = self._fields[query.using].metric
        wanted_D = scaled(query.vector_D, metric)
        scores: dict[Id, np.float32] = {}
        for id in self._allowed(query.where):
            vector_D = self.points[id].vectors.get(query.using)
            if vector_D is None or id in query.excluded:
                continue
            own_D = scaled(vector_D, metric)
            away_D = own_D - wanted_D
            scores[id] = np.float32(-(away_D @ away_D) if metric == "euclid" else own_D @ wanted_D)
        return sorted(scores.items(), key=lambda hit: (-hit[1], id_order(hit[0])))

    def _record(self, id: Id, with_payload: bool, with_vectors: Sequence[str]) -> Record:
        point = self.points[id]
        vectors = {
            name: scaled(point.vectors[name], self._fields[name].metric).astype(np.float32)
            for name in with_vectors
            if name in point.vectors
        }
        return Record(id, orjson.dumps(point.payload) if with_payload else None, vectors if with_vectors else None)


class OracleBackend:
    """Oracle shards, shared by every gateway that is given this backend, as those of one Triton server are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.shards: dict[str, list[OracleShard]] = {}

    async def open(self, collection: Collection) -> Sequence[OracleShard]:
        if collection.full_name not in self.shards:
            numbers = range(collection.num_shards)
            self.shards[collection.full_name] = [OracleShard(self._store, collection, shard) for shard in numbers]
        return self.shards[collection.full_name]

    async def follow(self) -> None: ...

    async def load(self, model: str, addresses: Sequence[str]) -> bool:
        return False

    async def unload(self, model: str, addresses: Sequence[str]) -> None: ...

    async def close(self, collection: Collection) -> None:
        self.shards.pop(collection.full_name, None)


def create_without_generations(store: Store, collection: Collection) -> None:
    """Write what oracle shards need of a collection."""
    store.put_if_absent(collection_key(collection.full_name), json_bytes(collection))


def scaled(vector_D: NDArray[np.float32], metric: str) -> Wide:
    wide_D: Wide = vector_D.astype(np.float64)
    return wide_D / np.linalg.norm(wide_D) if metric == "cosine" else wide_D


def client_id(id: Id) -> int | str:
    return str(id) if isinstance(id, UUID) else id


def model_of(where: Filter) -> models.Filter:
    """Give a filter as the official client's own model."""
    least = where.min_should
    return models.Filter(
        must=[_condition(one) for one in where.must],
        should=[_condition(one) for one in where.should],
        must_not=[_condition(one) for one in where.must_not],
        min_should=least and models.MinShould(conditions=[_condition(one) for one in least.conditions], min_count=least.min_count),
    )


def _condition(one: Condition) -> Any:
    match one:
        case Filter():
            return model_of(one)
        case HasId():
            return models.HasIdCondition(has_id=[client_id(id) for id in one.ids])
        case IsEmpty():
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=one.key))
        case IsNull():
            return models.IsNullCondition(is_null=models.PayloadField(key=one.key))
        case Match():
            # A boolean comes alone: it has no list form.
            match = models.MatchValue(value=one.values[0]) if len(one.values) == 1 else models.MatchAny(any=list(one.values))
            return models.FieldCondition(key=one.key, match=match)
        case Except():
            return models.FieldCondition(key=one.key, match=models.MatchExcept(**{"except": list(one.values)}))
        case NumberRange():
            return models.FieldCondition(key=one.key, range=models.Range(**_bounds(one)))
        case TimeRange():
            times = {name: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us) for name, us in _bounds(one).items()}
            return models.FieldCondition(key=one.key, range=models.DatetimeRange(**times))
        case ValuesCount():
            return models.FieldCondition(key=one.key, values_count=models.ValuesCount(**_bounds(one)))


def _bounds(one: NumberRange | TimeRange | ValuesCount) -> Mapping[str, Any]:
    return {name: bound for name in ("gt", "gte", "lt", "lte") if (bound := getattr(one, name)) is not None}
