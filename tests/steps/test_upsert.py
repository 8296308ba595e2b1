"""The upsert step: works that an update brought go into the collection that serves, once, and only past the gate."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.errors import ArtifactMissing, GateRefused, UserError
from reelspace.core.store import LocalStore
from reelspace.search.scheduling.promote import Promotion, promote
from reelspace.search.storage.layout import shard_of_ids
from reelspace.search.storage.log import Log, log_numbers
from reelspace.steps import upsert
from reelspace.steps.embed import fixed_size_list
from tests.unit.search.builders import SPACE, make_collection, make_index, make_table, unit

DIMENSION = 8
COLLECTION = make_collection(DIMENSION)
OLD, NEW = range(100, 110), range(200, 1_500)


@dataclass(frozen=True, slots=True)
class Place:
    """A store that serves ten works, and artifacts of an update beside it."""

    store: LocalStore
    root: Path

    def vectors(self, name: str, ids: range | list[int], *, previous: str | None = None, space: str = SPACE) -> Artifact:
        directory = self.root / name
        directory.mkdir()
        rows_ND = unit(np.random.default_rng(4).standard_normal((len(ids), DIMENSION)))
        columns = {
            "video_id": pa.array(list(ids), pa.int64()),
            "vector": fixed_size_list(rows_ND),
            "created_at": pa.array([datetime(2025, 2, 28, tzinfo=UTC)] * len(ids), pa.timestamp("us", "UTC")),
            "kind": ["video"] * len(ids),
        }
        pq.write_table(pa.table(columns), directory / "vectors.parquet")
        (directory / "space.json").write_text(json.dumps({"space_id": space, "dimension": DIMENSION}))
        return self._written("vectors", name, directory, (previous,) if previous else (), {"previous": previous})

    def evaluation(self, vectors: Artifact, *, passed: bool = True) -> None:
        directory = self.root / f"evaluation-{vectors.id[:8]}-{passed}"
        directory.mkdir()
        row = {"figure": "update.new_topics_p10", "threshold": 0.6, "value": 0.7 if passed else 0.5, "passed": passed}
        (directory / "gate.json").write_text(json.dumps({"passed": passed, "rows": [row]}))
        self._written("evaluation", "evaluation", directory, (vectors.id,), {})

    def run(self, vectors: str = "new") -> Artifact:
        paths = (str(self.root / f"{name}.json") for name in (vectors, "evaluation", "upserted"))
        upsert.run(*paths, "{}")
        return open_artifact(self.store, read_manifest_file(self.root / "upserted.json").id)

    def logged(self) -> dict[int, list[int]]:
        """Ids in the log, by shard, in order."""
        found: dict[int, list[int]] = {}
        for shard in range(COLLECTION.num_shards):
            log = Log(self.store, COLLECTION.full_name, shard, COLLECTION.fields)
            numbers = sorted(log_numbers(self.store, COLLECTION.full_name, shard))
            entries = [log.read(number) for number in numbers]
            found[shard] = [int(id) for entry in entries if entry for write in entry.writes for id in write.rows.ids]  # type: ignore[arg-type]
        return found

    def _written(self, kind: str, name: str, directory: Path, parents: tuple[str, ...], settings: dict[str, object]) -> Artifact:
        artifact = write_artifact(self.store, kind, directory, parents=parents, code="", settings=settings)
        write_manifest_file(artifact.manifest, self.root / f"{name}.json")
        return artifact


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    store = LocalStore(tmp_path / "store")
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))
    index = make_index(store, tmp_path / "index", make_table(10, DIMENSION), COLLECTION)
    promote(store, Promotion(index, None, "videos"), tmp_path / "scratch")
    return Place(store, tmp_path)


def test_new_works_and_no_others_go_to_the_shards_their_ids_name(place: Place) -> None:
    old = place.vectors("old", OLD)
    place.evaluation(place.vectors("new", [*OLD, *NEW], previous=old.id))
    upserted = place.run()
    shard_N = shard_of_ids(np.array(NEW), COLLECTION.num_shards)
    expected = {shard: np.array(NEW)[shard_N == shard].tolist() for shard in range(COLLECTION.num_shards)}
    assert place.logged() == expected
    assert upserted.run_facts()["metrics"]["rows"] == len(NEW)
    assert json.loads(upserted.read("collection.json"))["space_id"] == SPACE


def test_what_runs_again_is_written_once(place: Place) -> None:
    old = place.vectors("old", OLD)
    place.evaluation(place.vectors("new", [*OLD, *NEW], previous=old.id))
    first = place.run()
    before = place.logged()
    assert place.run().id == first.id
    assert place.logged() == before


def test_nothing_new_is_no_write(place: Place) -> None:
    old = place.vectors("old", OLD)
    place.evaluation(place.vectors("new", OLD, previous=old.id))
    assert place.run().run_facts()["metrics"]["rows"] == 0
    assert not any(place.logged().values())


def test_what_the_gate_refused_is_not_written(place: Place) -> None:
    old = place.vectors("old", OLD)
    place.evaluation(place.vectors("new", [*OLD, *NEW], previous=old.id), passed=False)
    with pytest.raises(GateRefused, match=r"update.new_topics_p10 is 0.5000, at least 0.6 is asked"):
        place.run()
    assert not any(place.logged().values())


def test_vectors_that_were_not_measured_are_refused(place: Place) -> None:
    old = place.vectors("old", OLD)
    place.vectors("new", [*OLD, *NEW], previous=old.id)
    place.evaluation(old)
    with pytest.raises(GateRefused, match="were not measured"):
        place.run()


def test_vectors_of_another_space_or_of_a_first_training_are_refused(place: Place) -> None:
    old = place.vectors("old", OLD)
    place.evaluation(place.vectors("strange", NEW, previous=old.id, space="f" * 16))
    with pytest.raises(UserError, match="build an index of all works"):
        place.run("strange")
    place.evaluation(old)
    with pytest.raises(UserError, match="without earlier ones"):
        place.run("old")


def test_a_store_that_serves_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))
    place = Place(LocalStore(tmp_path / "store"), tmp_path)
    place.evaluation(place.vectors("new", NEW, previous="0" * 64))
    with pytest.raises(ArtifactMissing, match="promoted"):
        place.run()
