"""From what serves back to artifacts, the log asked before the generations."""

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from reelspace.core.artifacts import Artifact, write_artifact
from reelspace.core.errors import CorruptArtifact, UserError
from reelspace.core.local_store import LocalStore
from reelspace.search.compute.build import IndexSettings
from reelspace.search.scheduling.promote import Promotion, promote
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.storage.ids import shard_of
from reelspace.search.storage.layout import collection_key, generation_key
from reelspace.search.storage.log import Log
from reelspace.search.storage.rows import Change, Op, rows_of
from reelspace.search.storage.seen_numbers import SeenNumbers
from reelspace.search.storage.writer import LogWriter
from reelspace.search.tools.origins import model_origin, row_id, row_origin
from tests.unit.search.builders import make_collection, make_index, make_table
from tests.unit.search.test_promote import make_encoders

DIMENSION = 8
COLLECTION = make_collection(DIMENSION)
TABLE = make_table(20, DIMENSION)
ROW, NEW_ROW = int(TABLE.ids_N[3]), 1_000


@dataclass(frozen=True, slots=True)
class Place:
    """A store that serves twenty rows and two encoders."""

    store: LocalStore
    root: Path
    index: Artifact
    encoders: Artifact

    def write(self, row: int | UUID, op: Op, request: str) -> None:
        log = Log(self.store, COLLECTION.full_name, shard_of(row, COLLECTION.num_shards), COLLECTION.fields)
        vectors = {"": [1.0] + [0.0] * (DIMENSION - 1)} if op == Op.UPSERT else {}
        payload = {"number": 1} if op == Op.MERGE_PAYLOAD else None
        with LogWriter(log) as writer:
            writer.submit(request, rows_of([Change(op, row, vectors, payload)], COLLECTION.fields)).result()

    def vectors(self) -> Artifact:
        directory = self.root / "vectors"
        directory.mkdir()
        (directory / "vectors.parquet").write_text("vectors")
        return write_artifact(self.store, "vectors", directory, parents=(), code="", settings={})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    store = LocalStore(tmp_path / "store")
    index = make_index(store, tmp_path / "index", TABLE, COLLECTION)
    encoders = make_encoders(store, tmp_path / "encoders", "first")
    promote(store, Promotion(index, encoders, "videos"), tmp_path / "scratch")
    return Place(store, tmp_path, index, encoders)


def test_a_served_model_and_each_version_lead_to_the_repository_that_was_promoted(place: Place) -> None:
    second = make_encoders(place.store, place.root / "second", "second")
    promote(place.store, Promotion(place.index, second, "videos"), place.root / "again")
    expected = {"text_encoder": second, "text_encoder/2": second, "text_encoder/1": place.encoders, "video_encoder": second}
    for text, artifact in expected.items():
        found = model_origin(place.store, text)
        assert found is not None
        assert found.artifacts == (artifact.id,)
        assert ("which serves" in found.found[0]) == (text != "text_encoder/1")
    for text in ("text_encoder/3", "no_encoder", "", "../current", "text_encoder/x", "text_encoder/"):
        assert model_origin(place.store, text) is None


def test_a_row_of_a_generation_leads_to_its_index(place: Place) -> None:
    for row in TABLE.ids_N.tolist():
        found = row_origin(place.store, row)
        assert found is not None
        assert found.artifacts == (place.index.id,)
    for row in (NEW_ROW, 2**64 - 1, UUID(int=ROW)):
        assert row_origin(place.store, row) is None


@pytest.mark.parametrize("row", [ROW, NEW_ROW, UUID(int=7)])
def test_a_row_that_an_update_wrote_leads_to_its_vectors_and_not_to_the_index(place: Place, row: int | UUID) -> None:
    vectors = place.vectors()
    place.write(row, Op.UPSERT, f"upsert:{vectors.id[:40]}:0:0")
    place.write(row, Op.MERGE_PAYLOAD, "a payload changes no origin")
    found = row_origin(place.store, row)
    assert found is not None
    assert found.artifacts == (vectors.id,)


def test_the_last_write_counts(place: Place) -> None:
    vectors = place.vectors()
    place.write(ROW, Op.UPSERT, f"upsert:{vectors.id[:40]}:0:0")
    place.write(ROW, Op.UPSERT, "somebody's request")
    found = row_origin(place.store, ROW)
    assert found is not None
    assert found.artifacts == ()
    assert "somebody's request" in found.found[0]
    assert found.found[1] == "a client wrote it: no artifact of this store is behind it"
    place.write(ROW, Op.DELETE, "gone")
    with pytest.raises(UserError, match=r"was deleted at .*'gone'"):
        row_origin(place.store, ROW)


def test_a_client_that_uses_the_name_of_an_update_is_not_believed(place: Place) -> None:
    for owner in ("ab" * 20, place.encoders.id[:40]):
        place.write(ROW, Op.UPSERT, f"upsert:{owner}:0:0")
        found = row_origin(place.store, ROW)
        assert found is not None
        assert found.artifacts == ()


def test_an_index_that_is_gone_is_named_all_the_same(place: Place) -> None:
    place.store.delete(f"artifacts/{place.index.id}/manifest.json")
    found = row_origin(place.store, ROW)
    assert found is not None
    assert found.artifacts == (place.index.id,)


def test_once_the_log_is_dropped_what_no_index_had_is_not_made_up(place: Place) -> None:
    vectors = place.vectors()
    for number, row in enumerate((ROW, NEW_ROW)):
        place.write(row, Op.UPSERT, f"upsert:{vectors.id[:40]}:0:{number}")
    for shard in range(COLLECTION.num_shards):
        rebuild_shard(place.store, COLLECTION, shard, IndexSettings(), place.root / "rebuilt")
    kept = row_origin(place.store, NEW_ROW)
    assert kept is not None
    assert kept.artifacts == (vectors.id,)
    # The generation before the current one may serve again: the log that it lacks is kept until it is retired, too.
    for shard in range(COLLECTION.num_shards):
        rebuild_shard(place.store, COLLECTION, shard, IndexSettings(), place.root / "rebuilt")
        drop_old(place.store, COLLECTION, shard, SeenNumbers(0.0))
    dropped, indexed = (row_origin(place.store, row) for row in (NEW_ROW, ROW))
    assert dropped is not None
    assert indexed is not None
    assert dropped.artifacts == ()
    assert "not known any more" in dropped.found[0]
    assert indexed.artifacts == (place.index.id,)
    assert "may be newer" in indexed.found[1]


def test_damage_on_the_way_is_an_error(place: Place) -> None:
    shard = shard_of(ROW, COLLECTION.num_shards)
    key = generation_key(COLLECTION.full_name, shard, 1, "ids.npy")
    data = place.store.get(key)
    place.store.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptArtifact, match=r"ids\.npy"):
        row_origin(place.store, ROW)
    place.store.put(key, data)
    place.store.put(collection_key(COLLECTION.full_name, f"claims/{1:020d}.json"), json.dumps([]).encode())
    with pytest.raises(CorruptArtifact, match="claims"):
        row_origin(place.store, ROW)


def test_ids_of_rows_are_read_as_the_search_reads_them() -> None:
    uuid = "12345678-1234-5678-1234-567812345678"
    assert [row_id(text) for text in ("0", str(2**64 - 1), uuid)] == [0, 2**64 - 1, UUID(uuid)]
    for text in (str(2**64), "-1", "1.0", "", "abc", "١٢", "9" * 5_000, uuid.replace("-", "")):
        assert row_id(text) is None
