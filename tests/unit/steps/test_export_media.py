"""What `export` reads of a teacher for the models beside its encoders, and what it writes of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from google.protobuf import text_format
from safetensors.torch import save_file
from tritonclient.grpc import model_config_pb2

from reelspace.core.artifacts import Artifact, write_artifact
from reelspace.core.errors import UserError
from reelspace.core.local_store import LocalStore
from reelspace.core.settings import read
from reelspace.core.steps import StepRun
from reelspace.media.spec import FrameSpec
from reelspace.serving.media_limits import MediaFacts, MediaLimits
from reelspace.serving.scorer import HeadFacts
from reelspace.serving.signatures import EncoderSizes
from reelspace.serving.version import Version
from reelspace.steps.export import ExportSettings, export_media
from reelspace.steps.export_gpu import split_graphs
from reelspace.steps.export_media import Head, ServedMedia, check_frames, trained_head, training_facts, write_media_models
from reelspace.steps.preprocess_media import MediaSettings

SIZES = EncoderSizes(dimension=8, num_frames=4, height=64, width=64, num_samples=32_000)
FACTS = MediaFacts(frames=FrameSpec(num_frames=9, size=64, max_audio_s=3), jpeg_quality=77)
HEAD = Head(np.eye(3, 8, dtype=np.float32), np.zeros(3, np.float32), ("a", "b", "c"))


def shards(store: LocalStore, folder: Path, **settings: object) -> Artifact:
    """Write an artifact with the settings that preprocess_media leaves."""
    media = MediaSettings.model_validate({"frames": FACTS.frames, "jpeg_quality": FACTS.jpeg_quality} | settings)
    return artifact(store, folder, "shards", [], media.model_dump(mode="json", include={"frames", "jpeg_quality", "shard_mib"}))


def artifact(store: LocalStore, folder: Path, kind: str, parents: Sequence[str], settings: dict[str, object]) -> Artifact:
    folder.mkdir(exist_ok=True)
    (folder / "data").write_text(json.dumps(settings))
    return write_artifact(store, kind, folder, parents=parents, code="", settings=settings)


def teacher(store: LocalStore, folder: Path, *parents: str) -> Artifact:
    return artifact(store, folder, "teacher", parents, {})


def test_files_are_decoded_as_the_shards_say_that_the_teacher_saw(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    labels = artifact(store, tmp_path / "labels", "labels", [], {})
    found = training_facts(teacher(store, tmp_path / "t", labels.id, shards(store, tmp_path / "s").id), SIZES)
    assert found == FACTS


def test_a_teacher_without_shards_is_decoded_for_by_its_sizes(tmp_path: Path) -> None:
    found = training_facts(teacher(LocalStore(tmp_path / "store"), tmp_path / "t"), SIZES)
    assert found.frames == FrameSpec(num_frames=4, size=64, max_audio_s=2)


def test_shards_that_are_gone_or_disagree_are_not_guessed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    with pytest.raises(UserError, match="set decoding"):
        training_facts(teacher(store, tmp_path / "t", "0" * 64), SIZES)
    other = shards(store, tmp_path / "other", jpeg_quality=50)
    with pytest.raises(UserError, match="decoded in 2 ways: set decoding"):
        training_facts(teacher(store, tmp_path / "t", *sorted([other.id, shards(store, tmp_path / "s").id])), SIZES)


def test_shards_that_do_not_tell_how_they_were_decoded_are_named(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    foreign = artifact(store, tmp_path / "s", "shards", [], {})
    with pytest.raises(UserError, match=rf"shards {foreign.id[:12]} do not tell how they were decoded .*: set decoding"):
        training_facts(teacher(store, tmp_path / "t", foreign.id), SIZES)


def test_frames_of_another_size_than_the_models_are_refused(tmp_path: Path) -> None:
    check_frames(FACTS, SIZES)
    with pytest.raises(UserError, match="expected frames of 64 pixels, as the teacher's, got 32"):
        check_frames(MediaFacts(frames=FrameSpec(size=32), jpeg_quality=90), SIZES)


def test_a_head_is_read_with_its_scale_folded_in(tmp_path: Path) -> None:
    assert trained_head(tmp_path, 8) is None
    write_trained(tmp_path, [])
    assert trained_head(tmp_path, 8) is None
    write_trained(tmp_path, ["x", "y"])
    head = trained_head(tmp_path, 8)
    assert head is not None
    assert (head.labels, head.classifiers_LD.tolist(), head.biases_L.tolist()) == (("x", "y"), [[3.0] * 8] * 2, [1.0, 1.0])


def write_trained(folder: Path, labels: Sequence[str]) -> None:
    """Write a label head as a training does: classifiers of halves, biases 1, scale 6."""
    columns = {"label_id": pa.array(range(len(labels)), pa.int64()), "text": pa.array(labels, pa.large_string())}
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    halves_LD, ones_L = torch.full((len(labels), 8), 0.5), torch.ones(len(labels))
    tensors = {"label_vectors": halves_LD, "label_bias": ones_L, "label_scale": torch.tensor([6.0])}
    save_file(tensors, folder / "label_head.safetensors")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What is there before the media models: encoders, their graphs made up."""
    for model in ("text_encoder", "video_encoder", "video_encoder_light"):
        directory = tmp_path / "repository" / model / "1"
        directory.mkdir(parents=True)
        (directory / "model.onnx").write_text(f"graph of {model}")
        (directory / "tokenizer.json").write_text("{}")
        video = {} if model == "text_encoder" else {"num_frames": 4, "height": 64, "width": 64, "num_samples": 32_000}
        facts = Version(model=model, artifact_id="0" * 64, space_id="0" * 16, dimension=8, text_length=12, opset=17, **video)
        facts.write(directory)
    return tmp_path / "repository"


def names(repository: Path, model: str) -> set[str]:
    return {path.relative_to(repository / model).as_posix() for path in (repository / model).rglob("*") if path.is_file()}


def test_a_teacher_without_labels_serves_files_without_labels(repository: Path) -> None:
    write_media_models(repository, ServedMedia(FACTS, MediaLimits(), None, 20), 1)
    assert not (repository / "label_scorer").exists()
    assert "LABELS" not in (repository / "media_encoder" / "config.pbtxt").read_text()
    assert names(repository, "media_encoder") == {"config.pbtxt", *(f"1/{name}" for name in MEDIA_FILES - HEAD_FILES)}


HEAD_FILES = {"head.json", "labels.json", "classifiers.npy", "biases.npy"}
MEDIA_FILES = {"model.onnx", "tokenizer.json", "version.json", "media.json", *HEAD_FILES}


def test_versions_are_sealed_over_all_that_lies_in_them(repository: Path) -> None:
    write_media_models(repository, ServedMedia(FACTS, MediaLimits(), HEAD, 20), 1)
    assert names(repository, "media_encoder") == {"config.pbtxt", *(f"1/{name}" for name in MEDIA_FILES)}
    assert names(repository, "label_scorer") == {"config.pbtxt", "1/version.json", *(f"1/{name}" for name in HEAD_FILES)}
    version = Version.open(repository / "media_encoder" / "1")
    assert (version.model, version.space_id) == ("media_encoder", "0" * 16)
    assert {entry.path for entry in version.files} == MEDIA_FILES - {"version.json"}
    assert MediaFacts.read(repository / "media_encoder" / "1") == FACTS


def test_for_gpus_graphs_are_models_of_their_own_and_versions_stay_sealed(repository: Path) -> None:
    media = ServedMedia(FACTS, MediaLimits(), HEAD, 2)
    write_media_models(repository, media, 1)
    split_graphs(repository, media, 1)
    for model in ("text_encoder", "video_encoder", "video_encoder_light"):
        assert names(repository, model) == {"config.pbtxt", "1/tokenizer.json", "1/version.json"}
        graph = f"{model}_graph"
        assert names(repository, graph) == {"config.pbtxt", "1/model.onnx", "1/version.json"}
        assert (repository / graph / "1" / "model.onnx").read_text() == f"graph of {model}"
        assert [Version.open(repository / one / "1").model for one in (model, graph)] == [model, graph]
    assert names(repository, "media_encoder") == {"config.pbtxt", *(f"1/{name}" for name in MEDIA_FILES - {"model.onnx"})}
    assert Version.open(repository / "media_encoder" / "1").space_id == "0" * 16


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_the_step_writes_what_its_settings_ask_for(repository: Path, tmp_path: Path, profile: str) -> None:
    store, scratch = LocalStore(tmp_path / "store"), tmp_path / "scratch"
    (scratch / "teacher").mkdir(parents=True)
    write_trained(scratch / "teacher", ["x", "y", "z"])
    trained = teacher(store, tmp_path / "t", shards(store, tmp_path / "s").id)
    run = StepRun(store, "export", "key", {"teacher": trained}, scratch, tmp_path / "state", {"repository": repository})
    settings = {"profile": profile, "num_labels": 2, "num_threads": 3, "media": {"max_bytes": 4096, "num_workers": 5}}
    export_media(run, read(ExportSettings, settings), SIZES)
    assert MediaFacts.read(repository / "media_encoder" / "1") == FACTS
    config = text_format.Parse((repository / "media_encoder" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    assert {name: parameters[name] for name in ("num_threads", "media_max_bytes", "media_num_workers")} == {
        "num_threads": "3",
        "media_max_bytes": "4096",
        "media_num_workers": "5",
    }
    assert {output.name: list(output.dims) for output in config.output}["LABELS"] == [2]
    assert (repository / "video_encoder_graph").exists() == (profile == "gpu")
    assert parameters.get("graph") == ("video_encoder_graph" if profile == "gpu" else None)
    assert HeadFacts.read(repository / "label_scorer" / "1").num_given == 2
