"""Bad inputs of distillation, each with its outcome: refused (exit 2), asked again, warned of, or to be tried again (exit 75).

What the other tests have: answers that are not finite, constant labels, another shape or kind of numbers and another order of the works
in test_teacher_outputs; figures that are not measured in tests/unit/evaluate/test_gate; works of the evaluation that train in
tests/steps/test_evaluate; graphs with a fixed batch or other values than torch in tests/triton/test_export.
"""

import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.errors import ArtifactMissing, CorruptArtifact, OutputOccupied, SettingError, StoreUnavailable, UserError
from reelspace.core.keys import PRIVATE
from reelspace.core.locks import locked_directory
from reelspace.core.settings import read
from reelspace.core.steps import StepRun
from reelspace.core.store import open_store
from reelspace.model.checkpoint import save_model
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.model.weights_file import read_weights
from reelspace.serving.graphs import write_graph
from reelspace.steps import distill
from reelspace.steps.teacher_outputs import answered
from reelspace.train.assembly import assemble
from reelspace.train.fingerprint import differences
from reelspace.train.job import TrainJob
from reelspace.train.settings import DistillSettings
from reelspace.train.student import make_student, num_weights, warn_of_size
from tests.unit.core.test_s3_store import Broken, environment, serving
from tests.unit.train.students import write_labels
from tests.unit.train.worlds import TOPICS, World, write_world

SETTINGS = DistillSettings(batch_size=8, steps=4, num_views=2, model="tiny_student", engine="torch")
SIZES = ModelSettings(
    width=16,
    num_heads=2,
    dimension=24,
    num_frames=2,
    stem_channels=(8, 8, 8, 8),
    picture_layers=1,
    text_layers=1,
    fusion_layers=1,
    vocabulary_size=64,
    text_length=8,
)


class Place:
    """A store with shards, labels and a teacher, and what a step's body would be given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.world: World = write_world(root)
        self.store = open_store(self.world.store)
        self.teacher = self.put_teacher("teacher", Tokenizer.train(["best camera", "my ramen", "so nice"] * 3, 64, 8))

    def put_teacher(self, name: str, tokenizer: Tokenizer) -> Artifact:
        directory = self.root / "made" / name
        save_model(directory, ReelModel(SIZES), tokenizer)
        write_labels(directory)
        columns = {"label_id": pa.array(range(len(TOPICS)), pa.int64()), "text": pa.array(TOPICS, pa.large_string())}
        pq.write_table(pa.table(columns), directory / "labels.parquet")
        (directory / "space.json").write_text(json.dumps({"space_id": "0" * 16, "dimension": SIZES.dimension}))
        artifact = write_artifact(self.store, name, directory, parents=(), code="", settings={})
        write_manifest_file(artifact.manifest, self.root / f"{name}.json")
        return artifact

    @property
    def manifests(self) -> dict[str, str]:
        return {name: str(self.root / f"{name}.json") for name in ("teacher", "shards", "labels")}

    def distill(self, **changes: str) -> None:
        arguments = self.manifests | {"student": str(self.root / "student.json")} | changes
        distill.run(**arguments, settings=SETTINGS.model_dump_json())

    def answers(self, settings: DistillSettings = SETTINGS) -> Artifact:
        scratch = self.root / "scratch"
        return answered(StepRun(self.store, "distill", "", {}, scratch, scratch), self.manifests, settings)

    def job(self, settings: DistillSettings = SETTINGS, answers: DistillSettings = SETTINGS, shards: str | None = None) -> TrainJob:
        return TrainJob(
            kind="distill",
            store=self.world.store,
            shards=shards or self.world.shards,
            labels=self.world.labels_directory,
            teacher=self.root / "made" / "teacher",
            teacher_outputs=self.answers(answers).fetch(self.root / f"answers-{answers.num_views}"),
            out=self.root / "out",
            distill=settings,
        )

    def stored(self, artifact: Artifact, name: str) -> Path:
        return Path(self.world.store) / "artifacts" / artifact.id / name


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.setenv("REELSPACE_STORE", made.world.store)
    return made


def test_1_a_teacher_that_is_missing_is_refused(place: Place) -> None:
    with pytest.raises(ArtifactMissing, match=r"no manifest file .*nobody\.json"):
        place.distill(teacher=str(place.root / "nobody.json"))


def test_2_a_teacher_whose_bytes_are_not_those_recorded_is_refused(place: Place) -> None:
    flip_a_byte(place.stored(place.teacher, "model.safetensors"))
    with pytest.raises(CorruptArtifact, match=r"'model\.safetensors' of artifact teacher .* is corrupt: its SHA-256"):
        place.distill()


def test_3_a_student_on_the_teachers_path_is_refused(place: Place) -> None:
    around = str(place.root / "made" / ".." / "teacher.json")
    with pytest.raises(UserError, match="which is the teacher's: choose another path"):
        place.distill(student=around)
    assert read_manifest_file(place.root / "teacher.json").id == place.teacher.id


def test_4_a_tokenizer_of_another_model_is_refused(place: Place) -> None:
    larger = Tokenizer.train([f"{first}{second} {third}" for first in "abcdefgh" for second in "klmnopq" for third in "stuvwxy"], 200, 8)
    place.put_teacher("teacher", larger)
    with pytest.raises(UserError, match=r"expected ids below the model's vocabulary_size = 64, got .*: the tokenizer is not the one"):
        place.distill()


def test_4_labels_of_another_map_are_refused(place: Place) -> None:
    path = place.world.labels_directory / "vocabulary.parquet"
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "text": "noodles" if row["label_id"] == 1 else row["text"]} for row in rows]), path)
    artifact = write_artifact(place.store, "labels", place.world.labels_directory, parents=(), code="", settings={})
    write_manifest_file(artifact.manifest, place.root / "labels.json")
    with pytest.raises(UserError, match="label 1 of the teacher is 'ramen', in the labels it is 'noodles': give the labels"):
        place.distill()


def test_5_answers_of_another_dimension_are_refused(place: Place) -> None:
    job = place.job()
    sizes = json.loads((place.root / "made" / "teacher" / "model.json").read_text())
    (place.root / "made" / "teacher" / "model.json").write_text(json.dumps(sizes | {"dimension": 32}))
    with pytest.raises(UserError, match="made with dimension = 24, this training has 32"):
        assemble(job)


@pytest.mark.parametrize("value", ["0", "-1", "1e9", "NaN", '"warm"', "null"])
def test_8_a_temperature_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(SettingError, match=r"similarity_temperature|NaN is not a JSON number"):
        read(DistillSettings, f'{{"similarity_temperature": {value}}}')


@pytest.mark.parametrize("name", ["feature", "similarity", "labels"])
@pytest.mark.parametrize("value", ["-0.1", "101", '"half"', "1e999"])
def test_9_a_weight_out_of_range_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{name}|too large"):
        read(DistillSettings, f'{{"{name}": {value}}}')


def test_9_a_student_that_need_not_be_in_the_teachers_space_is_refused() -> None:
    with pytest.raises(SettingError, match="feature is 0, expected a weight above 0"):
        read(DistillSettings, '{"feature": 0}')


def test_10_a_student_that_is_no_smaller_is_warned_of(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    teacher = num_weights(place.root / "made" / "teacher")
    student = make_student(SETTINGS, SIZES)
    assert not warn_of_size(student, teacher)
    assert "student_not_smaller" in capfd.readouterr().err
    assert warn_of_size(student, 10 * teacher)
    assert not capfd.readouterr().err


@pytest.mark.parametrize("case", [11, 15])
def test_11_15_a_store_that_does_not_give_the_teacher_now_is_to_be_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, case: int
) -> None:
    """The teacher is no endpoint here but an artifact: what can be away is its store, before or while it is read."""
    with serving(Broken) as endpoint:
        environment(monkeypatch, endpoint)
        monkeypatch.setenv("REELSPACE_STORE", "s3://bucket/prefix")
        with pytest.raises(StoreUnavailable, match="503") as caught:
            place.distill()
    assert caught.value.exit_code == 75


def test_13_a_teacher_swapped_between_two_tries_is_told(place: Place) -> None:
    job = place.job()
    before = assemble(job).fingerprint
    place.put_teacher("teacher", Tokenizer.train(["another text", "best camera"] * 3, 64, 8))
    other = differences(before, assemble(place.job()).fingerprint)
    assert "teacher" in other
    assert "teacher outputs" in other


def test_16_answers_about_other_shards_or_works_are_refused(place: Place) -> None:
    job = place.job()
    facts = job.teacher_outputs / "facts.json" if job.teacher_outputs else Path()
    kept = facts.read_text()
    facts.write_text(kept.replace(place.world.shards, "f" * 64))
    with pytest.raises(UserError, match=f"made with shards = {'f' * 64}, this training has {place.world.shards}"):
        assemble(job)
    facts.write_text(kept)
    fewer = SETTINGS.model_copy(update={"train_until": datetime(2025, 1, 11, tzinfo=UTC)})
    with pytest.raises(UserError, match=r"of 20 works, 10 train, and 10 are in one of both only, e\.g\. work 110"):
        assemble(place.job(settings=fewer))


def test_16_answers_about_other_views_are_refused(place: Place) -> None:
    with pytest.raises(UserError, match="made with num_views = 2, this training has 3"):
        assemble(place.job(settings=SETTINGS.model_copy(update={"num_views": 3})))


@pytest.mark.parametrize(
    "damage", [lambda path: flip_a_byte(path), lambda path: path.write_bytes(path.read_bytes()[:-7])], ids=["17", "18"]
)
def test_17_18_kept_answers_that_are_damaged_are_refused_and_asked_again(
    place: Place, damage: Callable[[Path], object], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    artifact = place.answers()
    damage(place.stored(artifact, "fused.npy"))
    with pytest.raises(CorruptArtifact, match=r"'fused\.npy' of artifact teacher_outputs"):
        artifact.fetch(tmp_path / "copy")
    again = place.answers()
    assert "outputs_not_reusable" in capfd.readouterr().err
    open_artifact(place.store, again.id).verify()


def test_19_two_writers_of_the_same_answers_do_not_meet(place: Place) -> None:
    place.answers()
    record = next(Path(place.world.store).glob("runs/*/outputs.json"))
    record.unlink()
    work = Path(place.world.store) / PRIVATE / "work" / record.parent.name
    with locked_directory(work), pytest.raises(OutputOccupied, match="another reelspace process works in"):
        place.answers()
    assert place.answers().manifest.kind == "teacher_outputs"


def test_students_of_one_teacher_share_its_answers(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    first = place.answers()
    assert capfd.readouterr().err.count('"ask the teacher"')
    other = SETTINGS.model_copy(update={"steps": 9, "labels": 0.7, "seed": 4, "model": "tiny", "similarity_temperature": 0.5})
    assert place.answers(other).id == first.id
    assert '"ask the teacher"' not in capfd.readouterr().err
    assert place.answers(SETTINGS.model_copy(update={"num_views": 3})).id != first.id


def test_the_answers_name_what_they_were_made_of(place: Place) -> None:
    manifest = place.answers().manifest
    assert set(manifest.parents) == {place.teacher.id, place.world.shards, place.world.labels}


class Strange(nn.Module):
    """A graph with an operator that ONNX has no form of."""

    def forward(self, x: Tensor) -> Tensor:
        """Give the eigenvalues."""
        return torch.linalg.eigvals(x).real


def test_22_a_graph_with_an_operator_that_cannot_be_exported_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.onnx cannot be written: .*linalg_eigvals.* \(export\.opset = 17\)"):
        write_graph(Strange(), {"x": np.eye(3, dtype=np.float32)[None].repeat(2, axis=0)}, tmp_path / "model.onnx", 17)


HEADERS = {
    "hole": {"a": [0, 8], "b": [16, 24]},
    "overlap": {"a": [0, 16], "b": [8, 24]},
    "outside": {"a": [0, 16], "b": [16, 4096]},
}


@pytest.mark.parametrize("name", HEADERS)
def test_24_tensors_with_a_hole_or_over_one_another_are_refused(tmp_path: Path, name: str) -> None:
    header = {
        key: {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]} for key, (start, end) in HEADERS[name].items()
    }
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    with pytest.raises(CorruptArtifact, match=r"model\.safetensors is no whole safetensors file"):
        read_weights(tmp_path / "model.safetensors")


def test_24_a_header_of_200_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 200 << 20))
        file.truncate(201 << 20)
    with pytest.raises(CorruptArtifact, match="no whole safetensors file"):
        read_weights(path)


@pytest.mark.parametrize(("name", "value"), [("similarity_temperature", 0.2), ("feature", 0.5), ("similarity", 0.5), ("labels", 0.5)])
def test_25_going_on_with_another_temperature_or_weight_is_told_by_name(place: Place, name: str, value: float) -> None:
    before = assemble(place.job()).fingerprint
    after = assemble(place.job(settings=SETTINGS.model_copy(update={name: value}))).fingerprint
    assert name in differences(before, after)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
