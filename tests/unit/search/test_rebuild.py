"""Generations of a shard that take turns at the pointer."""

from contextlib import closing
from pathlib import Path

import pytest

from reelspace.core.errors import CorruptArtifact, PreconditionFailed, UserError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.host import ShardHost
from reelspace.search.scheduling import rebuild
from reelspace.search.scheduling.claims import claim
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.generations import PublishedGeneration, point_collection, point_shards
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.scheduling.rebuild_program import main as rebuild_main
from reelspace.search.storage.layout import Collection, VectorSettings, collection_key, generation_key
from reelspace.search.storage.log import Log
from reelspace.search.storage.rows import Change, Op
from reelspace.search.storage.seen_numbers import SeenNumbers

MADE = Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=2)}, num_shards=1)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def empty(store: LocalStore) -> PublishedGeneration:
    return create_collection(store, MADE)


def put(store: LocalStore, *ids: int) -> None:
    with closing(LogWriters(store, MADE)) as writers:
        for id in ids:
            writers.submit(f"k{id}", [Change(Op.UPSERT, id, {"": [1.0, id]})])[0].result()


def test_a_builder_that_was_overtaken_loses_no_row_that_was_dropped_from_the_log_meanwhile(
    store: LocalStore, empty: PublishedGeneration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, 1, 2)
    write_generation, overtaken = rebuild.write_generation, False

    def slow(*arguments: object, **keys: object) -> object:
        """Another builder makes two generations while this one writes its own, and drops what they hold."""
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            for id in (3, 4):
                put(store, id)
                rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path / "fast")
            put(store, 5)
            drop_old(store, MADE, 0, SeenNumbers(0.0))
        return write_generation(*arguments, **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(rebuild, "write_generation", slow)
    with pytest.raises(PreconditionFailed, match="meanwhile up to 4"):
        rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path / "slow")
    with ShardHost(store, MADE, 0) as host:
        assert (host.num_rows, host.generation) == (5, 3)


def test_a_generation_without_log_may_replace_others_only_while_the_log_is_whole(
    store: LocalStore, empty: PublishedGeneration, tmp_path: Path
) -> None:
    put(store, 1, 2)
    rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path)
    point_collection(store, empty)
    with ShardHost(store, MADE, 0) as host:
        assert (host.num_rows, host.generation) == (2, 1)
    for _ in range(2):
        rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path)
        drop_old(store, MADE, 0, SeenNumbers(0.0))
    with pytest.raises(UserError, match="up to 2"):
        point_collection(store, empty)
    with ShardHost(store, MADE, 0) as host:
        assert host.num_rows == 2


def test_a_builder_that_was_overtaken_points_at_nothing_that_may_be_removed(
    store: LocalStore, empty: PublishedGeneration, tmp_path: Path
) -> None:
    put(store, 1)
    earlier = rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path)
    rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path)
    with pytest.raises(PreconditionFailed, match="generation 3 meanwhile"):
        point_shards(store, MADE.full_name, [earlier], {0: 1})


def test_what_a_killed_builder_left_is_in_the_way_of_nobody_and_goes(store: LocalStore, empty: PublishedGeneration, tmp_path: Path) -> None:
    put(store, 1)
    claim(store, collection_key(MADE.full_name, "claims"), "killed")
    store.put(generation_key(MADE.full_name, 0, 2, "ids.npy"), b"half")
    for generation, left in ((3, {1, 2, 3}), (4, {3, 4})):
        assert rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path).generation == generation
        drop_old(store, MADE, 0)
        assert {int(key.split("/")[5]) for key in store.list(generation_key(MADE.full_name, 0, 2, "").removesuffix("2/"))} == left


def test_only_what_was_seen_for_long_is_dropped_and_by_a_process_that_ends_nothing(
    store: LocalStore, empty: PublishedGeneration, tmp_path: Path
) -> None:
    now_s, log = 0.0, Log(store, MADE.full_name, 0, MADE.fields)
    seen = SeenNumbers(100.0, lambda: now_s)
    floors = []
    for id in range(1, 6):
        put(store, id)
        rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path)
        drop_old(store, MADE, 0)
        drop_old(store, MADE, 0, SeenNumbers())
        drop_old(store, MADE, 0, seen)
        floors.append(log.floor())
        now_s += 60.0
    assert floors == [0, 0, 1, 2, 3]
    rebuild_main(["--store", store.url, "--collection", MADE.full_name, "--shard", "0"])
    assert (log.floor(), log.last()) == (3, 5)
    with ShardHost(store, MADE, 0) as host:
        assert host.num_rows == 5


@pytest.mark.parametrize("data", [b"", b"\xff", b"{}", b"[1]", b'{"owner"'])
def test_a_damaged_claim_is_refused_by_name(store: LocalStore, empty: PublishedGeneration, tmp_path: Path, data: bytes) -> None:
    key = collection_key(MADE.full_name, f"claims/{1:020d}.json")
    assert store.exists(key)
    store.put(key, data)
    with pytest.raises(CorruptArtifact, match=key):
        rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path)
