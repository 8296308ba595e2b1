"""Generations that become current: loaded first, checked, all at once; refused where they are damaged; finished by the next controller."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import orjson
import pytest

from reelspace.core.errors import PreconditionFailed, UserError
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.access.backend import Surroundings
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.controlled import ControlledShards
from reelspace.search.access.fanout import FanoutSettings
from reelspace.search.access.local_backend import LocalBackend
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.access.query_request import parse_query
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.host import Hosting
from reelspace.search.scheduling import controller as loop
from reelspace.search.scheduling.controller import Controller, ControllerSettings
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.pointer import change_pointer, roll_back
from reelspace.search.scheduling.publication import Outcome, last_outcome, publication_of, publish, waiting
from reelspace.search.scheduling.rebuild import rebuild_shard
from reelspace.search.storage.layout import generation_key, read_current
from reelspace.search.storage.log import RETRY_WINDOW_S, Log
from reelspace.search.storage.rows import Change, Op
from reelspace.search.storage.seen_numbers import SeenNumbers

from ..access.worlds import TIME_S
from ..test_promote import KilledStore
from .publishing import MADE, built, nearest, serving

QUICK = ControllerSettings(look_s=0.05, hold_s=1.0, load_s=5.0, keep_s=0.0)
NAME = MADE.full_name


@asynccontextmanager
async def gateway(
    store: Store, settings: ControllerSettings = QUICK, max_bytes: int | None = None, seen: SeenNumbers | None = None
) -> AsyncIterator[tuple[Catalog, Controller]]:
    """One process with shards, and its controller, which looks when a test lets it."""
    backend = LocalBackend(store, Hosting(poll_s=0.05, max_bytes=max_bytes))
    catalog = Catalog(store, Surroundings(backend, lambda _pointer: {}), create_collection, FanoutSettings())
    await catalog.start()
    try:
        await catalog.service("works")
        yield catalog, Controller(store, ControlledShards(catalog, are_elsewhere=False), settings, seen=seen)
    finally:
        await catalog.close()
        await backend.close_all()


async def until_settled(store: Store, controller: Controller, number: int) -> Outcome:
    async with asyncio.timeout(20):
        while await controller.look() or last_outcome(store, NAME).number != number:
            await asyncio.sleep(0.02)
    return last_outcome(store, NAME)


async def edition_of(catalog: Catalog) -> set[int]:
    """Tell which editions the rows of one answer are of, and expect its hits to be that edition's."""
    service = await catalog.service("works")
    await service.follow()
    query_D = [0.5, -1.0, 0.25, 2.0]
    request = parse_query({"query": query_D, "limit": 10, "with_payload": True}, service.fields)
    result = await service.query(request, TIME_S)
    editions = {orjson.loads(point.payload or b"{}")["edition"] for point in result.points}
    assert len(editions) == 1
    assert list(result.ids) == nearest(min(editions), query_D, 10)
    return editions


def test_a_generation_is_current_when_every_shard_has_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)

    async def run() -> None:
        async with gateway(store) as (catalog, controller):
            assert await edition_of(catalog) == {1}
            two = publication_of(store, built(store, 2, tmp_path))
            publish(store, NAME, two)
            assert await until_settled(store, controller, two.number) == Outcome(number=two.number, is_current=True)
            assert await edition_of(catalog) == {2}
            assert waiting(store) == {}
            assert (await catalog.describe("works", TIME_S)).generations == (2, 2)
            while read_current(store, NAME, 2).beside:
                await controller.look()

    asyncio.run(run())


def test_the_way_back_is_one_change_and_the_way_forward_again_too(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)

    async def run() -> None:
        async with gateway(store, QUICK.model_copy(update={"keep_s": 60.0})) as (catalog, controller):
            two = publication_of(store, built(store, 2, tmp_path))
            publish(store, NAME, two)
            await until_settled(store, controller, two.number)
            await edition_of(catalog)
            for edition in (1, 2):
                roll_back(store, NAME)
                assert await edition_of(catalog) == {edition}

    asyncio.run(run())
    fresh = LocalStore(tmp_path / "fresh")
    serving(fresh, tmp_path / "fresh-files")
    with pytest.raises(UserError, match="no generations before"):
        roll_back(fresh, NAME)


def test_of_two_publishers_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)
    two, three = (publication_of(store, built(store, edition, tmp_path)) for edition in (2, 3))
    publish(store, NAME, two)
    publish(store, NAME, two)
    with pytest.raises(PreconditionFailed, match="generation 2 of works@01234567 is about to be current: 3 must wait"):
        publish(store, NAME, three)
    assert waiting(store) == {NAME: two}


def test_a_damaged_generation_is_refused_by_name_and_what_serves_goes_on(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)

    async def run() -> None:
        async with gateway(store) as (catalog, controller):
            two = publication_of(store, built(store, 2, tmp_path))
            key = generation_key(NAME, 1, two.number, "vectors-0.npy")
            data = bytearray(store.get(key))
            data[-1] ^= 1
            store.put(key, bytes(data))
            publish(store, NAME, two)
            outcome = await until_settled(store, controller, two.number)
            assert not outcome.is_current
            assert outcome.reason.startswith(f"shard 1: {key} in {store.url} is corrupt: its SHA-256 is")
            assert await edition_of(catalog) == {1}
            assert read_current(store, NAME, 2).beside == {}
            three = publication_of(store, built(store, 3, tmp_path))
            publish(store, NAME, three)
            assert (await until_settled(store, controller, three.number)).is_current
            assert await edition_of(catalog) == {3}

    asyncio.run(run())


def test_a_generation_that_does_not_fit_beside_what_serves_is_refused_by_its_size(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)

    async def run() -> None:
        async with gateway(store, max_bytes=20_000) as (catalog, controller):
            much = publication_of(store, built(store, 2, tmp_path, num_rows=2000))
            publish(store, NAME, much)
            outcome = await until_settled(store, controller, much.number)
            assert not outcome.is_current
            told = r"shard 0: generation 2 takes [\d,]+ bytes beside [\d,]+ that serve: 20,000 bytes are allowed"
            assert re.fullmatch(told, outcome.reason)
            assert await edition_of(catalog) == {1}

    asyncio.run(run())


async def _published(store: Store, number: int) -> None:
    async with gateway(store) as (_, controller):
        await until_settled(store, controller, number)
        while read_current(store, NAME, 2).beside:
            await controller.look()


def test_killed_before_any_of_its_writes_a_controller_is_continued_by_the_next(tmp_path: Path) -> None:
    start = LocalStore(tmp_path / "start")
    serving(start, tmp_path)
    two = publication_of(start, built(start, 2, tmp_path))
    publish(start, NAME, two)
    num_writes = 0
    while True:
        root = shutil.copytree(start.root, tmp_path / f"killed-{num_writes}")
        pid = os.fork()
        if pid == 0:
            killed = KilledStore(root)
            killed.writes_left = num_writes
            asyncio.run(_published(killed, two.number))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        store = LocalStore(root)
        asyncio.run(_published(store, two.number))
        pointer = read_current(store, NAME, 2)
        assert ({one.generation for one in pointer.shards.values()}, pointer.version, pointer.beside) == ({2}, 2, {})
        assert last_outcome(store, NAME) == Outcome(number=2, is_current=True)
        assert waiting(store) == {}
        num_writes += 1
    # The lead, what lies beside, the flip, the outcome, what waits, what lies beside no more, and the lead left.
    assert num_writes >= 6


def test_a_controller_that_was_overtaken_changes_no_pointer(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)
    change_pointer(store, NAME, lambda one: one.model_copy(update={"previous": one.shards}), epoch=2)
    with pytest.raises(PreconditionFailed, match="controller 2 has taken works@01234567 over from 1"):
        change_pointer(store, NAME, lambda one: one.model_copy(update={"previous": {}}), epoch=1)
    assert read_current(store, NAME, 2).previous


def test_logs_are_dropped_by_whoever_leads_for_long_enough_whoever_has_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SWEEP_S", 0.0)
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)
    logs = [Log(store, NAME, shard, MADE.fields) for shard in range(2)]
    with closing(LogWriters(store, MADE)) as writers:
        for future in writers.submit("k", [Change(Op.DELETE, id) for id in range(10)]).values():
            future.result()
    for _ in range(2):
        rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path)
    now_s = 0.0

    async def floors(controller: Controller) -> list[int]:
        await controller.look()
        return [log.floor() for log in logs]

    def clock_s() -> float:
        return now_s

    async def run() -> None:
        nonlocal now_s
        for expected in ([0, 0], [1, 0]):
            # The first ends before the window, so the second begins anew.
            async with gateway(store, seen=SeenNumbers(RETRY_WINDOW_S, clock_s)) as (_, controller):
                assert await floors(controller) == [0, 0]
                now_s += RETRY_WINDOW_S - 1 + sum(expected)
                assert await floors(controller) == expected
                await controller._leave()

    asyncio.run(run())
    assert logs[1].last() == 1
