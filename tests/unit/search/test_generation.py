from pathlib import Path

import numpy as np
import pytest

from reelspace.core.artifacts import write_artifact
from reelspace.core.errors import ArtifactMissing, CorruptArtifact
from reelspace.core.store import LocalStore
from reelspace.search.compute.build import IndexSettings, write_index
from reelspace.search.compute.generation import IDS, MANIFEST, PAYLOAD, UUIDS, Placement, open_generation
from reelspace.search.scheduling.generations import PublishedGeneration, publish_generation

from .builders import exact_ids, ids_of, make_collection, make_index, make_queries, make_table

NAMES = (IDS, UUIDS, PAYLOAD, "vectors-0.npy", MANIFEST)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def published(store: LocalStore, tmp_path: Path) -> PublishedGeneration:
    return publish_generation(store, make_index(store, tmp_path / "index", make_table(60)), tmp_path / "fetched")


def path_of(store: LocalStore, name: str, shard: int = 0) -> Path:
    return store.root / f"collections/videos@00112233/shards/{shard}/generations/1/{name}"


def test_loaded_shards_answer_like_brute_force(store: LocalStore, published: PublishedGeneration) -> None:
    table, queries_QD = make_table(60), make_queries(5)
    shards = [open_generation(store, served) for served in published.shards]
    assert sum(shard.num_rows for shard in shards) == 60
    for query_D, exact in zip(queries_QD, exact_ids(table, queries_QD, 60), strict=True):
        found = [(shard.search(query_D[None], shard.num_rows), shard) for shard in shards]
        ids = np.concatenate([ids_of(shard, rows.rows_QK)[0] for rows, shard in found])
        scores = np.concatenate([rows.scores_QK[0] for rows, _ in found])
        assert ids[np.lexsort((ids, -scores))][:60].tolist() == exact


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_anywhere_is_refused_naming_the_file(store: LocalStore, published: PublishedGeneration, name: str) -> None:
    path = path_of(store, name)
    good = path.read_bytes()
    offsets = {0, len(good) - 1, *np.random.default_rng(5).integers(0, len(good), 60).tolist()}
    for offset in sorted(offsets):
        bad = bytearray(good)
        bad[offset] ^= 1 << (offset % 8)
        path.write_bytes(bad)
        with pytest.raises(CorruptArtifact, match=name.replace(".", r"\.")):
            open_generation(store, published.shards[0])
    path.write_bytes(good)
    assert open_generation(store, published.shards[0]).num_rows


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_short_or_grown_is_refused(store: LocalStore, published: PublishedGeneration, name: str) -> None:
    path = path_of(store, name)
    good = path.read_bytes()
    for bad in (b"", good[:-1], good[: len(good) // 2], good + b"\0"):
        path.write_bytes(bad)
        with pytest.raises(CorruptArtifact, match=name.replace(".", r"\.")):
            open_generation(store, published.shards[0])


def test_a_file_of_another_shard_is_refused(store: LocalStore, published: PublishedGeneration) -> None:
    path_of(store, "vectors-0.npy").write_bytes(path_of(store, "vectors-0.npy", shard=1).read_bytes())
    with pytest.raises(CorruptArtifact, match=r"shards/0/generations/1/vectors-0\.npy"):
        open_generation(store, published.shards[0])


def test_a_missing_file_is_named(store: LocalStore, published: PublishedGeneration) -> None:
    path_of(store, "ids.npy").unlink()
    with pytest.raises(ArtifactMissing, match=r"ids\.npy"):
        open_generation(store, published.shards[0])


IVF = IndexSettings(flat_below=1, recall_target=0.9, num_recall_queries=16)


def test_mapped_files_answer_like_those_in_memory_also_from_copies(store: LocalStore, tmp_path: Path) -> None:
    table, queries_QD = make_table(400, clusters=20), make_queries(20)
    write_index(table, make_collection(num_shards=1), IVF, tmp_path / "index")
    index = write_artifact(store, "index", tmp_path / "index", parents=(), code="", settings={})
    [served] = publish_generation(store, index, tmp_path / "fetched").shards
    resident = open_generation(store, served).search(queries_QD, 10)
    for place in (store, ElsewhereStore(store)):
        mapped = open_generation(place, served, Placement(mapped_in=tmp_path / "mapped"))
        assert isinstance(mapped.indexes[""].gather(np.arange(400)).base, np.memmap)
        found = mapped.search(queries_QD, 10)
        assert (found.rows_QK == resident.rows_QK).all()
        assert (found.scores_QK == resident.scores_QK).all()


def test_a_copy_that_went_bad_is_fetched_again_and_a_mapped_file_that_is_bad_is_refused(
    store: LocalStore, published: PublishedGeneration, tmp_path: Path
) -> None:
    placement = Placement(mapped_in=tmp_path / "mapped")
    open_generation(ElsewhereStore(store), published.shards[0], placement)
    [copy] = (tmp_path / "mapped").rglob("vectors-0.npy")
    copy.write_bytes(copy.read_bytes()[:-1] + b"\x01")
    open_generation(ElsewhereStore(store), published.shards[0], placement)
    path = path_of(store, "vectors-0.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CorruptArtifact, match=r"vectors-0\.npy"):
        open_generation(store, published.shards[0], placement)


class ElsewhereStore:
    """A store that is no directory as far as anybody can tell."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)
