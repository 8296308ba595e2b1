"""Any damage of any file of a collection is refused naming a file, or changes no answer; and what serves goes on serving."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

import reelspace.search
from reelspace.core.errors import CorruptArtifact, ReelspaceError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.local_shard import LocalShard
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.access.shard_client import ShardFailed
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import Count, Retrieve, ShardQuery
from reelspace.search.embedded import EmbeddedCollection
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.storage.ids import Id, ids_of_words, shard_of
from reelspace.search.storage.layout import (
    Collection,
    CurrentGenerations,
    PayloadSchema,
    VectorSettings,
    collection_key,
    json_bytes,
    read_collection,
    read_file,
)
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default, replace_file
from reelspace.search.storage.rows import Change, Op
from reelspace.search.storage.seen_numbers import SeenNumbers
from reelspace.search.storage.snapshot import take_snapshot

IVF = IndexSettings(flat_below=1, recall_target=1.0, num_recall_queries=16)
VECTORS = {"place": VectorSettings(dimension=2, metric="euclid"), "text": VectorSettings(dimension=4)}
IDS: list[Id] = [*range(40), *(UUID(int=number << 64 | 3) for number in range(20))]
QUERIES = {"place": [[0.3, -0.2], [-1.0, 1.0]], "text": [[1.0, 0.2, 0.0, -0.4], [0.0, -1.0, 0.5, 0.1]]}
SMALL_BYTES = 4096
FILES = ["collection.json", "current.json", "names.json", "payload_schema.json", "floor.json", "manifest.json", "log"]
FILES += ["ids.npy", "uuids.npy", "payload.arrow", "vectors-0.npy", "rows-0.npy", "index-0.faiss", "vectors-1.npy", "index-1.faiss"]
# A pointer that leads elsewhere is found out where it leads.
ALSO_NAMED = {"current.json": "manifest.json"}


def write_rows(collection: EmbeddedCollection, ids: list[Id], seed: int, names: tuple[str, ...]) -> None:
    draw = np.random.default_rng(seed)
    vectors = {name: draw.standard_normal((len(ids), VECTORS[name].dimension)) for name in names}
    collection.upsert(ids, vectors, [{"year": int(draw.integers(4)), "name": str(id)[:8]} for id in ids])


class World:
    """A database of two shards: an IVF generation each of named vectors, rows with and without, and a log with a floor beyond."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with reelspace.search.open(root) as database:
            collection = database.create_collection("things", VECTORS, num_shards=2)
            write_rows(collection, IDS, 1, ("text",))
            write_rows(collection, IDS[:50], 2, ("place", "text"))
            collection.optimize(IVF)
            write_rows(collection, IDS[5:9] + IDS[50:52], 3, ("place", "text"))
            collection.delete(IDS[11:14])
            collection.set_payload({"year": 9}, IDS[20:24])
        store = LocalStore(root)
        self.made = read_collection(store, read_or_default(store, Names, NAMES_KEY).collections["things"])
        for shard in range(2):
            drop_old(store, self.made, shard, SeenNumbers(0.0))  # what the generation before the current one held
        with reelspace.search.open(root) as database:
            database.collection("things").optimize(IVF)
            write_rows(database.collection("things"), IDS[30:36], 4, ("place", "text"))
            write_rows(database.collection("things"), IDS[40:44], 5, ("text",))
        for shard in range(2):
            drop_old(store, self.made, shard, SeenNumbers(0.0))
        self.schema_key = collection_key(self.made.full_name, "payload_schema.json")
        replace_file(store, PayloadSchema, self.schema_key, lambda _: PayloadSchema(keys={"year": "integer"}))
        self.expected = self.answers()

    def answers(self) -> object:
        """Everything that a client can learn, as plain values."""
        schema = read_or_default(LocalStore(self.root), PayloadSchema, self.schema_key)
        with reelspace.search.open(self.root) as database:
            collection = database.collection("things")
            rows = [
                (one.id, one.payload, {name: vector_D.tolist() for name, vector_D in (one.vectors or {}).items()})
                for one in collection.get(IDS, with_vectors=True)
            ]
            where = {"must": [{"key": "year", "match": {"value": 9}}]}
            hits = [
                collection.search(query, 60, using=using, where=condition, with_payload=True)
                for using, queries in QUERIES.items()
                for query in queries
                for condition in (None, where)
            ]
            return database.names, schema, rows, [one.id for one in collection.scroll(100)], collection.count(where), hits

    def path(self, name: str, shard: int = 0) -> Path:
        """Give the file of a kind: of shard 0 where each has one, of the current generation, of the last object of the log."""
        collection = self.root / "collections" / self.made.full_name
        log = collection / "shards" / str(shard) / "log"
        if name == "log":
            return max(log.glob("*.arrow"))
        folders = {"names.json": self.root / "collections", "floor.json": log}
        if name in ("collection.json", "current.json", "payload_schema.json"):
            return collection / name
        newest = max((collection / "shards" / str(shard) / "generations").iterdir(), key=lambda path: int(path.name))
        return folders.get(name, newest) / name

    def check(self, path: Path, *, must_refuse: bool) -> bool:
        """Open the damaged database and tell whether it was refused; it names the file, or answers as before."""
        key, found, refusal = path.relative_to(self.root).as_posix(), None, ""
        try:
            found = self.answers()
        except ReelspaceError as error:
            refusal = str(error)
        if refusal:
            assert key in refusal or ALSO_NAMED.get(path.name, key) in refusal
            return True
        assert found == self.expected
        assert not must_refuse, f"{key} was taken for whole"
        return False


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to the files, it puts them back, and the answers are the first ones."""
    yield
    if "world" in request.fixturenames:
        world = request.getfixturevalue("world")
        assert world.answers() == world.expected


def each_damage(world: World, name: str, damages: Callable[[bytes], Iterator[bytes]], *, must_refuse: bool) -> int:
    path = world.path(name)
    good, num_refused, num = path.read_bytes(), 0, 0
    try:
        for bad in damages(good):
            path.write_bytes(bad)
            num_refused += world.check(path, must_refuse=must_refuse)
            num += 1
    finally:
        path.write_bytes(good)
    assert num_refused > num / 2
    return num


def flips(most: int, seed: int) -> Callable[[bytes], Iterator[bytes]]:
    """Change some bytes, each alone, in one bit or in all of it."""

    def damages(good: bytes) -> Iterator[bytes]:
        draw = random.Random(seed)
        for place in sorted(draw.sample(range(len(good)), min(most, len(good)))):
            yield good[:place] + bytes([good[place] ^ draw.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])]) + good[place + 1 :]

    return damages


def cuts(most: int, seed: int) -> Callable[[bytes], Iterator[bytes]]:
    return lambda good: (good[:length] for length in sorted(random.Random(seed).sample(range(len(good)), min(most, len(good)))))


def may_mean_nothing(name: str) -> bool:
    """Tell whether some bytes mean nothing: when and how often a pointer was flipped, and what the manifest says again."""
    return name == "current.json"


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_refused_naming_the_file_or_means_nothing(world: World, name: str) -> None:
    each_damage(world, name, flips(25, seed=1), must_refuse=not may_mean_nothing(name))


def test_another_number_of_shards_is_refused_naming_the_collections_file(world: World) -> None:
    assert each_damage(world, "collection.json", lambda good: iter([good.replace(b'"num_shards":2', b'"num_shards":6')]), must_refuse=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_is_refused_naming_the_file_or_means_nothing(world: World, name: str) -> None:
    size = world.path(name).stat().st_size
    num = each_damage(
        world, name, flips(size if size <= SMALL_BYTES else 2000, random.randrange(10**9)), must_refuse=not may_mean_nothing(name)
    )
    print(f"{name}: {num} flips of {size} bytes")


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_empty_or_grown_is_refused_naming_it(world: World, name: str) -> None:
    each_damage(
        world, name, lambda good: iter([b"", good[:1], good[: len(good) // 2], good[:-1], good + b"\0", good + good]), must_refuse=True
    )


def test_a_log_object_cut_anywhere_is_refused_naming_it(world: World) -> None:
    each_damage(world, "log", cuts(40, seed=2), must_refuse=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_log_object_cut_at_every_length_is_refused_naming_it(world: World) -> None:
    assert each_damage(world, "log", cuts(10**9, seed=2), must_refuse=True) == world.path("log").stat().st_size


@pytest.mark.parametrize(
    "name", [name for name in FILES if name not in ("collection.json", "current.json", "names.json", "payload_schema.json")]
)
def test_the_file_of_another_shard_is_refused_naming_it(world: World, name: str) -> None:
    other = world.path(name, shard=1).read_bytes()
    assert other != world.path(name).read_bytes()
    each_damage(world, name, lambda _: iter([other]), must_refuse=True)


@pytest.mark.parametrize(
    ("name", "other"),
    [("vectors-0.npy", "vectors-1.npy"), ("index-0.faiss", "index-1.faiss"), ("names.json", "payload_schema.json")],
)
def test_another_file_of_the_collection_is_refused_naming_it(world: World, name: str, other: str) -> None:
    each_damage(world, name, lambda _: iter([world.path(other).read_bytes()]), must_refuse=True)


@pytest.mark.parametrize("name", ["collection.json", "current.json", "payload_schema.json"])
def test_the_file_of_another_collection_is_refused(world: World, name: str, tmp_path: Path) -> None:
    other = World(tmp_path)
    each_damage(world, name, lambda _: iter([other.path(name).read_bytes()]), must_refuse=True)


def test_an_object_of_the_log_that_is_gone_is_missed_by_name(world: World) -> None:
    path = sorted(world.path("log").parent.glob("*.arrow"))[-2]
    hidden = path.with_name("hidden")
    path.rename(hidden)
    try:
        with pytest.raises(CorruptArtifact, match=path.name):
            world.answers()
    finally:
        hidden.rename(path)


def test_a_snapshot_taken_by_a_pointer_that_counts_the_log_wrongly_is_refused(world: World, tmp_path: Path) -> None:
    store, key = LocalStore(world.root), collection_key(world.made.full_name, "current.json")
    good = read_file(store, CurrentGenerations, key)
    for wrong in (good.shards["0"].contains_log - 1, good.shards["0"].contains_log + 1):
        state = good.shards["0"].model_copy(update={"contains_log": wrong})
        store.put(key, json_bytes(good.model_copy(update={"shards": good.shards | {"0": state}})))
        with pytest.raises(CorruptArtifact, match=key):
            take_snapshot(store, world.made.full_name, store, tmp_path)
    store.put(key, json_bytes(good))
    assert take_snapshot(store, world.made.full_name, store, tmp_path)


def test_what_serves_goes_on_when_the_next_object_or_generation_is_damaged_and_moves_on_when_it_is_whole(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    store = LocalStore(world.root)
    first, second = [id for id in IDS[36:] if shard_of(id, 2) == 0][:2]
    with ShardHost(store, world.made, 0, Hosting(poll_s=3600.0)) as host:
        rows, generation, number, best = host.num_rows, host.generation, host.applied, top(host)
        delete(store, world.made, first)
        path = world.path("log")
        good = damage(path)
        with pytest.raises(CorruptArtifact, match=path.name):
            host.refresh()
        assert (host.num_rows, host.applied, top(host)) == (rows, number, best)
        path.write_bytes(good)
        host.refresh()
        assert (host.num_rows, host.applied) == (rows - 1, number + 1)
        served = rebuild_shard(store, world.made, 0, IVF, tmp_path / "scratch")
        path = world.path("index-0.faiss")
        good = damage(path)
        delete(store, world.made, second)  # is seen all the same
        with pytest.raises(CorruptArtifact, match=path.name):
            host.refresh()
        assert (host.generation, host.read(Count(b"")), host.read(Retrieve((second,)))) == (generation, rows - 2, [])
        path.write_bytes(good)
        host.refresh()
        assert (host.generation, host.read(Count(b"")), host.read(Retrieve((second,)))) == (served.generation, rows - 2, [])


def top(host: ShardHost) -> list[Id]:
    answer = host.search([ShardQuery(np.array(QUERIES["text"][0], dtype=np.float32), 5, "text")])
    return ids_of_words(answer.ids_QK3[0])


def delete(store: LocalStore, made: Collection, id: Id) -> None:
    with closing(LogWriters(store, made)) as writers:
        for future in writers.submit(f"delete {id}", [Change(Op.DELETE, id)]).values():
            future.result()


def damage(path: Path) -> bytes:
    """Flip a byte in the middle and give what was there."""
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 1]) + good[len(good) // 2 + 1 :])
    return good


def test_a_gateway_that_looks_at_the_log_first_goes_on_when_the_next_object_is_damaged_and_fails_who_waits_for_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    store = LocalStore(world.root)
    first = next(id for id in IDS[36:] if shard_of(id, 2) == 0)
    query = ShardQuery(np.array(QUERIES["text"][0], dtype=np.float32), 5, "text")

    async def run(host: ShardHost, executor: ThreadPoolExecutor) -> None:
        shard = LocalShard(host, executor)
        before = await shard.search([query], 5.0)
        delete(store, world.made, first)
        damage(world.path("log"))
        after = await shard.search([query], 5.0)
        assert np.array_equal(after.ids_QK3, before.ids_QK3)
        with pytest.raises(ShardFailed, match="corrupt"):
            await shard.sync(host.applied + 1, 5.0)

    hosting = Hosting(poll_s=3600.0, looks_first=True)
    with ShardHost(store, world.made, 0, hosting) as host, ThreadPoolExecutor(1) as executor:
        asyncio.run(run(host, executor))


def test_a_generation_that_cannot_be_loaded_is_not_tried_again_at_every_look(tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    store = CountingStore(world.root)
    with ShardHost(store, world.made, 0, Hosting(poll_s=3600.0)) as host:
        served = rebuild_shard(LocalStore(world.root), world.made, 0, IVF, tmp_path / "scratch")
        good = damage(world.path("index-0.faiss"))
        store.num_read = 0
        while not store.num_read:
            host.tell()
        for _ in range(20):
            host.tell()
            time.sleep(0.01)
        assert store.num_read == 1
        world.path("index-0.faiss").write_bytes(good)
        host.refresh()
        assert host.generation == served.generation


class CountingStore(LocalStore):
    """Counts how often an index is read."""

    num_read = 0

    def get(self, key: str) -> bytes:
        self.num_read += key.endswith("index-0.faiss")
        return super().get(key)
