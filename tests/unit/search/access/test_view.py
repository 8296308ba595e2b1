"""Views over shards that have some generations only, as the pointer changes."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.access import view as module
from reelspace.search.access.shard_client import GenerationMissing, ShardTimeout
from reelspace.search.access.view import FollowedView, View
from reelspace.search.storage.layout import Collection, CurrentGenerations, ShardState, VectorSettings, collection_key, json_bytes

MADE = Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=2, metric="euclid")}, num_shards=2)


@dataclass
class _Shard:
    """Has some generations, and comes to no other."""

    has: set[int]
    asked: int = 0
    preparing: list[int] = field(default_factory=list)

    def at(self, generation: int) -> "_Shard":
        return _Shard(self.has, generation, self.preparing)

    async def prepare(self, generation: int, _timeout_s: float) -> None:
        self.preparing.append(generation)
        while generation not in self.has:
            await asyncio.sleep(0.001)

    def number(self) -> int:
        if self.asked and self.asked not in self.has:
            raise GenerationMissing(f"no generation {self.asked}")
        return self.asked


def _states(generation: int) -> dict[str, ShardState]:
    return {str(shard): ShardState(generation=generation, contains_log=0, manifest_sha256="0" * 64) for shard in range(2)}


def _point(store: LocalStore, generation: int, beside: int | None = None) -> None:
    pointer = CurrentGenerations(
        version=generation, shards=_states(generation), updated_at="", beside={} if beside is None else _states(beside)
    )
    store.put(collection_key(MADE.full_name, "current.json"), json_bytes(pointer))


def _view(store: LocalStore, shards: list[_Shard]) -> tuple[FollowedView, list[View]]:
    changes: list[View] = []
    shards_: Any = shards
    return FollowedView(store, MADE, shards_, changes.append), changes


async def _at_the_first_of_two(store: LocalStore) -> tuple[list[_Shard], FollowedView, list[View]]:
    """Give a view of generation 1, which both shards have, when the pointer names 2."""
    _point(store, 1)
    shards = [_Shard({1}), _Shard({1})]
    followed, changes = _view(store, shards)
    await followed.begin()
    _point(store, 2)
    return shards, followed, changes


async def _numbers(followed: FollowedView) -> list[int]:
    shards: Any = followed.view.shards
    return [shard.number() for shard in shards]


async def _until_prepared(shard: _Shard, generation: int) -> None:
    while generation not in shard.preparing:
        await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)


def test_generations_that_are_named_no_more_are_not_waited_for(tmp_path: Path) -> None:
    # A shard is started anew while a gateway waits for generation 2, and loads what the pointer names by then: 2 never comes.
    store = LocalStore(tmp_path)

    async def run() -> None:
        shards, followed, changes = await _at_the_first_of_two(store)
        following = asyncio.ensure_future(followed.follow())
        await _until_prepared(shards[0], 2)
        _point(store, 3)
        for shard in shards:
            shard.has.clear()
            shard.has.add(3)
        assert await followed.ask(lambda _left_s: _numbers(followed), 5.0) == [3, 3]
        await following
        assert [change.version for change in changes] == [1, 3]

    asyncio.run(run())


def test_generations_that_are_still_named_are_waited_for_while_pointers_change(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        shards, followed, changes = await _at_the_first_of_two(store)
        following = asyncio.ensure_future(followed.follow())
        await _until_prepared(shards[0], 2)
        _point(store, 3, beside=2)
        await asyncio.sleep(0.1)
        assert not following.done()
        for shard in shards:
            shard.has.add(2)
        await following
        assert [change.version for change in changes] == [1, 2]
        assert shards[0].preparing == [2]

    asyncio.run(run())


def test_a_call_whose_generations_are_gone_waits_for_the_next_ones_no_longer_than_it_may(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        shards, followed, _ = await _at_the_first_of_two(store)
        shards[1].has.clear()
        with pytest.raises(ShardTimeout, match=r"no generation 1; no newer one could be asked within 0\.05 s"):
            await followed.ask(lambda _left_s: _numbers(followed), 0.05)
        shards[0].has.add(2)
        shards[1].has.add(2)
        assert await followed.ask(lambda _left_s: _numbers(followed), 5.0) == [2, 2]

    asyncio.run(run())


def test_a_call_that_waited_for_its_generations_has_what_is_left_of_its_time(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        shards, followed, _ = await _at_the_first_of_two(store)
        for shard in shards:
            shard.has.clear()
        given: list[float] = []

        async def call(left_s: float) -> list[int]:
            given.append(left_s)
            return await _numbers(followed)

        asking = asyncio.ensure_future(followed.ask(call, 5.0))
        await _until_prepared(shards[1], 2)
        await asyncio.sleep(0.05)
        for shard in shards:
            shard.has.add(2)
        assert await asking == [2, 2]
        assert given[0] <= 5.0
        assert given[1] <= 4.95

    asyncio.run(run())


def test_a_call_for_what_the_pointer_still_names_waits_until_the_shard_has_it(tmp_path: Path) -> None:
    async def run() -> None:
        store = LocalStore(tmp_path)
        _point(store, 2)
        shards = [_Shard({1}), _Shard({2})]  # the first was loaded just before the pointer changed
        followed, changes = _view(store, shards)
        await followed.begin()

        async def load() -> None:
            await _until_prepared(shards[0], 2)
            shards[0].has.add(2)

        loading = asyncio.create_task(load())
        assert await followed.ask(lambda _left_s: _numbers(followed), 10.0) == [2, 2]
        await loading
        assert [view.version for view in changes] == [2]

    asyncio.run(run())


def test_a_call_for_what_a_shard_does_not_get_ends_in_time_saying_what_is_missing(tmp_path: Path) -> None:
    async def run() -> None:
        store = LocalStore(tmp_path)
        _point(store, 2)
        followed, _ = _view(store, [_Shard({1}), _Shard({2})])
        await followed.begin()
        with pytest.raises(ShardTimeout, match="no generation 2; no newer one could be asked"):
            await followed.ask(lambda _left_s: _numbers(followed), 0.2)

    asyncio.run(run())
