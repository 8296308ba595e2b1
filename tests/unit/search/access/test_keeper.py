"""What is overdue is built by a child process, one at a time and by one gateway, and a failed child is only logged."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.access import collection_service
from reelspace.search.access.backend import Surroundings
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.fanout import FanoutSettings
from reelspace.search.access.keeper import Keeper, KeeperTimes
from reelspace.search.access.local_backend import LocalBackend
from reelspace.search.access.together import running
from reelspace.search.compute import queries
from reelspace.search.compute.host import Hosting
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.lease import leave_lease, rebuild_lease, take_lease

from .worlds import TIME_S, ids_of, made, points, write

QUICK = KeeperTimes(look_s=0.02, hold_s=5.0, retry_s=30.0)
OVERDUE = ("things@00000000", 0)
WRITES_ITS_ARGUMENTS = "import sys; open({path!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10)); sys.exit({code})"


def script(path: Path, code: int = 0) -> tuple[str, ...]:
    return sys.executable, "-S", "-c", WRITES_ITS_ARGUMENTS.format(path=str(path), code=code)


def run_keeper(store: Store, command: Sequence[str], until: Callable[[], bool], most_s: float = 30.0) -> None:
    """Let a keeper look at one overdue shard until something is true, or for so long."""

    async def overdue() -> Sequence[tuple[str, int]]:
        return [OVERDUE]

    async def run() -> None:
        until_s = time.monotonic() + most_s
        async with running(Keeper(store, overdue, command, QUICK).run()):
            while not until() and time.monotonic() < until_s:
                await asyncio.sleep(0.02)

    asyncio.run(run())


def test_an_overdue_shard_is_rebuilt_by_a_child_and_the_collection_turns_from_yellow_to_green(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_UNSEALED", 20)
    store = LocalStore(tmp_path)

    async def run() -> None:
        backend = LocalBackend(store, Hosting(poll_s=0.05))
        catalog = Catalog(store, Surroundings(backend, lambda _pointer: {}), create_collection, FanoutSettings())
        await catalog.start()
        service = await made(catalog)
        name = service.collection.full_name
        await service.write(write(service, points(*range(20))), TIME_S)
        assert (await catalog.describe("things", TIME_S)).is_settled
        await service.write(write(service, points(*range(20, 100))), TIME_S)
        facts = await catalog.describe("things", TIME_S)
        assert (facts.is_settled, facts.num_unsealed) == (False, 100)
        assert await catalog.overdue(TIME_S) == [(name, 0), (name, 1)]
        async with running(Keeper(store, lambda: catalog.overdue(TIME_S), times=QUICK).run()):
            until_s = time.monotonic() + 60
            while not (facts := await catalog.describe("things", TIME_S)).is_settled:
                assert time.monotonic() < until_s
                await asyncio.sleep(0.05)
        assert (facts.num_rows, facts.num_unsealed, min(facts.generations)) == (100, 0, 2)
        assert sorted(await ids_of(service)) == list(range(100))  # type: ignore[type-var]
        await catalog.close()
        await backend.close_all()

    asyncio.run(run())


def test_what_is_little_is_sealed_when_no_more_comes_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_LOOSE", 20)
    monkeypatch.setattr(collection_service, "REST_S", 0.3)
    store = LocalStore(tmp_path)

    async def run() -> None:
        backend = LocalBackend(store, Hosting(poll_s=0.05))
        catalog = Catalog(store, Surroundings(backend, lambda _pointer: {}), create_collection, FanoutSettings())
        await catalog.start()
        service = await made(catalog)
        name = service.collection.full_name
        await service.write(write(service, points(*range(20))), TIME_S)
        assert (await catalog.describe("things", TIME_S)).is_settled
        for start in range(20, 200, 20):
            await service.write(write(service, points(*range(start, start + 20))), TIME_S)
            assert await catalog.overdue(TIME_S) == []
        assert not (await catalog.describe("things", TIME_S)).is_settled
        await asyncio.sleep(0.31)
        assert await catalog.overdue(TIME_S) == [(name, 0), (name, 1)]
        await catalog.close()
        await backend.close_all()

    asyncio.run(run())


def test_a_shard_whose_searches_find_too_little_is_built_anew_but_not_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries.ShardFacts, "has_low_recall", property(lambda facts: facts.generation == 1))
    store = LocalStore(tmp_path)

    async def run() -> None:
        backend = LocalBackend(store, Hosting(poll_s=0.05))
        catalog = Catalog(store, Surroundings(backend, lambda _pointer: {}), create_collection, FanoutSettings())
        await catalog.start()
        name = (await made(catalog)).collection.full_name
        assert await catalog.overdue(TIME_S) == [(name, 0), (name, 1)]
        assert await catalog.overdue(TIME_S) == []
        assert catalog.recalls() == []
        await catalog.close()
        await backend.close_all()

    asyncio.run(run())


def test_a_child_is_told_what_to_build_and_by_whom(tmp_path: Path) -> None:
    store, told = LocalStore(tmp_path / "store"), tmp_path / "told"
    run_keeper(store, script(told), told.exists)
    words = told.read_text().splitlines()[0].split()
    assert words[:6] == ["--store", store.url, "--collection", "things@00000000", "--shard", "0"]
    assert words[-2] == "--owner"


def test_a_failed_child_is_logged_and_not_tried_again_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tmp_path / "told"
    logged: list[str] = []

    def is_logged() -> bool:
        logged.append(capsys.readouterr().err)
        return '"rebuild_failed"' in "".join(logged)

    times = iter(range(10))  # looks go on for a while after it is logged
    run_keeper(LocalStore(tmp_path / "store"), script(told, 75), lambda: is_logged() and next(times, None) is None)
    assert is_logged()
    assert len(told.read_text().splitlines()) == 1


def test_a_shard_that_another_gateway_builds_is_left_to_it(tmp_path: Path) -> None:
    store, told = LocalStore(tmp_path / "store"), tmp_path / "told"
    key = rebuild_lease(*OVERDUE)
    assert take_lease(store, key, "another", 60.0)
    run_keeper(store, script(told), told.exists, 0.3)
    assert not told.exists()
    leave_lease(store, key, "another")
    run_keeper(store, script(told), told.exists)
    assert told.exists()


def test_a_lease_is_kept_by_its_owner_and_taken_by_another_when_its_time_is_over(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert take_lease(store, "lease", "a", 60.0)
    assert take_lease(store, "lease", "a", 0.0)
    assert take_lease(store, "lease", "b", 60.0)
    assert not take_lease(store, "lease", "a", 60.0)
    leave_lease(store, "lease", "a")
    assert not take_lease(store, "lease", "a", 60.0)
    leave_lease(store, "lease", "b")
    assert take_lease(store, "lease", "a", 60.0)


def test_a_keeper_that_ends_ends_its_child(tmp_path: Path) -> None:
    started = tmp_path / "started"
    command = sys.executable, "-S", "-c", f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    run_keeper(LocalStore(tmp_path / "store"), command, lambda: started.exists() and started.read_text() != "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
