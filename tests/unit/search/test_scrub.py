"""A byte of a sealed generation that changes in memory or in a mapped file is noticed and named; what a shard may change is no damage."""

import ctypes
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from uuid import UUID

import faiss  # type: ignore[import-untyped]
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from reelspace.core.local_store import LocalStore
from reelspace.search.compute import scrub as scrub_module
from reelspace.search.compute import vector_index
from reelspace.search.compute.build import BuildRows, BuildVectors, IndexSettings, write_generation
from reelspace.search.compute.filters import Filter, Match, encode_filter
from reelspace.search.compute.generation import Placement, open_generation
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.scoring import stored_form
from reelspace.search.compute.scrub import Scrub, Scrubbed
from reelspace.search.compute.scrubbing import Pace, Scrubbing
from reelspace.search.compute.sealed_memory import sealed_parts
from reelspace.search.compute.shard import Shard
from reelspace.search.scheduling.generations import publish_shard
from reelspace.search.storage.entries import Entry, Write
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import Collection, IndexKind, ServedGeneration, VectorSettings
from reelspace.search.storage.rows import Change, Op, rows_of

NUM_ROWS, NUM_UUIDS = 1500, 300
IDS: list[Id] = [*range(NUM_ROWS - NUM_UUIDS), *(UUID(int=number << 64 | 3) for number in range(NUM_UUIDS))]
VECTORS = {"place": VectorSettings(dimension=8, metric="euclid"), "text": VectorSettings(dimension=16)}
MADE = Collection(name="things", space_id="0" * 16, vectors=VECTORS, num_shards=1)
KINDS: list[IndexKind] = ["flat", "ivf_sq8", "ivf_pq", "ivf_pqfs", "hnsw"]
STEP_BYTES = 20_000
NUM_CHANGES = 2000
AT_ONCE = Pace(0.02, 1e12, 1.0)
PATIENCE_S = 20.0


def sealed_rows() -> BuildRows:
    """Rows of which every third has no place, with an indexed key of numbers and one of texts."""
    draw = np.random.default_rng(1)
    payloads = Payloads(("year", "name"))
    payloads.append([orjson.dumps({"year": row % 7, "name": f"n{row % 50}", "row": row}) for row in range(NUM_ROWS)])
    rows_P = np.flatnonzero(np.arange(NUM_ROWS) % 3 > 0)
    place_PD = draw.standard_normal((len(rows_P), 8)).astype(np.float32)
    text_ND = stored_form(draw.standard_normal((NUM_ROWS, 16)).astype(np.float32), "cosine")
    vectors = {"place": BuildVectors(VECTORS["place"], place_PD, rows_P), "text": BuildVectors(VECTORS["text"], text_ND)}
    return BuildRows(SealedIds.of(IDS), vectors, payloads)


class World:
    """A generation of one kind of index in a store."""

    def __init__(self, root: Path, kind: IndexKind) -> None:
        self.root, self.kind, self.store = root, kind, LocalStore(root / "store")
        settings = IndexSettings(kind=kind, flat_below=1, recall_target=0.2, num_recall_queries=16, rerank_factor=4)
        self.manifest = write_generation(sealed_rows(), MADE, 0, settings, root / "files")
        self.served: ServedGeneration = publish_shard(self.store, MADE.full_name, 1, 0, root / "files")

    def open(self, *, mapped: bool = False) -> Shard:
        return open_generation(self.store, self.served, Placement(mapped_in=self.root if mapped else None))

    def path(self, name: str) -> Path:
        return self.store.root / f"collections/{MADE.full_name}/shards/0/generations/1/{name}"


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), request.param)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("flat"), "flat")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub_module, "STEP_BYTES", STEP_BYTES)


def always(*_: object) -> bool:
    return True


def look(scrub: Scrub) -> Scrubbed:
    found = scrub.look(nullcontext(), always, always)
    assert found is not None
    return found


@contextmanager
def flipped(array: NDArray[np.generic], offset: int, bit: int) -> Iterator[None]:
    """Change one bit in memory that nobody may write, as a cosmic ray does."""
    byte = ctypes.c_ubyte.from_address(array.ctypes.data + offset)
    byte.value ^= 1 << bit
    yield
    byte.value ^= 1 << bit


@contextmanager
def flipped_in_file(path: Path, offset: int) -> Iterator[None]:
    """Change a bit of a file in its place, as a disk does."""
    for last in (False, True):
        with path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 16]))
        if not last:
            yield


def index_parts(name: str, kind: IndexKind) -> set[str]:
    lists = {"tables of codes", "centroids", "codes in lists", "places in lists"}
    parts = {"flat": set(), "hnsw": {"tables of codes", "graph", "codes"}}.get(kind, lists)
    return {f"{part} of index {name!r}" for part in parts}


def test_every_part_of_every_kind_is_looked_at(world: World) -> None:
    expected = {"ids", "payloads", "column 'name' of payloads", "column 'year' of payloads"}
    expected |= {"vectors 'place'", "vectors 'text'", "rows of vectors 'place'"}
    expected |= index_parts("place", world.kind) | index_parts("text", world.kind)
    assert {part.name for part in sealed_parts(world.open())} == expected


def test_hardly_a_byte_of_an_index_is_left_out(world: World) -> None:
    shard = world.open()
    for name, index in shard.indexes.items():
        parts = [part for part in sealed_parts(shard) if part.name.endswith(f"of index {name!r}")]
        looked_at = sum(array.nbytes for part in parts for array in part.arrays(shard))
        if index.sealed_index is not None:
            # The sizes of lists, and what describes the index.
            lists_bytes = 16 * (index.facts.index.nlist or 1)
            assert looked_at >= faiss.serialize_index(index.sealed_index).nbytes - lists_bytes - 1000


@pytest.mark.parametrize("mapped", [False, True])
def test_a_flipped_bit_in_memory_is_found_and_its_part_named(world: World, mapped: bool) -> None:
    shard, draw = world.open(mapped=mapped), np.random.default_rng(3)
    scrub = Scrub(shard)
    for part in sealed_parts(shard):
        arrays = [array for array in part.arrays(shard) if array.nbytes]
        assert arrays or mapped or part.name.startswith("tables"), part.name
        for place in [0, len(arrays) - 1, *draw.integers(0, max(1, len(arrays)), 4).tolist()] if arrays else ():
            with flipped(arrays[place], int(draw.integers(arrays[place].nbytes)), int(draw.integers(8))):
                assert look(scrub).damage == part.name
    assert look(scrub).damage is None


def test_a_flipped_bit_of_a_mapped_file_is_found_and_the_file_named(world: World) -> None:
    shard, draw = world.open(mapped=True), np.random.default_rng(4)
    scrub = Scrub(shard)
    names = {file.name for file in shard.mapped_files}
    indexes = set() if world.kind == "flat" else {"index-0.faiss", "index-1.faiss"}
    assert names == {"vectors-0.npy", "vectors-1.npy", "rows-0.npy"} | indexes
    for name in sorted(names):
        size_bytes = world.path(name).stat().st_size
        for offset in (0, size_bytes - 1, *draw.integers(0, size_bytes, 4).tolist()):
            with flipped_in_file(world.path(name), offset):
                assert look(scrub).damage == name
    assert look(scrub).damage is None


def test_all_bytes_are_compared_and_two_looks_agree(world: World) -> None:
    for mapped in (False, True):
        shard = world.open(mapped=mapped)
        scrub = Scrub(shard)
        num_bytes = sum(array.nbytes for part in sealed_parts(shard) for array in part.arrays(shard))
        num_bytes += sum(file.size_bytes for file in shard.mapped_files)
        assert look(scrub) == look(scrub) == Scrubbed(num_bytes, None)


def test_a_mapped_file_that_is_gone_is_whole_and_one_cut_short_or_grown_is_damaged(flat: World) -> None:
    shard, path = flat.open(mapped=True), flat.path("vectors-1.npy")
    scrub, good = Scrub(shard), path.read_bytes()
    for length in (len(good) - 1, 0, len(good) + 1):
        with path.open("r+b") as file:
            file.truncate(length)
        assert look(scrub).damage == "vectors-1.npy"
        with path.open("r+b") as file:
            file.write(good)
            file.truncate(len(good))
    assert look(scrub).damage is None
    path.unlink()
    assert look(scrub).damage is None, "it is mapped and held open"
    path.write_bytes(good)


def random_change(draw: np.random.Generator) -> Change:
    id = IDS[draw.integers(NUM_ROWS)] if draw.random() < 0.5 else int(draw.integers(10_000, 11_000))
    kind = draw.integers(10)
    if kind < 6:
        vectors = {"text": draw.standard_normal(16)}
        if draw.random() < 0.6:
            vectors["place"] = draw.standard_normal(8)
        return Change(Op.UPSERT, id, vectors, {"year": int(draw.integers(9)), "name": f"m{draw.integers(99)}"})
    if kind < 8:
        return Change(Op.DELETE, id)
    return Change(Op.MERGE_PAYLOAD, id, payload={"year": int(draw.integers(9)), "extra": str(draw.integers(9))})


@pytest.mark.parametrize("mapped", [False, True])
def test_2000_legal_changes_raise_no_alarm(world: World, mapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "GROW_ROWS", 50)
    monkeypatch.setattr(vector_index, "GROW_AT_ONCE", 16)
    shard, draw = world.open(mapped=mapped), np.random.default_rng(5)
    scrub = Scrub(shard)
    keys = [("year", "name"), ("extra", "year"), (), ("name",), ("extra",), ("name", "year")]
    columns = [array for part in sealed_parts(shard) if part.name.startswith("column") for array in part.arrays(shard)]
    rest_bytes = look(scrub).num_bytes - sum(array.nbytes for array in columns)
    for number in range(NUM_CHANGES // 20):
        changes = [random_change(draw) for _ in range(20)]
        shard.apply(Entry(number + 1, (Write(f"k{number}", number, rows_of(changes, MADE.fields)),)))
        where = encode_filter(Filter(must=(Match("year", (int(draw.integers(9)),)),)))
        shard.search(stored_form(draw.standard_normal((2, 16)).astype(np.float32), "cosine"), 5, using="text", where=where)
        if number % 10 == 9:
            shard.payloads.keep_columns(keys[number // 10 % len(keys)])
            while shard.payloads.read_ahead(64):
                pass
        assert look(scrub).damage is None
    assert shard.num_unsealed > NUM_CHANGES / 2
    assert (shard.indexes["text"].num_grown > 0) == (world.kind.startswith("ivf"))
    assert look(scrub).num_bytes == rest_bytes, "columns that are kept no more are left out"


def test_damage_is_found_after_changes_too(world: World) -> None:
    shard, draw = world.open(), np.random.default_rng(6)
    scrub = Scrub(shard)
    for number in range(20):
        changes = [random_change(draw) for _ in range(50)]
        shard.apply(Entry(number + 1, (Write(f"k{number}", number, rows_of(changes, MADE.fields)),)))
    for part in sealed_parts(shard):
        arrays = [array for array in part.arrays(shard) if array.nbytes]
        if arrays:
            # The first bytes of what grew are sealed ones.
            with flipped(arrays[0], 0, 3):
                assert look(scrub).damage == part.name


@pytest.mark.parametrize("world", ["ivf_sq8", "ivf_pq", "ivf_pqfs"], indirect=True)
def test_lists_that_lie_elsewhere_are_damage_of_their_centroids(world: World) -> None:
    shard = world.open()
    scrub = Scrub(shard)
    quantizer = faiss.downcast_index(shard.indexes["text"].sealed_index.quantizer)
    centroids_LD = quantizer.reconstruct_n(0, quantizer.ntotal)
    quantizer.reset()
    quantizer.add(np.ascontiguousarray(centroids_LD[::-1]))
    assert look(scrub).damage == "centroids of index 'text'"


def test_a_look_at_a_shard_that_is_loaded_no_more_ends_at_once_and_tells_nothing(flat: World) -> None:
    shard = flat.open()
    scrub, steps = Scrub(shard), []
    [array] = next(part for part in sealed_parts(shard) if part.name == "vectors 'text'").arrays(shard)

    def rest(num_bytes: int, _seconds: float) -> bool:
        steps.append(num_bytes)
        return True

    with flipped(array, 5, 1):
        assert scrub.look(nullcontext(), lambda: len(steps) < 3, rest) is None
    assert len(steps) == 3
    assert scrub.look(nullcontext(), always, lambda *_: False) is None
    gone = weakref.ref(shard)
    del shard, array
    gc.collect()
    assert gone() is None, "a scrub keeps no shard"
    assert scrub.look(nullcontext(), lambda: False, always) is None


class Turn:
    """A shard's turn, and the longest time that a core worked in it."""

    def __init__(self) -> None:
        self.longest_s = self._begun_s = 0.0
        self.is_held = False

    def __enter__(self) -> None:
        self.is_held, self._begun_s = True, time.thread_time()

    def __exit__(self, *_: object) -> None:
        self.is_held, self.longest_s = False, max(self.longest_s, time.thread_time() - self._begun_s)


def test_the_turn_is_held_for_less_than_a_millisecond_and_not_while_bytes_are_compared(world: World) -> None:
    turn, steps = Turn(), []

    def rest(num_bytes: int, _seconds: float) -> bool:
        assert not turn.is_held
        steps.append(num_bytes)
        return True

    assert Scrub(shard := world.open()).look(turn, always, rest) is not None
    assert shard.num_rows == NUM_ROWS
    assert turn.longest_s < 0.001
    assert max(steps) <= STEP_BYTES


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "in vain"
        time.sleep(0.002)


class Host:
    """Shards that are loaded, as a host has them, and what it heard of damage."""

    def __init__(self, *shards: Shard) -> None:
        self.loaded = [(one, Scrub(one)) for one in shards]
        self.told: list[tuple[Scrub, str]] = []
        self.turn = threading.Lock()

    @contextmanager
    def scrubbing(self, pace: Pace = AT_ONCE) -> Iterator[Scrubbing]:
        made = Scrubbing(self.turn, lambda: [scrub for _, scrub in self.loaded], lambda *damage: self.told.append(damage), pace)
        try:
            yield made
        finally:
            made.close()


def test_a_flip_is_told_once_within_a_period_and_the_next_shard_is_looked_at_again(world: World) -> None:
    host = Host(world.open())
    shard, scrub = host.loaded[0]
    [array] = next(part for part in sealed_parts(shard) if part.name == "vectors 'text'").arrays(shard)
    with host.scrubbing() as scrubbing:
        until(lambda: scrubbing.num_scrubbed > 2)
        assert (scrubbing.damage, host.told) == (None, [])
        assert scrubbing.last_s is not None
        with flipped(array, 77, 2):
            begun_s = time.monotonic()
            until(lambda: bool(host.told))
            assert time.monotonic() - begun_s < 3 * AT_ONCE.period_s + 2 * scrubbing.last_s + 0.2
            before = scrubbing.num_scrubbed
            time.sleep(5 * AT_ONCE.period_s)
            assert host.told == [(scrub, "vectors 'text'")]
            assert (scrubbing.damage, scrubbing.num_scrubbed) == ("vectors 'text'", before)
            assert scrubbing.is_damaged(scrub)
            next_one = world.open()
            host.loaded = [(next_one, Scrub(next_one))]
            assert (scrubbing.damage, scrubbing.is_damaged(host.loaded[0][1])) == (None, False)
            until(lambda: scrubbing.num_scrubbed > before + 2)
    assert len(host.told) == 1


def test_one_damaged_shard_keeps_no_other_from_being_looked_at(flat: World) -> None:
    host = Host(flat.open(), flat.open())
    arrays = [next(part for part in sealed_parts(one) if part.name == "ids").arrays(one) for one, _ in host.loaded]
    with host.scrubbing() as scrubbing, flipped(next(iter(arrays[0])), 3, 0):
        until(lambda: len(host.told) == 1)
        before = scrubbing.num_scrubbed
        until(lambda: scrubbing.num_scrubbed > before + 2)
        with flipped(next(iter(arrays[1])), 3, 0):
            until(lambda: len(host.told) == 2)
    assert [scrub for scrub, _ in host.told] == [scrub for _, scrub in host.loaded]


def test_the_pace_keeps_to_bytes_a_second_and_to_its_share_of_a_core(flat: World) -> None:
    host = Host(flat.open())
    num_bytes = look(host.loaded[0][1]).num_bytes
    with host.scrubbing(Pace(0.01, 2 * num_bytes, 1.0)) as scrubbing:
        until(lambda: scrubbing.num_scrubbed > 0)
        assert scrubbing.last_s is not None
        assert scrubbing.last_s >= 0.45
    with host.scrubbing(Pace(0.01, 1e12, 0.01)) as scrubbing:
        until(lambda: scrubbing.num_scrubbed > 0)
        assert scrubbing.last_s is not None
        [core_s] = core_times(host.loaded[0][1])
        assert scrubbing.last_s >= 20 * core_s


def core_times(scrub: Scrub) -> list[float]:
    begun_s = time.thread_time()
    look(scrub)
    return [time.thread_time() - begun_s]


def test_closing_ends_a_look_that_rests(flat: World) -> None:
    host = Host(flat.open())
    with host.scrubbing(Pace(0.001, 10.0, 1.0)):
        time.sleep(0.05)
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 1.0
