"""`reelspace explain`: every kind of name leads to its artifacts, and what names nothing or several things is refused."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reelspace.cli.main import app
from reelspace.core.artifacts import read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.errors import CorruptArtifact, OutputOccupied, SettingError, TableError, UserError
from reelspace.core.local_store import LocalStore
from reelspace.core.settings import Settings
from reelspace.core.steps import StepRun, run_step
from reelspace.search.scheduling.promote import Promotion, promote
from tests.unit.search.builders import make_index, make_table
from tests.unit.search.test_promote import make_encoders

TABLE = make_table(5, 8)


class Place:
    """A store in which run `run-1` made vectors of tables and then failed; an index and encoders of the vectors serve."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, LocalStore(root / "store")
        (root / "tables").mkdir()
        (root / "tables" / "videos.txt").write_text("videos")
        tables = write_artifact(self.store, "tables", root / "tables", parents=(), code="", settings={})
        write_manifest_file(tables.manifest, root / "tables.json")
        self._step("vectors", lambda run: (run.output("vectors") / "vectors.txt").write_text("v"))
        with pytest.raises(TableError):
            self._step("labels", self._fail)
        vectors = read_manifest_file(root / "vectors.json").id
        index = make_index(self.store, root / "index", TABLE, parents=(vectors,))
        encoders = make_encoders(self.store, root / "encoders", "graph", parents=(vectors,))
        promote(self.store, Promotion(index, encoders, "videos"), root / "scratch")
        self.ids = {"tables": tables.id, "vectors": vectors, "index": index.id, "repository": encoders.id}

    def _step(self, name: str, act: Any) -> None:
        def body(run: StepRun) -> Mapping[str, object]:
            act(run)
            return {}

        inputs, outputs = {"tables": str(self.root / "tables.json")}, {name: str(self.root / f"{name}.json")}
        run_step(name, "reelspace.core.steps", settings=Settings(), inputs=inputs, outputs=outputs, body=body)

    @staticmethod
    def _fail(_run: StepRun) -> None:
        raise TableError("no work is there")

    def explain(self, *words: str) -> str:
        result = CliRunner().invoke(app, ["explain", *words, "--store", str(self.store.root)])
        if result.exception is not None:
            raise result.exception
        return result.stdout

    def roots(self, *words: str) -> list[str]:
        return list(json.loads(self.explain(*words, "--json"))["roots"])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("REELSPACE_RUN_ID", "run-1")
    return Place(tmp_path)


def test_every_kind_of_name_leads_to_its_artifacts_and_on_to_the_data(place: Place) -> None:
    record = next((place.store.root / "runs").glob("*/outputs.json"))
    for words, root in (
        ((place.ids["index"][:8],), "index"),
        (("run-1",), "vectors"),
        ((record.parent.name,), "vectors"),
        (("text_encoder",), "repository"),
        (("text_encoder/1",), "repository"),
        ((str(TABLE.ids_N[0]),), "index"),
    ):
        assert place.roots(*words) == [place.ids[root]]
        told = place.explain(*words)
        assert f"tables {place.ids['tables'][:12]}" in told
        assert "missing or damaged" not in told


def test_a_run_tells_what_each_step_did_and_how_it_failed(place: Place) -> None:
    told = place.explain("run-1").splitlines()
    assert told[0] == "run run-1"
    assert any("step labels: failed with 2: no work is there" in line for line in told)
    assert any("step vectors: made in " in line and place.ids["vectors"][:12] in line for line in told)
    failed = next(path.parent.name for path in (place.store.root / "runs").glob("*/_FAILED"))
    assert place.explain(failed).splitlines()[1] == "  step labels failed with 2: no work is there"


def test_what_is_damaged_is_summed_up_at_the_end(place: Place) -> None:
    path = place.store.root / "artifacts" / place.ids["tables"] / "videos.txt"
    path.write_text("videoz")
    assert "damaged" not in place.explain("text_encoder")
    told = place.explain("text_encoder", "--verify").splitlines()
    assert told[-2] == "1 thing is missing or damaged:"
    assert "'videos.txt'" in told[-1]


def test_the_picture_shows_every_artifact_and_replaces_no_file(place: Place) -> None:
    picture = place.root / "lineage.svg"
    place.explain("text_encoder", "--picture", str(picture))
    assert len(ET.parse(picture).getroot().findall("{http://www.w3.org/2000/svg}g")) == 3
    with pytest.raises(OutputOccupied, match="--picture"):
        place.explain("text_encoder", "--picture", str(picture))


@pytest.mark.parametrize("what", ["nothing", "", "abcdef", "12345678", "../../etc", "text_encoder/9", "a b", "ключ"])
def test_what_names_nothing_is_refused_with_what_would(place: Place, what: str) -> None:
    with pytest.raises(UserError, match="models here are text_encoder, video_encoder"):
        place.explain(what)


def test_what_names_several_things_is_refused_until_the_kind_is_told(place: Place) -> None:
    row = str(TABLE.ids_N[0])
    (place.store.root / "runs" / "journal" / row).mkdir()
    for path in (place.store.root / "runs" / "journal" / "run-1").iterdir():
        (place.store.root / "runs" / "journal" / row / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=rf"'{row}' means 2 things in .*run {row}; row {row} of .*--as"):
        place.explain(row)
    assert place.roots(row, "--as", "vector") == [place.ids["index"]]
    assert place.roots(row, "--as", "run") == [place.ids["vectors"]]
    with pytest.raises(UserError, match="--as: expected one of artifact, key, run, model, vector, got 'video'"):
        place.explain(row, "--as", "video")


def test_a_journal_that_cannot_be_read_is_named(place: Place) -> None:
    (place.store.root / "runs" / "journal" / "run-1" / "labels.json").write_bytes(b"{")
    with pytest.raises(CorruptArtifact, match="runs/journal/run-1"):
        place.explain("run-1")


def test_a_mistyped_store_is_refused_and_not_made(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["explain", "text_encoder", "--store", str(tmp_path / "stroe")])
    assert isinstance(result.exception, SettingError)
    assert not (tmp_path / "stroe").exists()
