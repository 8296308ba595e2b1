"""Answers checked requests on one collection, over its shards: queries, look-ups and writes."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.access.deadline import Deadline
from reelspace.search.access.fanout import Fanout, FanoutSettings, Found
from reelspace.search.access.groups import are_full, group_hits
from reelspace.search.access.query_request import MAX_LIMIT
from reelspace.search.access.reads import Reads
from reelspace.search.access.requests import (
    AlikeRequests,
    GroupsRequest,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    Selection,
    VectorTarget,
    WriteRequest,
)
from reelspace.search.access.results import (
    AlikeResult,
    CollectionFacts,
    Group,
    GroupsResult,
    QueryResult,
    ScoredPoint,
    ScrollResult,
    WriteResult,
)
from reelspace.search.access.selected import read_vectors, select_payload, select_payloads, select_record
from reelspace.search.access.shard_client import GenerationMissing, ShardClient
from reelspace.search.access.tally import Tally, sealed_facts
from reelspace.search.access.targets import Encoder, Targets
from reelspace.search.access.together import together
from reelspace.search.access.view import FollowedView, View
from reelspace.search.access.write_path import WritePath
from reelspace.search.compute.queries import AlikeQueries, Record, Retrieve, Scroll, ShardFacts, ShardQuery
from reelspace.search.storage.former_shards import FormerShards
from reelspace.search.storage.ids import NO_ID, Id
from reelspace.search.storage.layout import Collection
from reelspace.search.storage.payload_path import parse_key
from reelspace.search.storage.writer import LogMoved

REST_S: Final = 5.0
"""Without a write for so long, what lies beside a generation goes into the next one, also where it is little."""

TUNED_S: Final = 600.0
"""So long after a build that was begun since searches found too little none is begun for that again."""

Successor: TypeAlias = "Callable[[str, float], Awaitable[CollectionService]]"
"""Gives the collection of a full name into which another one moves, once it takes writes, within some seconds."""


class CollectionService:
    """One collection as clients see it. Belongs to one event loop; close it."""

    def __init__(
        self,
        collection: Collection,
        shards: Sequence[ShardClient],
        store: Store,
        encoders: Mapping[str, Encoder],
        settings: FanoutSettings,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Connect a collection with its shards, in their order.

        Args:
            encoders: models that put words into the space of its vectors, by name.
            on_batch: hears the number of queries of every call of the shards.
        """
        self.collection = collection
        self.fields = collection.fields
        self.shards = tuple(shards)
        self._store = store
        self.tally = Tally(shards)
        self._fanout = Fanout(shards, settings, on_batch)
        self._reads = Reads(tuple(shards))
        self._writes = WritePath(collection, shards, store)
        self._targets = Targets(self.fields, encoders, self._look_up)
        self._followed = FollowedView(store, collection, shards, self._use)
        self._not_tuned_before_s: dict[int, float] = {}
        self._successor: Successor | None = None
        self._writes_from_s = 0.0

    @property
    def num_waiting(self) -> int:
        """Give how many queries wait for their turn."""
        return self._fanout.num_waiting

    @property
    def num_behind(self) -> tuple[int, ...]:
        """Give by shard how many log objects that were written through here it has not told of."""
        return self._writes.num_behind(self.tally.facts)

    @property
    def models(self) -> tuple[str, ...]:
        """Name the models that put words into the space of the vectors."""
        return tuple(sorted(self._targets.encoders))

    async def start(self) -> None:
        """Learn what the collection's current generations hold, so that also what no shard has told yet is covered."""
        self.tally.begin(await asyncio.to_thread(sealed_facts, self._store, self.collection))
        await self._followed.begin()

    async def follow(self) -> None:
        """Go over to the generations that the collection's pointer names now; raises what FollowedView.follow raises."""
        await self._followed.follow()

    def _use(self, view: View) -> None:
        self._fanout.use(view)
        self.tally.use(view)
        self._reads = Reads(view.shards)

    def use_encoders(self, encoders: Mapping[str, Encoder]) -> None:
        """Put words into the space of the vectors through these models from now on."""
        self._close_encoders()
        self._targets = Targets(self.fields, encoders, self._look_up)

    async def query(self, request: QueryRequest, timeout_s: float) -> QueryResult:
        """Answer one query within timeout_s.

        Raises:
            RequestRefused: see Targets.resolve.
            ShardTimeout, ShardFailed, Overloaded: see Fanout.search.
        """
        deadline = Deadline(timeout_s)
        found = await self._search(request, request.offset + request.limit, request.selection, deadline, timeout_s)
        return self._result(found, request)

    def query_now(self, request: QueryRequest) -> QueryResult | None:
        """Answer one query on the spot; None where it waits for others, or a shard is not here: then ask `query`; raises as that."""
        if not isinstance(request.target, VectorTarget):
            return None
        query = _shard_query(request, request.target.vector_D, request.offset + request.limit, request.selection)
        try:
            found = self._fanout.search_now(query)
        except GenerationMissing:
            return None
        return None if found is None else self._result(found, request)

    async def query_batch(self, requests: Sequence[QueryRequest], timeout_s: float) -> Sequence[QueryResult]:
        """Answer several queries; one that fails fails all."""
        if not all(isinstance(request.target, VectorTarget) for request in requests):
            return await together([self.query(request, timeout_s) for request in requests])
        queries = [
            _shard_query(request, request.target.vector_D, request.offset + request.limit, request.selection)  # type: ignore[union-attr]
            for request in requests
        ]
        allow_partial = [request.allow_partial for request in requests]
        found = await self._followed.ask(lambda left_s: self._fanout.search_all(queries, left_s, allow_partial=allow_partial), timeout_s)
        return [self._result(one, request) for one, request in zip(found, requests, strict=True)]

    async def query_alike(self, requests: AlikeRequests, timeout_s: float) -> AlikeResult:
        """Answer queries that differ only in their vectors, without an object for each; one that fails fails all."""
        request = requests.request
        queries = AlikeQueries(requests.vectors_QD, request.offset + request.limit, request.using, request.where)
        found = await self._followed.ask(
            lambda left_s: self._fanout.search_alike(queries, left_s, allow_partial=request.allow_partial), timeout_s
        )
        ids_QK3, scores_QK = found.ids_QK3[:, request.offset :], found.scores_QK[:, request.offset :].astype(np.float64)
        if self.fields[request.using].metric == "euclid":
            scores_QK = np.sqrt(np.maximum(-scores_QK, 0.0))
        if request.score_threshold is not None:
            ids_QK3 = ids_QK3.copy()
            ids_QK3[~self._are_better(scores_QK, request.score_threshold, request.using), 0] = NO_ID
        return AlikeResult(ids_QK3, scores_QK.astype(np.float32), self.tally.coverage(found.missing_shards, found.generations))

    async def query_groups(self, request: GroupsRequest, timeout_s: float) -> GroupsResult:
        """Answer a query with groups of hits: more hits are fetched until the groups are full, or rows or MAX_LIMIT hits end."""
        query, path = request.query, parse_key(request.group_by)
        deadline = Deadline(timeout_s)
        selection = Selection(with_payload=True, with_vectors=query.selection.with_vectors)
        k = min(max(64, 2 * query.limit * request.group_size), MAX_LIMIT)
        while True:
            found = await self._search(query, k, selection, deadline, timeout_s)
            result = self._result(found, query, selection)
            groups = group_hits(result.points, path, query.limit, request.group_size)
            if k == MAX_LIMIT or len(result.ids) < k or are_full(groups, query.limit, request.group_size):
                return GroupsResult([_selected(group, query.selection) for group in groups], result.coverage)
            k = min(4 * k, MAX_LIMIT)

    async def retrieve(self, request: RetrieveRequest, timeout_s: float) -> list[Record]:
        """Give rows by id, in the order asked; unknown ids are left out."""
        selection = request.selection
        wanted = Retrieve(request.ids, selection.with_payload, selection.with_vectors)
        found = await self._followed.ask(lambda left_s: self._reads.by_id(wanted, left_s), timeout_s)
        return [select_record(found[id], selection) for id in request.ids if id in found]

    async def scroll(self, request: ScrollRequest, timeout_s: float) -> ScrollResult:
        """Give one page of rows in the order of their ids."""
        selection = request.selection
        asked = Scroll(request.where, request.offset, request.limit, selection.with_payload, selection.with_vectors)
        records, next_offset = await self._followed.ask(lambda left_s: self._reads.page(asked, left_s), timeout_s)
        return ScrollResult([select_record(record, selection) for record in records], next_offset)

    async def count(self, where: bytes, timeout_s: float) -> int:
        """Count the rows that a filter allows."""
        return await self._followed.ask(lambda left_s: self._reads.count(where, left_s), timeout_s)

    async def write(self, request: WriteRequest, timeout_s: float) -> WriteResult:
        """Apply writes, in the collection into which this one has moved if its logs end; see WritePath.write."""
        deadline = Deadline(timeout_s)
        if (held_s := self._writes_from_s - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(held_s, deadline.left_s))
        # One key for both collections: what the first has of the request is brought over under it.
        request = request if request.request_key else replace(request, request_key=str(uuid4()))
        try:
            result = await self._writes.write(request, deadline.left_s)
        except LogMoved as moved:
            if self._successor is None:
                raise
            successor = await self._successor(moved.to, deadline.left_s)
            return await successor.write(request, deadline.left_s)
        self.tally.expire()
        return result

    def follow_moves(self, former: FormerShards, successor: Successor) -> None:
        """Go on in another collection where this one moves, and know requests from before it was resharded; before the first write."""
        self._writes.use_former_shards(former)
        self._successor = successor

    async def catch_up(self, numbers: Sequence[int], timeout_s: float) -> None:
        """Let every shard apply its log up to a number."""
        await self._writes.catch_up(numbers, timeout_s)

    async def prepare_writes(self) -> None:
        """Read what is in the logs, so that the next writes need not wait for that."""
        await self._writes.read_ahead()

    def hold_writes(self, seconds: float) -> None:
        """Let writes that come within some seconds wait until these are over."""
        self._writes_from_s = asyncio.get_running_loop().time() + seconds

    async def describe(self, timeout_s: float) -> CollectionFacts:
        """Tell what the collection holds; of a shard that does not answer, what it told last."""
        await self.tally.refresh(timeout_s)
        facts = self.tally.facts
        num_rows, num_indexed, num_unsealed = (
            sum(getattr(one, name) for one in facts) for name in ("num_rows", "num_indexed", "num_unsealed")
        )
        is_settled = self._writes.is_seen_by(facts) and not any(one.is_overdue or one.is_loose for one in facts)
        generations, recalls = tuple(one.generation for one in facts), tuple(one.recall for one in facts)
        return CollectionFacts(self.collection, num_rows, num_indexed, generations, num_unsealed, recalls, is_settled)

    async def overdue(self, timeout_s: float) -> list[int]:
        """Name the shards whose next generation should be built, of the generations that are current now."""
        await self._followed.follow()
        await self.tally.refresh(timeout_s)
        facts = enumerate(self.tally.facts)
        return [shard for shard, one in facts if one.is_overdue or self._is_at_rest(shard, one) or self._is_to_be_tuned(shard, one)]

    def _is_at_rest(self, shard: int, facts: ShardFacts) -> bool:
        return facts.is_loose and self.tally.is_quiet(shard, REST_S)

    def _is_to_be_tuned(self, shard: int, facts: ShardFacts) -> bool:
        """Tell whether searches find too little, and a build for that was not begun lately: it may be that none helps."""
        now_s = asyncio.get_running_loop().time()
        if not facts.has_low_recall or now_s < self._not_tuned_before_s.get(shard, 0.0):
            return False
        self._not_tuned_before_s[shard] = now_s + TUNED_S
        log("recall_is_low", collection=self.collection.full_name, shard=shard, recall=facts.recall, target=facts.recall_target)
        return True

    async def probe(self, timeout_s: float) -> None:
        """Make every shard, and every encoder, really work; raises what they raise."""
        for name, known in self.fields.items():
            vector_D = np.zeros(known.dimension, dtype=np.float32)
            vector_D[0] = 1
            query = ShardQuery(vector_D, 1, name)
            await self._followed.ask(partial(self._fanout.search, query), timeout_s)
        await together([encoder.encode("probe", timeout_s) for encoder in self._targets.encoders.values()])

    async def close(self) -> None:
        """Finish writes that were taken, and ask no more."""
        self.tally.close()
        self._close_encoders()
        await self._writes.close()

    def _close_encoders(self) -> None:
        for encoder in self._targets.encoders.values():
            encoder.close()

    async def _search(self, request: QueryRequest, k: int, selection: Selection, deadline: Deadline, timeout_s: float) -> Found:
        vector_D, excluded = await self._targets.resolve(request, timeout_s)
        total_s = timeout_s if isinstance(request.target, VectorTarget) else deadline.left_s
        query = _shard_query(request, vector_D, k, selection, excluded)
        return await self._followed.ask(lambda left_s: self._fanout.search(query, left_s, allow_partial=request.allow_partial), total_s)

    def _result(self, found: Found, request: QueryRequest, selection: Selection | None = None) -> QueryResult:
        """Put hits into the dialect's terms: skip the first, drop those beyond the threshold, cut payloads down."""
        selection = selection or request.selection
        scores = found.scores
        if self.fields[request.using].metric == "euclid":
            scores = [math.sqrt(max(-score, 0.0)) for score in scores]
        start, end = request.offset, len(scores)
        if request.score_threshold is not None:
            end = self._num_better(scores, request.score_threshold, request.using)
        payloads = None if found.payloads is None else found.payloads[start:end]
        vectors = None if found.vectors is None else [read_vectors(one) for one in found.vectors[start:end]]
        coverage = self.tally.coverage(found.missing_shards, found.generations)
        return QueryResult(found.ids[start:end], scores[start:end], select_payloads(payloads, selection), vectors, coverage)

    def _num_better(self, scores: Sequence[float], threshold: float, using: str) -> int:
        if self.fields[using].metric == "euclid":
            return sum(score < threshold for score in scores)
        return sum(score > threshold for score in scores)

    def _are_better(self, scores_QK: NDArray[np.float64], threshold: float, using: str) -> NDArray[np.bool_]:
        better_QK: NDArray[np.bool_] = scores_QK < threshold if self.fields[using].metric == "euclid" else scores_QK > threshold
        return better_QK

    async def _look_up(self, ids: Sequence[Id], using: str, timeout_s: float) -> Sequence[Record]:
        wanted = Retrieve(tuple(ids), with_payload=False, with_vectors=(using,))
        found = await self._followed.ask(lambda left_s: self._reads.by_id(wanted, left_s), timeout_s)
        return list(found.values())


def _shard_query(
    request: QueryRequest, vector_D: NDArray[np.float32], k: int, selection: Selection, excluded: tuple[Id, ...] = ()
) -> ShardQuery:
    return ShardQuery(vector_D, k, request.using, request.where, excluded, selection.with_payload, selection.with_vectors)


def _selected(group: Group, selection: Selection) -> Group:
    hits = [
        ScoredPoint(hit.id, hit.score, select_payload(hit.payload or b"{}", selection) if selection.with_payload else None, hit.vectors)
        for hit in group.hits
    ]
    return Group(group.id, hits)
