"""The fan-out over real small shards in this process that can be made slow or broken."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.core.errors import InternalError
from reelspace.search.access.fanout import Fanout, FanoutSettings, Found, Overloaded
from reelspace.search.access.merge import Hits
from reelspace.search.access.shard_client import ShardAnswer, ShardFailed, ShardQuery, ShardTimeout
from reelspace.search.compute.build import Table
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.layout import shard_of_ids

from .builders import exact_ids, make_queries, make_shard, make_table

TABLE = make_table(300, num_twins=30)
QUERIES_QD = make_queries(40)


class LocalShard:
    """A shard in this process; `pause_s` and `error` are set by the tests."""

    def __init__(self, table: Table) -> None:
        self._shard: Shard = make_shard(table)
        self.pause_s = 0.0
        self.error: Exception | None = None
        self.batches: list[int] = []

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        self.batches.append(len(queries))
        await asyncio.sleep(min(self.pause_s, timeout_s))
        if self.pause_s > timeout_s:
            raise ShardTimeout("late")
        if self.error:
            raise self.error
        vectors_QD = np.stack([query.vector_D for query in queries])
        excluded = [np.array(query.excluded, dtype=np.int64) for query in queries]
        found = self._shard.search(vectors_QD, max(query.k for query in queries), excluded=excluded)
        payloads_QK = np.array([self._shard.payload_json(rows_K) for rows_K in found.rows_QK], dtype=np.object_)
        return ShardAnswer(Hits(self._shard.ids(found.rows_QK), found.scores_QK), payloads_QK)

    async def vector(self, point_id: int, timeout_s: float) -> NDArray[np.float32] | None:
        vector_D = self._shard.vectors(self._shard.rows_of(np.array([point_id])))[0]
        return vector_D if vector_D.any() else None


def make_shards(num: int = 3) -> list[LocalShard]:
    shard_N = shard_of_ids(TABLE.ids_N, num)
    return [LocalShard(TABLE.take(np.flatnonzero(shard_N == shard))) for shard in range(num)]


def test_many_queries_at_once_equal_brute_force_one_by_one() -> None:
    shards = make_shards()

    async def ask() -> list[Found]:
        fanout = Fanout(shards, FanoutSettings(max_batch=16))
        queries = [ShardQuery(query_D, 1 + number % 13, with_payload=number % 3 == 0) for number, query_D in enumerate(QUERIES_QD)]
        return await asyncio.gather(*(fanout.search(query, 5.0) for query in queries))

    for number, (query_D, found) in enumerate(zip(QUERIES_QD, asyncio.run(ask()), strict=True)):
        assert found.ids == exact_ids(TABLE, query_D[None], 1 + number % 13)[0]
        assert found.missing_shards == ()
        if number % 3 == 0:
            assert found.payloads == [f'{{"number":{one}}}'.encode() for one in found.ids]
        else:
            assert found.payloads is None
    assert sum(shards[0].batches) == 40
    assert len(shards[0].batches) < 40
    assert max(shards[0].batches) <= 16
    assert shards[0].batches == shards[1].batches == shards[2].batches


def test_a_lone_query_does_not_wait_for_company() -> None:
    shards = make_shards()

    async def ask() -> None:
        await Fanout(shards, FanoutSettings()).search(ShardQuery(QUERIES_QD[0], 3), 5.0)

    asyncio.run(ask())
    assert shards[0].batches == [1]


def test_gateway_names_the_shard_that_timed_out() -> None:
    shards = make_shards()
    shards[2].pause_s = 1.0

    async def ask() -> float:
        loop = asyncio.get_running_loop()
        fanout, start = Fanout(shards, FanoutSettings()), loop.time()
        with pytest.raises(ShardTimeout, match=r"shards \[2\] did not answer within 0\.1 s"):
            await fanout.search(ShardQuery(QUERIES_QD[0], 3), 0.1)
        return loop.time() - start

    assert asyncio.run(ask()) < 0.9


def test_allowed_partial_answer_is_exact_over_the_shards_that_answered() -> None:
    shards = make_shards()
    shards[0].pause_s = 1.0
    shards[1].error = ShardFailed("broken")

    async def ask() -> Found:
        return await Fanout(shards, FanoutSettings()).search(ShardQuery(QUERIES_QD[0], 5, with_payload=True), 0.1, allow_partial=True)

    found = asyncio.run(ask())
    others = {int(one) for one, shard in zip(TABLE.ids_N, shard_of_ids(TABLE.ids_N, 3), strict=True) if shard != 2}
    assert found.missing_shards == (0, 1)
    assert found.ids == exact_ids(TABLE, QUERIES_QD[:1], 5, others)[0]
    assert found.payloads == [f'{{"number":{one}}}'.encode() for one in found.ids]


def test_nothing_is_no_partial_answer() -> None:
    shards = make_shards()
    for shard in shards:
        shard.error = ShardFailed("broken")

    async def ask() -> None:
        with pytest.raises(ShardFailed, match=r"shards \[0, 1, 2\] failed: shard 0: broken"):
            await Fanout(shards, FanoutSettings()).search(ShardQuery(QUERIES_QD[0], 5), 1.0, allow_partial=True)

    asyncio.run(ask())


def test_a_bug_is_never_part_of_an_answer() -> None:
    shards = make_shards()
    shards[1].error = InternalError("refused a request of the gateway")

    async def ask() -> None:
        with pytest.raises(InternalError, match="refused a request"):
            await Fanout(shards, FanoutSettings()).search(ShardQuery(QUERIES_QD[0], 5), 1.0, allow_partial=True)

    asyncio.run(ask())


def test_more_waiting_queries_than_allowed_are_refused_and_the_rest_is_answered() -> None:
    shards = make_shards()
    for shard in shards:
        shard.pause_s = 0.05

    async def ask() -> list[object]:
        fanout = Fanout(shards, FanoutSettings(max_batch=4, max_in_flight=1, max_waiting=8))
        queries = (fanout.search(ShardQuery(query_D, 3), 5.0) for query_D in QUERIES_QD)
        return await asyncio.gather(*queries, return_exceptions=True)

    answers = asyncio.run(ask())
    answered = [number for number, answer in enumerate(answers) if isinstance(answer, Found)]
    assert len(answered) == 9
    assert all(isinstance(answers[number], Overloaded) for number in range(40) if number not in answered)
    for number in answered:
        assert answers[number].ids == exact_ids(TABLE, QUERIES_QD[number : number + 1], 3)[0]  # type: ignore[attr-defined]


def test_query_whose_client_left_is_not_sent() -> None:
    shards = make_shards()
    for shard in shards:
        shard.pause_s = 0.05

    async def ask() -> None:
        fanout = Fanout(shards, FanoutSettings(max_in_flight=1))
        first = asyncio.ensure_future(fanout.search(ShardQuery(QUERIES_QD[0], 3), 5.0))
        await asyncio.sleep(0)
        left = asyncio.ensure_future(fanout.search(ShardQuery(QUERIES_QD[1], 3), 5.0))
        stays = asyncio.ensure_future(fanout.search(ShardQuery(QUERIES_QD[2], 3), 5.0))
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.gather(first, stays)

    asyncio.run(ask())
    assert shards[0].batches == [1, 1]


def test_query_that_never_gets_its_turn_is_told_so() -> None:
    shards = make_shards()
    for shard in shards:
        shard.pause_s = 0.5

    async def ask() -> None:
        fanout = Fanout(shards, FanoutSettings(max_in_flight=1))
        first = asyncio.ensure_future(fanout.search(ShardQuery(QUERIES_QD[0], 3), 2.0))
        await asyncio.sleep(0.01)
        with pytest.raises(ShardTimeout, match=r"waited 0\.1 s for its turn"):
            await fanout.search(ShardQuery(QUERIES_QD[1], 3), 0.1)
        assert (await first).ids == exact_ids(TABLE, QUERIES_QD[:1], 3)[0]

    asyncio.run(ask())
