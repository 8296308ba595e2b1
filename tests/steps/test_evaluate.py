"""The step evaluate on twenty works with a truth written here: known figures, the gate, the page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.errors import SettingError, UserError
from reelspace.core.rng import rng
from reelspace.core.store import open_store
from reelspace.demo.report import ModelFigures, StudentFigures
from reelspace.model.checkpoint import save_model
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.steps import evaluate
from reelspace.steps.presets import DEMO_GATE
from tests.unit.train.students import write_labels
from tests.unit.train.worlds import FIRST_ID, NUM_WORKS, TOPICS, write_world

IDS = list(range(FIRST_ID, FIRST_ID + NUM_WORKS))
ROWS = range(NUM_WORKS)
TOPIC_N = np.arange(NUM_WORKS) % len(TOPICS)
START = datetime(2025, 1, 1, tzinfo=UTC)
# Twelve works train, three of each topic, and eight ask, two of each topic.
CUTOFF = START + timedelta(days=12)
SETTINGS = {"cutoff": CUTOFF.isoformat(), "min_training_works": 3, "prefixes": [4, 8], "num_examples": 4, "slices": {"fresh_days": 1.5}}


@dataclass(frozen=True, slots=True)
class Place:
    """A store with the inputs of the step, their manifest files beside it, and a truth."""

    root: Path

    def manifest(self, name: str) -> str:
        return str(self.root / f"{name}.json")

    def put(self, kind: str, directory: Path) -> None:
        artifact = write_artifact(open_store(str(self.root / "store")), kind, directory, parents=(), code="", settings={})
        write_manifest_file(artifact.manifest, self.manifest(kind))

    def run(self, name: str, settings: Mapping[str, Any], *, truth: bool = True, shards: bool = True) -> Artifact:
        teacher, student, vectors, labels = (self.manifest(kind) for kind in ("teacher", "student", "vectors", "labels"))
        of_truth, of_shards = str(self.root) if truth else "", self.manifest("shards") if shards else None
        evaluate.run(teacher, student, vectors, labels, self.manifest(name), of_truth, json.dumps(settings), of_shards)
        return open_artifact(open_store(str(self.root / "store")), read_manifest_file(self.manifest(name)).id)


def write_rows(path: Path, columns: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path)


def write_truth(root: Path) -> None:
    works = {
        "video_id": IDS,
        "topic": TOPIC_N.tolist(),
        "area": (TOPIC_N // 2).tolist(),
        "subtopic": [0] * NUM_WORKS,
        "newborn": [False] * NUM_WORKS,
        "kind": ["video"] * NUM_WORKS,
        "sound": ["none" if row % 4 == 3 else "own" for row in ROWS],
        "twin_of": pa.array([IDS[row - 1] if row in (15, 19) else None for row in ROWS], pa.int64()),
    }
    write_rows(root / "truth" / "works.parquet", works)
    write_rows(root / "truth" / "topics.parquet", {"topic": [0, 1, 2, 3], "name": list(TOPICS)})
    tagged = [IDS[row] for row in (0, 1, 12, 13)]
    write_rows(root / "truth" / "tag_uses.parquet", {"video_id": tagged, "tag": ["tag"] * 4, "relevant": [True, False, True, True]})
    queries = {
        "text": [f"best {topic}" for topic in TOPICS],
        "language": ["en"] * 4,
        "topic": [0, 1, 2, 3],
        "seen": [True, True, False, False],
    }
    write_rows(root / "queries.parquet", queries)


def write_inputs(place: Place) -> None:
    settings = ModelSettings(
        width=32,
        num_heads=2,
        dimension=24,
        picture_layers=1,
        text_layers=1,
        fusion_layers=1,
        vocabulary_size=100,
        text_length=8,
    )
    torch.manual_seed(0)
    for kind in ("teacher", "student"):
        directory = place.root / "made" / kind
        save_model(directory, ReelModel(settings), Tokenizer.train([f"best {topic}" for topic in TOPICS] * 3, 100, 8))
        (directory / "summary.json").write_text(json.dumps({"num_parameters": 1000 if kind == "teacher" else 500}))
        if kind == "teacher":
            write_labels(directory)
        place.put(kind, directory)
    topics_ND = np.eye(24, dtype=np.float32)[TOPIC_N]
    noise_ND = rng(5, "student").standard_normal((NUM_WORKS, 24)).astype(np.float32)
    named = {"vector": topics_ND, "picture": topics_ND, "student": noise_ND / np.linalg.norm(noise_ND, axis=1, keepdims=True)}
    columns = {name: pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 24) for name, vectors in named.items()}
    times = [START + timedelta(days=row) for row in ROWS]
    write_rows(place.root / "made" / "vectors" / "vectors.parquet", {"video_id": IDS, **columns, "created_at": times})
    place.put("vectors", place.root / "made" / "vectors")
    write_rows(place.root / "made" / "labels" / "tag_uses.parquet", {"video_id": IDS[:2], "tag": ["tag"] * 2, "kept": [True, False]})
    place.put("labels", place.root / "made" / "labels")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("evaluate"))
    write_world(made.root)
    write_truth(made.root)
    write_inputs(made)
    return made


@pytest.fixture(autouse=True)
def store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSPACE_STORE", str(place.root / "store"))


@pytest.fixture
def figures(place: Place) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(place.run("whole", SETTINGS).read("evaluation.json"))
    return found


def test_figures_of_known_vectors_are_known(figures: dict[str, dict[str, Any]]) -> None:
    teacher = figures["teacher"]
    # Each topic has five works, so four of ten hits can be right.
    for name in ("video_to_topic_p10", "video_to_topic_p10_all", "background_swap_share", "video_to_topic_p10_d4", "video_to_topic_p10_d8"):
        assert teacher[name] == pytest.approx(0.4)
        assert teacher[f"{name}_interval"] == pytest.approx([0.4, 0.4])
    for name in ("video_to_topic_r10", "video_to_topic_map", "video_to_topic_ndcg10"):
        assert teacher[name] == pytest.approx(1.0)
    assert teacher["video_to_topic_p10_newborn"] is teacher["video_to_topic_p10_newborn_interval"] is None
    low, high = figures["student"]["cross_space_p10_ratio_interval"]
    assert low <= figures["student"]["cross_space_p10_ratio"] <= high < 1
    slices = figures["slices"]
    counts = {name: slices[f"{name}_count"] for name in ("fresh", "tail", "no_hashtag", "no_sound")}
    assert counts == {"fresh": 2, "tail": 2, "no_hashtag": 6, "no_sound": 2}
    assert slices["no_sound_p10"] == pytest.approx(0.4)
    assert figures["hashtags"]["precision_raw"] == 0.5


def test_every_figure_of_the_teacher_has_an_interval_and_the_report_finds_its_own(figures: dict[str, dict[str, Any]]) -> None:
    teacher = figures["teacher"]
    measured = {name for name in teacher if not name.endswith("_interval")} - {"num_parameters"}
    assert len(measured) >= 13
    assert {f"{name}_interval" for name in measured} == {name for name in teacher if name.endswith("_interval")}
    assert {name.partition(".")[2] for name in DEMO_GATE if name.startswith("teacher")} <= set(teacher)
    assert set(ModelFigures.model_fields) - {"measured_on"} <= set(teacher)
    assert set(StudentFigures.model_fields) <= set(figures["student"])


def test_the_student_is_held_against_its_teacher_in_size_in_what_it_finds_and_in_speed(
    place: Place, figures: dict[str, dict[str, Any]]
) -> None:
    student, teacher = figures["student"], figures["teacher"]
    assert student["times_smaller"] == 2.0
    ratio, (low, high) = student["video_to_topic_p10_ratio"], student["video_to_topic_p10_ratio_interval"]
    assert ratio == pytest.approx(student["video_to_topic_p10"] / teacher["video_to_topic_p10"])
    assert low <= ratio <= high < 1
    assert "times_faster" not in student
    # Of four labels all are among the best five, whatever the vectors are.
    assert student["labels_shared_5"] == pytest.approx(1.0)
    thresholds = {"student.times_smaller": 4.0, "student.video_to_topic_p10_ratio": 0.93, "student.times_faster": 3.0}
    artifact = place.run("timed", SETTINGS | {"latency_pairs": 3, "thresholds": thresholds})
    rows = {row["figure"]: row for row in json.loads(artifact.read("gate.json"))["rows"]}
    # Teacher and student of this test are of one size and the student's vectors are noise.
    assert set(rows) == set(thresholds)
    assert not any(row["passed"] for row in rows.values())
    assert 0.3 < rows["student.times_faster"]["value"] < 3


@pytest.mark.parametrize("until", [None, (CUTOFF + timedelta(seconds=1)).isoformat()])
def test_a_student_that_trained_on_works_of_the_evaluation_is_refused(place: Place, until: str | None) -> None:
    for number, train_until in enumerate((until, CUTOFF.isoformat())):
        directory = place.root / "made" / "student"
        artifact = write_artifact(
            open_store(str(place.root / "store")), "student", directory, parents=(), code=str(until), settings={"train_until": train_until}
        )
        (seen := Path(place.manifest(f"seen-{number}"))).unlink(missing_ok=True)
        write_manifest_file(artifact.manifest, seen)
    arguments = [place.manifest(name) for name in ("teacher", "seen-0", "vectors", "labels", "refused")]
    with pytest.raises(
        UserError, match=r"the student trained on works .*, the evaluation asks those from .*: train with train_until = 2025-01-13"
    ):
        evaluate.run(*arguments, "", json.dumps(SETTINGS))
    arguments[1] = place.manifest("seen-1")
    evaluate.run(*arguments, "", json.dumps(SETTINGS))


def test_the_gate_holds_figures_against_thresholds(place: Place) -> None:
    passing = {"teacher.video_to_topic_p10": 0.39, "slices.no_sound_p10": 0.39}
    assert json.loads(place.run("passed", SETTINGS | {"thresholds": passing}).read("gate.json"))["passed"] is True
    refused = json.loads(place.run("refused", SETTINGS | {"thresholds": passing | {"teacher.video_to_topic_map": 1.01}}).read("gate.json"))
    assert refused["passed"] is False
    assert [row["figure"] for row in refused["rows"] if not row["passed"]] == ["teacher.video_to_topic_map"]
    with pytest.raises(SettingError, match=r"no figure 'teacher\.nothing'"):
        place.run("unknown", SETTINGS | {"thresholds": {"teacher.nothing": 0.1}})


def test_the_page_shows_thumbnails_where_there_are_shards(place: Place) -> None:
    with_shards, without = place.run("whole", SETTINGS), place.run("without", SETTINGS, shards=False)
    assert with_shards.read("evaluation.json") == without.read("evaluation.json")
    page, bare = (artifact.read("evaluation.html").decode() for artifact in (with_shards, without))
    # Four queries and ten hits each; four hits of ten can be right.
    assert page.count("data:image/jpeg;base64,") == 44
    assert bare.count("data:image") == 0
    for text in (page, bare):
        assert text.count('<figure class="right">') == 16
        assert text.count('<figure class="wrong">') == 24
        assert "ramen" in text
        assert "http" not in text


def test_without_a_truth_only_the_agreement_is_measured(place: Place) -> None:
    artifact = place.run("own data", {"num_examples": 4}, truth=False)
    found = json.loads(artifact.read("evaluation.json"))
    assert set(found) == {"teacher", "student"}
    assert set(found["teacher"]) == {"num_parameters"}
    assert 0 <= found["student"]["finds_itself_r10"] <= 1
    assert "<figure" not in artifact.read("evaluation.html").decode()
