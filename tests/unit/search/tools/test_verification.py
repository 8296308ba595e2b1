"""A whole store has nothing damaged, and every kind of damage is named by its place."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import reelspace.search
from reelspace.core.local_store import LocalStore
from reelspace.search.compute.build import IndexSettings
from reelspace.search.scheduling.generations import create_collection_file
from reelspace.search.storage.layout import Collection, CurrentGenerations, VectorSettings, collection_key, json_bytes, read_file
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file
from reelspace.search.tools import shard_verifier
from reelspace.search.tools.named import open_named
from reelspace.search.tools.verification import lines, verify_store

NUM_ROWS = 240


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards with a rebuilt generation, and rows, deletes and payload edits beyond it; one vector is not in every row."""
    directory = tmp_path_factory.mktemp("whole")
    draw = np.random.default_rng(0)
    settings = {"text": VectorSettings(dimension=4), "place": VectorSettings(dimension=2, metric="euclid")}
    with reelspace.search.open(str(directory)) as database:
        made = database.create_collection("things", settings, num_shards=2)
        made.upsert(range(NUM_ROWS), {"text": draw.standard_normal((NUM_ROWS, 4)), "place": draw.standard_normal((NUM_ROWS, 2))})
        made.optimize(IndexSettings(flat_below=1, recall_target=0.9, num_recall_queries=16))
        made.upsert(range(NUM_ROWS, NUM_ROWS + 20), {"text": draw.standard_normal((20, 4))})
        made.delete([3, 4, 10_000])
        made.set_payload({"a": 1}, [5, 10_000])
    return directory


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> LocalStore:
    """A copy to damage."""
    return LocalStore(Path(shutil.copytree(whole, tmp_path / "store")))


def paths(store: LocalStore, ending: str) -> list[Path]:
    return sorted(path for path in store.root.glob("collections/**/*") if path.is_file() and str(path).endswith(ending))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_store_is_counted_row_by_row_and_searched(store: LocalStore) -> None:
    found = verify_store(store)
    assert found.damages == []
    assert sum(check.num_rows or 0 for check in found.shards) == NUM_ROWS + 20 - 2
    assert all(check.recall["text"] > 0.85 and check.recall["place"] > 0.85 for check in found.shards)
    assert sum(check.num_files for check in found.shards) == len([one for one in paths(store, "") if "/generations/" in str(one)]) - 4
    assert lines(found)[-1] == "0 damages"


@pytest.mark.parametrize(
    "ending", ["index-0.faiss", "vectors-1.npy", "ids.npy", "payload.arrow", "manifest.json", ".arrow", "collection.json", "names.json"]
)
def test_a_flipped_bit_is_named_by_its_file_and_what_is_whole_stays_so(store: LocalStore, ending: str) -> None:
    damaged = paths(store, ending)[-1]
    flip(damaged)
    found = verify_store(store)
    assert str(damaged.relative_to(store.root)) in {damage.place for damage in found.damages}
    assert all(check.num_rows is not None for check in found.shards if not check.damages)


def lose_a_log_object(store: LocalStore) -> str:
    log = [path for path in paths(store, ".arrow") if "/shards/0/log/" in str(path)]
    log[-2].unlink()
    return str(log[-2].relative_to(store.root))


def lose_a_file(store: LocalStore) -> str:
    path = paths(store, "uuids.npy")[0]
    path.unlink()
    return str(path.relative_to(store.root))


def point_beyond_the_log(store: LocalStore) -> str:
    full_name = open_named(store, "things").full_name
    key = collection_key(full_name, "current.json")
    current = read_file(store, CurrentGenerations, key)
    shards = current.shards | {"0": current.shards["0"].model_copy(update={"contains_log": 99})}
    store.put(key, json_bytes(current.model_copy(update={"shards": shards})))
    return collection_key(full_name, "shards/0/log/floor.json")


def forget_the_collection(store: LocalStore) -> str:
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("lost", "lost@00112233"))
    return "collections/lost@00112233/collection.json"


@pytest.mark.parametrize("harm", [lose_a_log_object, lose_a_file, point_beyond_the_log, forget_the_collection])
def test_what_is_missing_or_does_not_fit_is_named(store: LocalStore, harm: Callable[[LocalStore], str]) -> None:
    assert harm(store) in {damage.place for damage in verify_store(store).damages}


def test_an_index_that_finds_too_little_is_named(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_verifier, "recall_of", lambda found, exact: 0.8)
    damages = verify_store(store).damages
    assert {damage.place for damage in damages} == {f"shard {shard} of {open_named(store, 'things').full_name}" for shard in (0, 1)}
    assert "recall at 10 of vector 'text' is 0.800" in damages[0].problem + damages[1].problem


def test_a_collection_that_is_half_made_and_has_no_name_is_no_damage_and_with_a_name_it_is_one(store: LocalStore) -> None:
    half = Collection(name="half", space_id="1" * 16, vectors={"": VectorSettings(dimension=2)}, num_shards=1)
    create_collection_file(store, half)
    assert verify_store(store).damages == []
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("half", half.full_name))
    assert "current.json" in " ".join(damage.place for damage in verify_store(store).damages)
