import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from reelspace.core.artifacts import open_artifact, read_manifest_file
from reelspace.core.errors import GateRefused
from reelspace.model.presets import preset
from reelspace.serving.signatures import MAX_BATCH
from reelspace.serving.version import Version

from .conftest import SPACE_ID, Exported

MODELS = ("text_encoder", "video_encoder", "video_encoder_light")


def test_repository_holds_a_configuration_and_data_alone(exported: Exported) -> None:
    names = {path.relative_to(exported.models).as_posix() for path in exported.models.rglob("*") if path.is_file()}
    encoder = ("config.pbtxt", "1/model.onnx", "1/tokenizer.json", "1/version.json")
    head = ("1/head.json", "1/labels.json", "1/classifiers.npy", "1/biases.npy")
    files = dict.fromkeys(MODELS, encoder)
    files |= {"media_encoder": (*encoder, *head, "1/media.json"), "label_scorer": ("config.pbtxt", "1/version.json", *head)}
    assert names == {"export.json", *(f"{model}/{name}" for model in files for name in files[model])}


def test_version_names_the_trained_artifact_and_the_space(exported: Exported) -> None:
    for model, source in zip(MODELS, (exported.teacher, exported.teacher, exported.student), strict=True):
        version = Version.read(exported.models / model / "1")
        assert (version.model, version.artifact_id, version.space_id) == (model, read_manifest_file(source).id, SPACE_ID)
        assert version.is_video == (model != "text_encoder")
        assert version.dimension == preset("tiny").dimension


def test_export_agrees_with_torch_and_says_by_how_much(exported: Exported) -> None:
    report = json.loads((exported.models / "export.json").read_text())
    assert set(report["max_abs_difference"]) == set(MODELS)
    assert all(0 < value <= 1e-4 for value in report["max_abs_difference"].values())
    exact = open_artifact(exported.store, read_manifest_file(exported.repository).id).run_facts()["metrics"]["max_abs_difference"]
    assert all(exact[model] <= report["max_abs_difference"][model] for model in MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_graph_is_valid_has_a_free_batch_axis_and_names_no_place(exported: Exported, model: str) -> None:
    path = exported.models / model / "1" / "model.onnx"
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    assert all(value.type.tensor_type.shape.dim[0].dim_param == "batch" for value in graph.graph.input)
    data = path.read_bytes()
    assert not any(place.encode() in data for place in (str(exported.root), str(Path(__file__).parents[2]), sys.prefix))


def test_configuration_has_the_models_own_sizes(exported: Exported) -> None:
    text = (exported.models / "video_encoder_light" / "config.pbtxt").read_text()
    student = preset("tiny_student")
    assert f"dims: [ {student.num_frames}, {student.frame_size}, {student.frame_size}, 3 ]" in text
    assert f"max_batch_size: {MAX_BATCH}" in text
    assert "-1" not in text


EXPORT = """
import sys
from reelspace.steps import export
export.run(*sys.argv[1:])
"""


def test_the_same_models_give_the_same_artifact_in_another_process_and_store(exported: Exported, tmp_path: Path) -> None:
    """A store of its own, so that the first export cannot be reused."""
    other = tmp_path / "other" / "store"
    for source in (exported.teacher, exported.student):
        artifact = Path(exported.store.url) / "artifacts" / read_manifest_file(source).id
        target = other / "artifacts" / artifact.name
        target.mkdir(parents=True)
        for path in artifact.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-c", EXPORT, str(exported.teacher), str(exported.student), str(tmp_path / "repository"), "{}"]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "REELSPACE_STORE": str(other)}, capture_output=True)
    assert read_manifest_file(tmp_path / "repository").id == read_manifest_file(exported.repository).id


def test_a_difference_above_the_limit_is_refused_naming_model_and_figures(exported: Exported) -> None:
    with pytest.raises(GateRefused, match=r"text_encoder: ONNX Runtime differs from torch by .*, allowed are 1e-12"):
        exported.run_again("refused", '{"max_abs_difference": 1e-12}')
    assert not (exported.root / "refused" / "repository").exists()
