"""The fan-out over shards in this process that can be made slow or broken."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
import orjson
import pytest

from reelspace.core.errors import InternalError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.fanout import Fanout, FanoutSettings, Found, Overloaded
from reelspace.search.access.shard_client import ShardFailed, ShardTimeout
from reelspace.search.compute.queries import ShardAnswer, ShardQuery
from reelspace.search.storage.ids import Id, id_order, shard_of
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.search.storage.points import Point

from .builders import make_queries
from .oracle_shard import OracleShard

NUM_TWINS = 30
ROWS_ND = make_queries(300, seed=1)
ROWS_ND[-NUM_TWINS:] = ROWS_ND[:NUM_TWINS]
IDS: list[Id] = [UUID(int=number << 66) if number % 3 == 0 else 7 * number for number in range(300)]
QUERIES_QD = make_queries(40)
VECTORS = {"": VectorSettings(dimension=16), "twice": VectorSettings(dimension=16, metric="dot")}


def make_shards(num: int = 3) -> list[OracleShard]:
    collection = Collection(name="things", space_id="0" * 16, vectors=VECTORS, num_shards=num)
    shards = [OracleShard(LocalStore(Path("unused")), collection, shard) for shard in range(num)]
    for id, row_D in zip(IDS, ROWS_ND, strict=True):
        shards[shard_of(id, num)].points[id] = Point({"": row_D, "twice": 2 * row_D}, {"id": str(id)})
    return shards


def exact_ids(query_D: object, k: int, shards: set[int] | None = None) -> list[Id]:
    """Rank by inner product in double precision, ties by id: the independent answer."""
    scores = (ROWS_ND.astype(np.float64) @ np.asarray(query_D, dtype=np.float64)).astype(np.float32).tolist()
    hits = sorted(zip(IDS, scores, strict=True), key=lambda hit: (-hit[1], id_order(hit[0])))
    return [id for id, _ in hits if shards is None or shard_of(id, 3) in shards][:k]


def batches(shard: OracleShard) -> list[int]:
    return [len(call) for call in shard.calls]  # type: ignore[arg-type]


@pytest.mark.parametrize("num_quick", [0, 1, 3], ids="{} of 3 shards answer on the spot".format)
def test_many_queries_at_once_equal_brute_force_one_by_one(num_quick: int) -> None:
    shards = make_shards()
    for shard in shards[:num_quick]:
        shard.is_quick = True

    async def ask() -> list[Found]:
        fanout = Fanout(shards, FanoutSettings(max_batch=16))
        queries = [ShardQuery(query_D, 1 + number % 13, with_payload=number % 3 == 0) for number, query_D in enumerate(QUERIES_QD)]
        return await asyncio.gather(*(fanout.search(query, 5.0) for query in queries))

    for number, (query_D, found) in enumerate(zip(QUERIES_QD, asyncio.run(ask()), strict=True)):
        assert found.ids == exact_ids(query_D, 1 + number % 13)
        assert found.missing_shards == ()
        if number % 3 == 0:
            assert found.payloads == [orjson.dumps({"id": str(one)}) for one in found.ids]
        else:
            assert found.payloads is None
    assert sum(batches(shards[0])) == 40
    assert len(batches(shards[0])) < 40
    assert max(batches(shards[0])) <= 16
    assert batches(shards[0]) == batches(shards[1]) == batches(shards[2])


def test_a_lone_query_does_not_wait_for_company() -> None:
    shards = make_shards()

    async def ask() -> None:
        await Fanout(shards, FanoutSettings()).search(ShardQuery(QUERIES_QD[0], 3), 5.0)

    asyncio.run(ask())
    assert batches(shards[0]) == [1]


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
    assert found.missing_shards == (0, 1)
    assert found.ids == exact_ids(QUERIES_QD[0], 5, {2})
    assert found.payloads == [orjson.dumps({"id": str(one)}) for one in found.ids]


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
    assert len(answered) == 8
    assert all(isinstance(answers[number], Overloaded) for number in range(40) if number not in answered)
    for number in answered:
        assert answers[number].ids == exact_ids(QUERIES_QD[number], 3)  # type: ignore[attr-defined]


class SlowShard(OracleShard):
    """Takes the same time for every batch, whether anybody still waits or not, as real shards do."""

    def begin(self) -> None:
        self.answers: dict[int, ShardAnswer] = {}

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        if len(queries) not in self.answers:
            self.answers[len(queries)] = await super().search(queries, 5.0)
        self.calls.append(queries)
        await asyncio.sleep(0.02)
        return self.answers[len(queries)]


def test_what_shards_do_is_in_time_for_those_who_asked_when_ten_times_as_much_is_asked() -> None:
    # Batches of 4 take 20 ms, 200 queries a second, and 2,000 a second come: in a line that is served from its old end all would wait
    # for the whole of their 0.2 s, and be answered too late.
    shard = SlowShard(LocalStore(Path("unused")), Collection(name="x", space_id="0" * 16, vectors=VECTORS, num_shards=1), 0)
    shard.begin()

    async def ask() -> list[Found | BaseException]:
        fanout = Fanout([shard], FanoutSettings(max_batch=4, max_in_flight=1, max_waiting=300))
        loop = asyncio.get_running_loop()
        asked: list[asyncio.Future[Found]] = []
        start_s = loop.time()
        while (passed_s := loop.time() - start_s) < 1.0:
            while len(asked) < passed_s * 2000:
                asked.append(asyncio.ensure_future(fanout.search(ShardQuery(QUERIES_QD[0], 3), 0.2)))
            await asyncio.sleep(0.002)
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    assert all(isinstance(answer, Found | ShardTimeout | Overloaded) for answer in answers)
    worked_on = sum(batches(shard))
    assert worked_on >= 20
    assert sum(isinstance(answer, Found) for answer in answers) >= 0.8 * worked_on


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
    assert batches(shards[0]) == [1, 1]


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
        assert (await first).ids == exact_ids(QUERIES_QD[0], 3)

    asyncio.run(ask())


def test_queries_that_ask_for_different_things_travel_apart() -> None:
    shards = make_shards()
    asked = [{}, {"using": "twice"}, {"with_payload": True}, {"with_vectors": ("",)}, {"k": 300}]

    async def ask() -> list[Found]:
        fanout = Fanout(shards, FanoutSettings())
        queries = [ShardQuery(QUERIES_QD[0], **({"k": 3} | keys)) for keys in asked * 3]  # type: ignore[arg-type]
        return await asyncio.gather(*(fanout.search(query, 5.0) for query in queries))

    answers = asyncio.run(ask())
    assert batches(shards[0]) == [3, 3, 3, 3, 3]
    expected = exact_ids(QUERIES_QD[0], 300)
    for keys, found in zip(asked * 3, answers, strict=True):
        k = keys.get("k", 3)
        assert found.ids == expected[:k]  # type: ignore[misc]
        assert (found.payloads is not None) == ("with_payload" in keys)
        if found.vectors is not None:
            assert [np.float32(orjson.loads(one)[""]).tolist() for one in found.vectors] == [
                ROWS_ND[IDS.index(id)].tolist() for id in found.ids
            ]


def test_quick_batches_let_others_use_the_event_loop_in_between() -> None:
    (shard,) = make_shards(1)
    shard.is_quick = True
    seen = []

    async def watch() -> None:
        for _ in range(6):
            seen.append(len(shard.calls))
            await asyncio.sleep(0)

    async def ask() -> None:
        fanout = Fanout([shard], FanoutSettings(max_batch=10))
        await asyncio.gather(*(fanout.search(ShardQuery(query_D, 3), 5.0) for query_D in QUERIES_QD), watch())

    asyncio.run(ask())
    assert batches(shard) == [10] * 4
    assert {1, 2, 3} <= set(seen)


def test_error_of_a_quick_shard_reaches_every_query_of_its_batch() -> None:
    shards = make_shards()
    for shard in shards:
        shard.is_quick = True
    shards[1].error = ShardFailed("the shard is broken")

    async def ask() -> list[Found | BaseException]:
        fanout = Fanout(shards, FanoutSettings())
        queries = [fanout.search(ShardQuery(query_D, 3), 5.0, allow_partial=number == 1) for number, query_D in enumerate(QUERIES_QD[:3])]
        return await asyncio.gather(*queries, return_exceptions=True)

    first, partial, last = asyncio.run(ask())
    assert isinstance(first, ShardFailed)
    assert isinstance(last, ShardFailed)
    assert isinstance(partial, Found)
    assert partial.missing_shards == (1,)
    assert partial.ids == exact_ids(QUERIES_QD[1], 3, {0, 2})
