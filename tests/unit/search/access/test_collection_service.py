"""Queries over oracle shards, against brute force."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.access.query_request import parse_groups
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.shard_client import ShardFailed, ShardTimeout
from reelspace.search.compute.queries import Describe
from reelspace.search.storage.ids import shard_of

from ..oracle_shard import OracleBackend
from .worlds import TIME_S, Constant, made, near, points, running, write


def test_euclidean_scores_are_distances_and_rise(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            await service.write(write(service, points(*range(10))), TIME_S)
            found = await service.query(near(service, 3.25, limit=4, offset=1), TIME_S)
            assert list(zip(found.ids, found.scores, strict=True)) == [(4, 0.75), (2, 1.25), (5, 1.75), (1, 2.25)]
            assert (await service.query(near(service, 3.25, score_threshold=1.25), TIME_S)).ids == [3, 4]
            assert (await service.query(near(service, 3.25, score_threshold=0.1), TIME_S)).ids == []

    asyncio.run(run())


def test_groups_are_filled_from_hits_far_down(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            # 300 near ones of one color, then 2 of another, one of both, and one whose list holds what is no group.
            await service.write(write(service, points(*range(300), color="red"), points(300, 301, color=["blue", 7])), TIME_S)
            odd = [points(302, color=["red", "blue"]), points(303, color=[True, "blue"]), points(304, color=1.5), points(305, color="blue")]
            await service.write(write(service, *odd), TIME_S)
            asked = {"query": [0, 0], "group_by": "color", "limit": 3, "group_size": 4, "with_payload": True}
            result = await service.query_groups(parse_groups(asked, service.fields), TIME_S)
            groups = {group.id: [hit.id for hit in group.hits] for group in result.groups}
            assert groups == {"red": [0, 1, 2, 3], "blue": [300, 301, 302, 305], 7: [300, 301]}
            assert list(groups) == ["red", "blue", 7]
            assert result.groups[2].hits[0].payload == b'{"color":["blue",7]}'
            bare = await service.query_groups(parse_groups(asked | {"with_payload": False}, service.fields), TIME_S)
            assert all(hit.payload is None for group in bare.groups for hit in group.hits)

    asyncio.run(run())


def test_recommended_is_what_is_near_the_positive_and_far_from_the_negative(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            await service.write(write(service, points(*range(20))), TIME_S)
            # Twice the mean of 6 and 8, less 4: 10.
            query = {"recommend": {"positive": [6, [8.0, 0.0]], "negative": [4]}}
            assert (await service.query(near(service, 0, query=query, limit=5), TIME_S)).ids == [10, 9, 11, 8, 12]
            assert (await service.query(near(service, 0, query={"recommend": {"positive": [6, 8]}}, limit=2), TIME_S)).ids == [7, 5]
            unknown = str(UUID(int=7))
            for bad in ({"recommend": {"positive": [1, unknown]}}, unknown, 77):
                with pytest.raises(RequestRefused, match="no point with id") as caught:
                    await service.query(near(service, 0, query=bad), TIME_S)
                assert caught.value.status == 404

    asyncio.run(run())


def test_words_go_through_the_named_encoder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            service.use_encoders({"text_encoder": Constant(5, 0), "odd": Constant(1, 2, 3)})
            await service.write(write(service, points(*range(10))), TIME_S)
            words = {"text": "five", "model": "text_encoder"}
            assert (await service.query(near(service, 0, query=words, limit=1), TIME_S)).ids == [5]
            mixed = {"recommend": {"positive": [words, 9]}}
            assert (await service.query(near(service, 0, query=mixed, limit=1), TIME_S)).ids == [7]
            for model, match in (("bert", "query.model: expected one of 'odd', 'text_encoder'"), ("odd", "length 3, expected 2")):
                with pytest.raises(RequestRefused, match=match):
                    await service.query(near(service, 0, query={"text": "five", "model": model}), TIME_S)

    asyncio.run(run())


def test_an_answer_says_what_it_covers(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as catalog:
            service = await made(catalog)
            await service.write(write(service, points(*range(50))), TIME_S)
            await service.describe(TIME_S)
            in_second = sum(shard_of(id, 2) for id in range(50))
            whole = (await service.query(near(service, 0), TIME_S)).coverage
            assert (whole.rows, whole.of, whole.missing_shards) == (50, 50, ())
            shards = backend.shards[service.collection.full_name]
            shards[0].error = ShardFailed("broken")
            found = await service.query(near(service, 0, limit=100, allow_partial=True), TIME_S)
            assert (found.coverage.rows, found.coverage.of, found.coverage.missing_shards) == (in_second, 50, (0,))
            assert [shard_of(id, 2) for id in found.ids] == [1] * in_second
            shards[1].pause_s = 1.0
            with pytest.raises(ShardTimeout, match=r"shards \[1\] did not answer within 0\.1 s"):
                await service.query(near(service, 0, allow_partial=True), 0.1)

    asyncio.run(run())


def test_shards_are_asked_what_they_hold_at_most_once_a_second_and_never_when_idle(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as catalog:
            service = await made(catalog)
            for _ in range(20):
                await service.query(near(service, 0), TIME_S)
                await asyncio.sleep(0)
            for shard in backend.shards[service.collection.full_name]:
                assert sum(isinstance(call, Describe) for call in shard.calls) == 1

    asyncio.run(run())


def test_a_batch_of_queries_is_answered_in_order_and_one_that_fails_fails_all(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            await service.write(write(service, points(*range(30))), TIME_S)
            queries = [near(service, at, limit=1 + at % 3) for at in range(30)]
            results = await service.query_batch(queries, TIME_S)
            assert [result.ids[0] for result in results] == list(range(30))
            assert [len(result.ids) for result in results] == [1 + at % 3 for at in range(30)]
            with pytest.raises(RequestRefused, match="no point with id 99"):
                await service.query_batch([*queries, near(service, 0, query=99)], TIME_S)

    asyncio.run(run())
