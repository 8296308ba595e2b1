import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import UUID

import pytest

from reelspace.core.artifacts import Artifact, open_artifact, write_artifact
from reelspace.core.errors import CorruptArtifact, OutputOccupied, TemporaryError, UserError
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.storage.entries import Write
from reelspace.search.storage.floor import read_floor
from reelspace.search.storage.ids import Id, shard_of
from reelspace.search.storage.layout import (
    CurrentGenerations,
    ShardState,
    collection_key,
    generation_key,
    json_bytes,
    read_file,
)
from reelspace.search.storage.points import apply_writes
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.snapshot import SnapshotFile, restore_snapshot, take_snapshot
from reelspace.search.storage.writer import LogWriter

from .builders import OneTime, Plain, WatchedStore, damaged, delete, expected, plain, rows, upsert
from .generations import MADE, NAME, create, load_generation, seal_generation, shard_log

NUM_SHARDS = MADE.num_shards


def points_in(store: Store, name: str = NAME, until: Mapping[str, int] | None = None) -> dict[Id, Plain]:
    """Read generation and log of every shard, as an engine does."""
    whole: dict[Id, Plain] = {}
    states: Mapping[str, ShardState] = {}
    if store.exists(collection_key(name, "current.json")):
        states = read_file(store, CurrentGenerations, collection_key(name, "current.json")).shards
    for shard in range(NUM_SHARDS):
        state = states.get(str(shard))
        points = {} if state is None else load_generation(store, name, shard, state.generation)
        for entry in read_from(shard_log(store, shard, name), state.contains_log if state else 0):
            if until is None or entry.number <= until[str(shard)]:
                apply_writes(points, entry.writes)
        assert all(shard_of(id, NUM_SHARDS) == shard for id in points)
        whole |= plain(points)
    return whole


def build_generation(store: Store, number: int, *, drop: bool) -> None:
    """Seal what each log holds into a generation, make it current, and drop those objects."""
    states = {}
    for shard in range(NUM_SHARDS):
        key = collection_key(NAME, "current.json")
        state = read_file(store, CurrentGenerations, key).shards[str(shard)] if store.exists(key) else None
        points = load_generation(store, NAME, shard, state.generation) if state else {}
        last = state.contains_log if state else 0
        for entry in read_from(shard_log(store, shard), last):
            apply_writes(points, entry.writes)
            last = entry.number
        manifest = seal_generation(store, shard, number, points, contains_log=last)
        states[str(shard)] = ShardState(generation=number, contains_log=last, manifest_sha256=manifest)
    store.put(collection_key(NAME, "current.json"), json_bytes(CurrentGenerations(version=number, shards=states, updated_at="now")))
    for shard, state in states.items():
        if drop:
            shard_log(store, int(shard)).drop(state.contains_log)


def write(store: Store, values: Mapping[Id, float | None], key: str) -> None:
    """Write rows to their shards; None deletes."""
    for shard in range(NUM_SHARDS):
        changes = [delete(id) if value is None else upsert(id, value) for id, value in values.items() if shard_of(id, NUM_SHARDS) == shard]
        if changes:
            with LogWriter(shard_log(store, shard)) as writer:
                writer.append(key, rows(*changes))


def filled(store: Store) -> dict[Id, float]:
    """A collection with a sealed generation and a log beyond it."""
    create(store)
    ids: list[Id] = [*range(20), *(UUID(int=number) for number in range(5))]
    write(store, dict.fromkeys(ids, 1.0), "a")
    build_generation(store, 1, drop=True)
    write(store, dict.fromkeys(ids[5:15], 2.0), "b")
    write(store, dict.fromkeys(ids[:3]), "c")
    return {id: 2.0 if id in ids[5:15] else 1.0 for id in ids[3:]}


def test_a_restored_collection_equals_the_one_it_was_taken_of(store: Store, tmp_path: Path) -> None:
    values = filled(store)
    assert points_in(store) == expected(values)
    snapshot = take_snapshot(store, NAME, store, tmp_path)
    write(store, {100: 9.0}, "later")
    elsewhere = LocalStore(tmp_path / "elsewhere")
    assert restore_snapshot(snapshot, elsewhere, tmp_path) == NAME
    assert points_in(elsewhere) == expected(values)
    assert restore_snapshot(snapshot, store, tmp_path, name="again") == f"again@{MADE.space_id[:8]}"
    assert points_in(store, f"again@{MADE.space_id[:8]}") == expected(values)
    assert points_in(store) == expected({**values, 100: 9.0})


def test_a_collection_without_rows_or_generation_is_restored_as_such(tmp_path: Path) -> None:
    store, elsewhere = LocalStore(tmp_path / "store"), LocalStore(tmp_path / "elsewhere")
    create(store)
    restore_snapshot(take_snapshot(store, NAME, store, tmp_path), elsewhere, tmp_path)
    assert points_in(elsewhere) == {}
    write(store, {1: 1.0}, "a")
    restore_snapshot(take_snapshot(store, NAME, store, tmp_path), elsewhere, tmp_path, name="other")
    assert points_in(elsewhere, f"other@{MADE.space_id[:8]}") == expected({1: 1.0})


def test_writes_and_retries_go_on_in_a_restored_collection(tmp_path: Path) -> None:
    store, elsewhere = LocalStore(tmp_path / "store"), LocalStore(tmp_path / "elsewhere")
    values = filled(store)
    restore_snapshot(take_snapshot(store, NAME, store, tmp_path), elsewhere, tmp_path)
    write(elsewhere, {3: 3.0}, "new")
    write(elsewhere, dict.fromkeys((0, 1, 2)), "c")
    assert points_in(elsewhere) == expected({**values, 3: 3.0})
    for shard in range(NUM_SHARDS):
        keys = [
            one.request_key for entry in read_from(shard_log(elsewhere, shard), read_floor_of(elsewhere, shard)) for one in entry.writes
        ]
        assert len(keys) == len(set(keys))


def read_floor_of(store: Store, shard: int) -> int:
    return read_floor(store, shard_log(store, shard).floor_key)


def test_snapshots_under_write_load_equal_the_oracle_at_their_numbers(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    create(store)
    history: dict[str, dict[int, dict[Id, float]]] = {str(shard): {0: {}} for shard in range(NUM_SHARDS)}
    stop = threading.Event()

    def load(shard: int) -> None:
        values: dict[Id, float] = {}
        ids = [id for id in range(200) if shard_of(id, NUM_SHARDS) == shard]
        with LogWriter(shard_log(store, shard)) as writer:
            for turn in range(100_000):
                if stop.is_set():
                    return
                id = ids[turn * 7 % len(ids)]
                values[id] = float(turn + 1)
                history[str(shard)][writer.append(f"k{turn}", rows(upsert(id, values[id])))] = dict(values)

    threads = [threading.Thread(target=load, args=(shard,)) for shard in range(NUM_SHARDS)]
    for thread in threads:
        thread.start()
    snapshots = []
    for number in range(1, 4):
        snapshots.append(take_snapshot(store, NAME, store, tmp_path))
        build_generation(store, number, drop=number % 2 == 0)
    stop.set()
    for thread in threads:
        thread.join()
    assert sum(max(numbers) for numbers in history.values()) > 20
    for snapshot in snapshots:
        cuts = SnapshotFile.model_validate_json(snapshot.read("snapshot.json")).shards
        elsewhere = LocalStore(tmp_path / snapshot.id)
        restore_snapshot(snapshot, elsewhere, tmp_path / "scratch")
        oracle: dict[Id, float] = {}
        for shard, cut in cuts.items():
            oracle |= history[shard][cut.last]
        assert points_in(elsewhere) == expected(oracle)


def test_a_log_that_is_dropped_while_it_is_copied_asks_to_take_the_snapshot_again(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path / "store")
    filled(store)

    def moves_on() -> None:
        build_generation(LocalStore(store.root), 2, drop=True)

    for key_end in ("manifest.json", ".arrow"):
        store.before = OneTime("get", key_end, moves_on)
        with pytest.raises(TemporaryError, match="moved on while its snapshot was taken: take it again"):
            take_snapshot(store, NAME, store, tmp_path)
        write(LocalStore(store.root), {50: 1.0, 51: 1.0, 52: 1.0, 53: 1.0}, key_end)
    assert not list(store.list("artifacts/"))


def test_what_a_sleeping_writer_puts_below_the_floor_is_in_no_snapshot(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path / "store")
    create(store)
    write(store, dict.fromkeys(range(4), 1.0), "a")  # an object in each shard

    def slept() -> None:
        build_generation(LocalStore(store.root), 1, drop=True)
        for shard in range(NUM_SHARDS):
            shard_log(LocalStore(store.root), shard).append(1, [Write("late", 0, rows(upsert(99, 9.0)))])

    store.before = OneTime("get", ".arrow", slept)
    with pytest.raises(TemporaryError, match="dropped up to 1"):
        take_snapshot(store, NAME, store, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda place: next(place.glob("shards/1/log/*.arrow")).unlink(), "snapshot lacks .*arrow"),
        (lambda place: next(place.glob("shards/1/log/*.arrow")).write_bytes(b"other"), r"\.arrow is corrupt"),
        (lambda place: (place / "shards/1/generations/1/points.json").write_bytes(b"[]"), r"file 'points\.json' .* is corrupt"),
        (lambda place: (place / "shards/1/generations/1/points.json").unlink(), "lacks the file"),
        (lambda place: (place / "shards/1/generations/1/manifest.json").unlink(), "snapshot lacks manifest.json"),
        (lambda place: (place / "shards/1/generations/1/manifest.json").write_bytes(b"{}"), "is not readable"),
        (lambda place: (place / "collection.json").write_bytes(json_bytes(MADE.model_copy(update={"num_shards": 3}))), "expected 3"),
        (lambda place: (place / "snapshot.json").write_bytes(b"{}"), "is not readable"),
    ],
)
def test_a_snapshot_that_does_not_hold_what_it_says_is_refused_before_anything_is_written(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    store, elsewhere = LocalStore(tmp_path / "store"), LocalStore(tmp_path / "elsewhere")
    filled(store)
    place = take_snapshot(store, NAME, store, tmp_path).fetch(tmp_path / "files")
    spoil(place)
    made_elsewhere = write_artifact(store, "snapshot", place, parents=(), code="", settings={})
    with pytest.raises(CorruptArtifact, match=message):
        restore_snapshot(made_elsewhere, elsewhere, tmp_path / "scratch")
    assert list(elsewhere.list("")) == []


def every_file(snapshot: Artifact) -> Iterator[tuple[str, bytes]]:
    for name in ("manifest.json", *snapshot.names()):
        key = f"artifacts/{snapshot.id}/{name}"
        yield key, snapshot.store.get(key)


def test_a_damaged_snapshot_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store, elsewhere = LocalStore(tmp_path / "store"), LocalStore(tmp_path / "elsewhere")
    filled(store)
    snapshot = take_snapshot(store, NAME, store, tmp_path)
    num = 0
    for key, whole in every_file(snapshot):
        for data in [*list(damaged(whole))[:: max(1, len(whole) // 3)], None]:
            (store.root / key).unlink() if data is None else (store.root / key).write_bytes(data)
            with pytest.raises((CorruptArtifact, UserError)):
                restore_snapshot(open_artifact(store, snapshot.id), elsewhere, tmp_path / "scratch")
            assert list(elsewhere.list("")) == []
            num += 1
        (store.root / key).write_bytes(whole)
    assert num > 50
    restore_snapshot(open_artifact(store, snapshot.id), elsewhere, tmp_path / "scratch")


def test_a_damaged_collection_gives_no_snapshot(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    filled(store)
    for shard in range(NUM_SHARDS):
        files = [generation_key(NAME, shard, 1, "points.json"), shard_log(store, shard).key(read_floor_of(store, shard) + 1)]
        for key in files:
            whole = store.get(key)
            store.put(key, whole[:-1] + bytes([whole[-1] ^ 1]))
            with pytest.raises(CorruptArtifact, match=key.rpartition("/")[2]):
                take_snapshot(store, NAME, store, tmp_path)
            store.put(key, whole)
    assert not list(store.list("artifacts/"))


def test_a_restore_never_touches_a_collection_that_is_there(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    values = filled(store)
    snapshot = take_snapshot(store, NAME, store, tmp_path)
    before = {key: store.get(key) for key in store.list("")}
    with pytest.raises(OutputOccupied, match=f"has a collection {NAME} already"):
        restore_snapshot(snapshot, store, tmp_path)
    assert {key: store.get(key) for key in store.list("")} == before
    assert points_in(store) == expected(values)


def test_what_is_left_of_another_collection_of_that_name_does_not_get_into_a_restored_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    filled(store)
    snapshot = take_snapshot(store, NAME, store, tmp_path)
    for number, place in enumerate((1, 50)):
        elsewhere = LocalStore(tmp_path / f"elsewhere-{number}")
        log = shard_log(elsewhere, 0)
        elsewhere.put(log.key(read_floor_of(store, 0) + place), b"left over")
        with pytest.raises(OutputOccupied):
            restore_snapshot(snapshot, elsewhere, tmp_path)
        assert not elsewhere.exists(collection_key(NAME))


def test_a_restore_that_was_killed_is_finished_by_the_next_and_refused_to_another_snapshot(tmp_path: Path) -> None:
    class KilledStore(LocalStore):
        writes_left = 0

        def _written(self, key: str, data: bytes):  # type: ignore[no-untyped-def]
            self.writes_left -= 1
            if self.writes_left < 0:
                raise KeyboardInterrupt
            return super()._written(key, data)

    store = LocalStore(tmp_path / "store")
    values = filled(store)
    snapshot = take_snapshot(store, NAME, store, tmp_path)
    write(store, {77: 7.0}, "more")
    other = take_snapshot(store, NAME, store, tmp_path)
    for num_writes in range(100):
        killed = KilledStore(tmp_path / f"killed-{num_writes}")
        killed.writes_left = num_writes
        try:
            restore_snapshot(snapshot, killed, tmp_path / "scratch")
        except KeyboardInterrupt:
            assert not killed.exists(collection_key(NAME))
        else:
            break
        elsewhere = LocalStore(killed.root)
        if num_writes:
            with pytest.raises(OutputOccupied):
                restore_snapshot(other, elsewhere, tmp_path / "scratch")
        restore_snapshot(snapshot, elsewhere, tmp_path / "scratch")
        assert points_in(elsewhere) == expected(values)
    assert num_writes > 6


def test_other_artifacts_and_names_are_no_snapshots(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    create(store)
    snapshot = take_snapshot(store, NAME, store, tmp_path)
    for name in ("", "../x", "a b", "x" * 65):
        with pytest.raises(UserError, match="expected a snapshot and a collection's name"):
            restore_snapshot(snapshot, store, tmp_path, name=name)
    assert os.listdir(store.root / "collections") == [NAME]
