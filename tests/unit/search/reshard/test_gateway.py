"""Gateways whose collection is resharded while they answer: no error, no mix, nothing that was acknowledged is missing."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.access import catalog as catalog_module
from reelspace.search.access import moving as moving_module
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.local_backend import LocalBackend
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import CreateCollection
from reelspace.search.access.write_path import WriteTimeout
from reelspace.search.compute.host import Hosting
from reelspace.search.scheduling import reshard as reshard_module
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.reshard import Patience, Resharded
from reelspace.search.storage.ids import shard_of
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.search.storage.names import NAMES_KEY

from ..access.worlds import TIME_S, ids_of, made, near, points, running, write
from .mortal_store import Died, MortalStore
from .worlds import client_keys, meant, resharded

THINGS = CreateCollection({"": VectorSettings(dimension=2, metric="euclid")}, 2)
SOON = Patience(announced_s=0.3, opening_s=10.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "REFRESH_S", 0.1)
    monkeypatch.setattr(moving_module, "SETTLED_S", 0.2)


@asynccontextmanager
async def gateway(store: LocalStore, backend: LocalBackend | None = None) -> AsyncIterator[Catalog]:
    backend = backend or LocalBackend(store, Hosting(looks_first=True))
    async with running(store, backend, create=create_collection) as catalog:
        yield catalog
    await backend.close_all()


async def reshard(store: LocalStore, num_shards: int) -> Resharded:
    return await asyncio.to_thread(resharded, store, num_shards, "things", SOON)


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await is_true():
            await asyncio.sleep(0.01)


async def put(catalog: Catalog, id: int, *, key: str | None = None, **payload: object) -> None:
    service = await catalog.service("things")
    await service.write(write(service, points(id, **payload), key=key), TIME_S)


def test_what_was_acknowledged_is_found_at_once_through_the_same_gateway_and_another_while_it_moves(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def check() -> tuple[int, int]:
        async with gateway(store) as one, gateway(store) as other:
            await made(one, request=THINGS)
            is_over, num_queries = False, 0

            async def write_and_ask(first: int) -> int:
                """Put rows one after the other, each seen at once by either gateway."""
                nonlocal num_queries
                id = first
                while not is_over or id < first + 10:
                    await put(one, id)
                    for catalog in (one, other):
                        service = await catalog.service("things")
                        found = await service.query(near(service, id, limit=1), TIME_S)
                        assert list(found.ids) == [id], f"row {id} in {service.collection.full_name}"
                        num_queries += 1
                    id += 1
                return id - first

            writers = [asyncio.create_task(write_and_ask(first)) for first in (0, 10_000, 20_000)]
            await asyncio.sleep(0.3)
            for num_shards in (4, 3):
                await reshard(store, num_shards)
                await asyncio.sleep(0.5)
            is_over = True
            numbers = await asyncio.gather(*writers)
            expected = [first + number for first, num in zip((0, 10_000, 20_000), numbers, strict=True) for number in range(num)]
            for catalog in (one, other):
                facts = await catalog.describe("things", TIME_S)
                assert (facts.collection.num_shards, facts.num_rows) == (3, sum(numbers))
                service = await catalog.service("things")
                assert sorted((await service.query(near(service, 0, limit=2000), TIME_S)).ids) == expected[:2000]  # type: ignore[type-var]
            return sum(numbers), num_queries

    num_writes, num_queries = asyncio.run(check())
    print(f"{num_writes} writes, {num_queries} queries, 0 failed, 0 stale")


def test_every_query_is_answered_from_all_of_the_old_collection_or_all_of_the_new(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    class Slow(LocalBackend):
        """Takes a second to open what has four shards."""

        async def open(self, collection: Collection) -> object:  # type: ignore[override]
            await asyncio.sleep(1.0 * (collection.num_shards == 4))
            return await super().open(collection)

    async def check() -> None:
        async with gateway(store, Slow(store)) as catalog:
            service = await made(catalog, request=THINGS)
            await service.write(write(service, points(*range(50))), TIME_S)
            task, answered = asyncio.create_task(reshard(store, 4)), set()
            while not task.done() or len(answered) < 2:
                service = await catalog.service("things")
                begun_s = asyncio.get_running_loop().time()
                assert await ids_of(service) == list(range(50))
                assert asyncio.get_running_loop().time() - begun_s < 0.5
                answered.add(service.collection.num_shards)
                await asyncio.sleep(0.005)
            assert answered == {2, 4}
            # It was opened ahead, so writes hardly waited.
            assert (await task).waited_s < 0.5

    asyncio.run(check())


def test_a_write_waits_while_logs_have_ended_and_goes_on_in_the_new_collection_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_module, "SETTLED_S", 0.0)
    store = LocalStore(tmp_path)

    class Killed(MortalStore):
        """Dies when the name is about to mean the new collection."""

        def put_if_match(self, key: str, data: bytes, etag: str) -> str:
            self.is_dead |= key == NAMES_KEY and b"things@" in data.replace(old_name, b"")
            return super().put_if_match(key, data, etag)

    async def check() -> None:
        nonlocal old_name
        async with gateway(store) as catalog:
            service = await made(catalog, request=THINGS)
            old_name = service.collection.full_name.encode()
            await put(catalog, 1, key="known", a=1)
            with pytest.raises(Died):
                await asyncio.to_thread(resharded, Killed(tmp_path), 4)
            # What is in the old logs is acknowledged again, what is not waits.
            await put(catalog, 1, key="known", a=1)
            with pytest.raises(WriteTimeout, match=r"moves into things@.*send it again under the same Idempotency-Key"):
                await service.write(write(service, points(2), key="late"), 0.3)
            waiting = asyncio.create_task(put(catalog, 2, key="late"))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            assert await ids_of(service) == [1]
            await reshard(store, 4)
            await waiting
            assert await ids_of(await catalog.service("things")) == [1, 2]
            assert sorted(client_keys(store, meant(store))) == ["known#1", "late#1"]

    old_name = b""
    asyncio.run(check())


def test_a_request_sent_again_after_the_move_takes_effect_once_and_undoes_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    red = {"filter": {"must": [{"key": "color", "match": {"value": "red"}}]}}

    async def check() -> None:
        async with gateway(store) as catalog:
            await made(catalog, request=THINGS)
            for num_shards, ids in ((3, range(20)), (4, range(20, 40)), (2, range(40, 60))):
                service = await catalog.service("things")
                upsert = write(service, points(*ids, color="red"), key=f"put-{num_shards}")
                remove = write(service, {"delete": red}, key=f"remove-{num_shards}")
                await service.write(upsert, TIME_S)
                await service.write(remove, TIME_S)
                await put(catalog, ids[0], color="red")
                await reshard(store, num_shards)
                await until(partial(_has, catalog, num_shards))
                service = await catalog.service("things")
                await put(catalog, ids[1], color="red")
                for request in (upsert, remove, upsert):
                    await service.write(request, TIME_S)
                assert [id for id in await ids_of(service) if id in ids] == [ids[0], ids[1]]

    asyncio.run(check())


async def _has(catalog: Catalog, num_shards: int) -> bool:
    return (await catalog.service("things")).collection.num_shards == num_shards


def test_a_collection_that_is_deleted_while_it_is_resharded_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)

    async def check(moment: str) -> None:
        async with gateway(store) as catalog:
            await made(catalog, request=THINGS)
            await put(catalog, 1)
            loop, step, is_done = asyncio.get_running_loop(), getattr(reshard_module, moment), False

            def deleting(*arguments: object, **keys: object) -> object:
                nonlocal is_done
                if not is_done:
                    is_done = True
                    assert asyncio.run_coroutine_threadsafe(catalog.delete("things", TIME_S), loop).result()
                return step(*arguments, **keys)

            with monkeypatch.context() as patch:
                patch.setattr(reshard_module, moment, deleting)
                with pytest.raises((reshard_module.ReshardRefused, reshard_module.ReshardTaken)):
                    await asyncio.to_thread(resharded, store, 4)
            with pytest.raises(RequestRefused) as caught:
                await put(catalog, 2)
            assert caught.value.status == 404
            await until(lambda: _is_empty(store))

    for moment in ("copy_collection", "change_moves", "end_log", "copy_schema"):
        asyncio.run(check(moment))


async def _is_empty(store: LocalStore) -> bool:
    return {key for key in store.list("") if not key.endswith(".lock")} <= {NAMES_KEY, "collections/moves.json"}


def test_keys_indexed_while_it_moves_are_indexed_after(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def check() -> None:
        async with gateway(store) as catalog:
            await made(catalog, request=THINGS)
            await catalog.index_key("things", "first", "keyword", TIME_S)
            task, keys = asyncio.create_task(reshard(store, 4)), ["first"]
            while not task.done():
                keys.append(f"key{len(keys)}")
                await catalog.index_key("things", keys[-1], "integer", TIME_S)
                await asyncio.sleep(0.02)
            await task
            await until(lambda: _has(catalog, 4))
            assert sorted((await catalog.describe("things", TIME_S)).payload_schema) == sorted(keys)

    asyncio.run(check())


@pytest.mark.parametrize("num_rounds", [2, pytest.param(5, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_threads_that_write_while_logs_end_lose_and_double_nothing(tmp_path: Path, num_rounds: int) -> None:
    """Requests of several rows each, so that one may be before the end of one shard's log and behind that of another."""
    store = LocalStore(tmp_path)

    async def check() -> None:
        async with gateway(store) as one, gateway(store) as other:
            await made(one, request=THINGS)
            is_over = False

            async def write_on(number: int) -> list[str]:
                keys, draw = [], random.Random(number)
                while not is_over:
                    keys.append(f"{number}-{len(keys)}")
                    service = await draw.choice([one, other]).service("things")
                    ids = [id for id in range(100 * number, 100 * number + 100) if shard_of(id, 97) % 5 == len(keys) % 5]
                    await service.write(write(service, points(*ids, last=keys[-1]), wait=draw.random() < 0.5, key=keys[-1]), TIME_S)
                    await asyncio.sleep(0.03)  # all that is written here is copied each time: it may be sent again
                return keys

            writers = [asyncio.create_task(write_on(number)) for number in range(6)]
            for number in range(num_rounds):
                await reshard(store, (3, 4, 2)[number % 3])
                await asyncio.sleep(0.3)
            is_over = True
            for number, keys in enumerate(await asyncio.gather(*writers)):
                service = await one.service("things")
                for turn in range(5):
                    last = next(key for place, key in reversed(list(enumerate(keys, 1))) if place % 5 == turn)
                    ids = [id for id in range(100 * number, 100 * number + 100) if shard_of(id, 97) % 5 == turn]
                    where = near(service, 0, filter={"must": [{"key": "last", "match": {"value": last}}]}).where
                    assert await service.count(where, TIME_S) == len(ids)

    asyncio.run(check())
