"""Writes through the log to oracle shards: what is acknowledged, seen, and taken once."""

import asyncio
import time
from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.shard_client import ShardFailed, ShardTimeout
from reelspace.search.storage.entries import Write
from reelspace.search.storage.ids import shard_of
from reelspace.search.storage.reader import LogTail
from reelspace.search.storage.writer import RequestKeyReused

from ..oracle_shard import OracleBackend, OracleShard
from .worlds import TIME_S, ids_of, made, near, points, running, write

RED = {"filter": {"must": [{"key": "color", "match": {"value": "red"}}]}}


def shards_of(backend: OracleBackend) -> list[OracleShard]:
    (shards,) = backend.shards.values()
    return shards


def writes_of(shard: OracleShard) -> list[Write]:
    return [write for entry in LogTail(shard.log, 0).poll() for write in entry.writes]


def keys_of(shard: OracleShard) -> list[str]:
    return [write.request_key for write in writes_of(shard)]


def test_what_was_waited_for_is_seen_at_once_by_every_gateway(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as one, running(store, backend) as other:
            own = await made(one)
            others = await other.service("things")
            for number in range(40):
                result = await (own, others)[number % 2].write(write(own, points(number)), TIME_S)
                assert result.completed
                for service in (own, others):
                    assert await ids_of(service) == list(range(number + 1))

    asyncio.run(run())


def test_a_write_that_nobody_waits_for_is_durable_and_seen_soon(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as catalog:
            service = await made(catalog)
            for shard in shards_of(backend):
                shard.pause_s = 0.05
            result = await service.write(write(service, points(*range(10)), wait=False), TIME_S)
            assert not result.completed
            assert sum(len(keys_of(shard)) for shard in shards_of(backend)) == 2
            assert not any(shard.points for shard in shards_of(backend))
            await asyncio.sleep(0.2)
            assert await ids_of(service) == list(range(10))

    asyncio.run(run())


def test_operation_id_is_the_largest_number_in_the_log(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            in_first = [id for id in range(20) if shard_of(id, 2) == 0]
            ids = [(await service.write(write(service, points(id)), TIME_S)).operation_id for id in in_first[:3]]
            assert ids == [1, 2, 3]
            assert (await service.write(write(service, points(*range(20))), TIME_S)).operation_id == 4
            nothing = await service.write(write(service, {"delete": RED}), TIME_S)
            assert (nothing.operation_id, nothing.completed) == (None, True)

    asyncio.run(run())


def test_a_request_sent_again_takes_effect_once_and_another_under_its_key_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as one, running(store, backend) as other:
            service, again = await made(one), await other.service("things")
            first = await service.write(write(service, points(1, 2, 3, color="red"), key="a"), TIME_S)
            await service.write(write(service, points(2, color="blue")), TIME_S)
            assert await again.write(write(service, points(1, 2, 3, color="red"), key="a"), TIME_S) == first
            red = write(service, {"delete": RED}, key="b")
            await service.write(red, TIME_S)
            assert await ids_of(service) == [2]
            # What came after the first time is none of its business.
            await service.write(write(service, points(1, 3, 4, 5, color="red")), TIME_S)
            assert (await again.write(red, TIME_S)).completed
            assert await ids_of(again) == [1, 2, 3, 4, 5]
            with pytest.raises(RequestKeyReused):
                await again.write(write(service, points(1, 7), key="a"), TIME_S)
            # A different filter under a key is another write.
            await again.write(write(service, {"delete": {"filter": {"must": [{"has_id": [5]}]}}}, key="b"), TIME_S)
            assert await ids_of(again) == [1, 2, 3, 4]

    asyncio.run(run())


def test_a_filter_sees_what_came_before_it_and_not_what_comes_after(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            await service.write(write(service, points(1, 2, color="red"), wait=False), TIME_S)
            operations = [points(3, 4, color="red"), {"delete": RED}, points(4, 5, color="red")]
            await service.write(write(service, *operations), TIME_S)
            assert await ids_of(service) == [4, 5]

    asyncio.run(run())


def test_more_rows_than_a_page_are_deleted_by_a_filter_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelspace.search.access.reads.PAGE", 3)
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as catalog:
            service = await made(catalog)
            await service.write(write(service, points(*range(30), color="red"), points(30)), TIME_S)
            await service.write(write(service, {"delete": RED}), TIME_S)
            assert await ids_of(service) == [30]
            deletions = [writes_of(shard)[-1].rows for shard in shards_of(backend)]
            assert sorted(id for rows in deletions for id in rows.ids) == list(range(30))  # type: ignore[type-var]

    asyncio.run(run())


def test_a_payload_edit_of_an_unknown_point_is_told_after_the_others_were_edited(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            await service.write(write(service, points(1, 2)), TIME_S)
            edit = {"set_payload": {"points": [1, 9, 2], "payload": {"a": 1}}}
            with pytest.raises(RequestRefused, match="no point with id 9") as caught:
                await service.write(write(service, edit), TIME_S)
            assert caught.value.status == 404
            counted = await service.count(near(service, 0, filter={"must": [{"key": "a", "match": {"value": 1}}]}).where, TIME_S)
            assert counted == 2
            # In one request, what was put is there and what was deleted is not.
            await service.write(write(service, points(9), edit, {"delete": {"points": [9]}}), TIME_S)
            with pytest.raises(RequestRefused, match="no point with id 9"):
                await service.write(write(service, points(9), {"delete": {"points": [9]}}, edit), TIME_S)

    asyncio.run(run())


def test_no_write_and_no_read_is_done_with_a_shard_missing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as catalog:
            service = await made(catalog)
            await service.write(write(service, points(*range(10), color="red")), TIME_S)
            broken = shards_of(backend)[1]
            broken.error = ShardFailed("broken")
            calls = [
                service.write(write(service, {"delete": RED}), TIME_S),
                service.count(b"", TIME_S),
                service.query(near(service, 0), TIME_S),
            ]
            for call in calls:
                with pytest.raises(ShardFailed, match=r"shards \[1\] failed: shard 1: broken"):
                    await call
            broken.error = None
            assert await ids_of(service) == list(range(10))

    asyncio.run(run())


def test_a_write_that_is_durable_and_not_seen_in_time_says_so(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as catalog:
            service = await made(catalog)
            for shard in shards_of(backend):
                shard.pause_s = 1.0
            with pytest.raises(ShardTimeout, match=r"durable, but not yet seen by every search: shards \[0, 1\]"):
                await service.write(write(service, points(*range(10))), 0.3)
            for shard in shards_of(backend):
                shard.pause_s = 0.0
                shard.poll()
            assert await ids_of(service) == list(range(10))

    asyncio.run(run())


def test_a_write_that_is_slow_to_become_durable_says_to_send_it_again(tmp_path: Path) -> None:
    class SlowStore(LocalStore):
        def put_if_absent(self, key: str, data: bytes) -> str:
            if key.endswith(".arrow"):
                time.sleep(0.5)
            return super().put_if_absent(key, data)

    store = SlowStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            request = write(service, points(1), key="a")
            with pytest.raises(ShardTimeout, match=r"not known to be durable.*send it again under the same Idempotency-Key"):
                await service.write(request, 0.1)
            assert (await service.write(request, TIME_S)).operation_id == 1

    asyncio.run(run())


def test_a_write_into_a_collection_that_another_gateway_deleted_is_not_acknowledged(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as one, running(store, OracleBackend(store)) as other:
            await made(one)
            stale = await other.service("things")
            await one.delete("things", TIME_S)
            await made(one)
            with pytest.raises(RequestRefused) as caught:
                await stale.write(write(stale, points(1)), TIME_S)
            assert caught.value.status == 404

    asyncio.run(run())


def test_a_request_larger_than_one_object_of_the_log_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelspace.search.storage.writer.MAX_WRITE_BYTES", 1000)
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            with pytest.raises(RequestRefused, match="expected at most 1000") as caught:
                await service.write(write(service, points(*range(100), text="x" * 50)), TIME_S)
            assert caught.value.status == 413
            assert await ids_of(service) == []

    asyncio.run(run())


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as one, running(store, backend) as other:
            await made(one)
            services = [await one.service("things"), await other.service("things")]
            calls = [services[id % 2].write(write(services[0], points(id), wait=id % 3 == 0), TIME_S) for id in range(120)]
            await asyncio.gather(*calls)
            for shard in shards_of(backend):
                shard.poll()
            assert await ids_of(services[0]) == list(range(120))
            assert sum(len(keys_of(shard)) for shard in shards_of(backend)) == 120

    asyncio.run(run())
