"""Exported encoders with int8 weights: held against float32 on works, served where they find the same, left as they are where not."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch.nn import LayerNorm, Linear

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.errors import SettingError, UserError
from reelspace.media.dataset import ShardReader
from reelspace.model.blocks import Block
from reelspace.model.checkpoint import load_model
from reelspace.model.model import ReelModel
from reelspace.model.tokenizer import Tokenizer
from reelspace.serving import parity
from reelspace.serving.encoder import Encoder
from reelspace.serving.graphs import VideoGraph, write_graph
from reelspace.serving.preprocess import video_inputs
from reelspace.serving.quantise import write_int8
from reelspace.serving.signatures import video_signature
from reelspace.serving.version import Version
from reelspace.steps import export
from reelspace.steps.int8 import Int8Outcome, Int8Settings, precisions_of, settle_weights
from tests.unit.train.worlds import NUM_WORKS, World, write_world

from .conftest import Exported, store_in_environment

TEXT, LIGHT, TEACHER = "text_encoder", "video_encoder_light", "video_encoder"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, exported: Exported) -> World:
    """Twenty works in the store of the models."""
    return write_world(tmp_path_factory.mktemp("works"), exported.store.url)


@pytest.fixture(scope="module")
def shards(world: World, exported: Exported) -> Artifact:
    return open_artifact(exported.store, world.shards)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, exported: Exported) -> Path:
    """The student's graph with int8 weights."""
    path = tmp_path_factory.mktemp("light") / "int8.onnx"
    assert write_int8(exported.models / LIGHT / "1" / "model.onnx", path) > 0
    return path


def settled(shards: Artifact, place: Path, **settings: object) -> dict[str, Int8Outcome]:
    """Settle the weights of the repository place/models."""
    parsed = Int8Settings.model_validate({"num_works": NUM_WORKS} | settings)
    return settle_weights(place / "models", ShardReader(shards), parsed, place / "scratch")


def embedded(directory: Path) -> NDArray[np.float32]:
    """Vectors of the inputs on which exports are held against torch."""
    encoder = Encoder(directory, num_threads=1)
    sizes = encoder.version.sizes
    tensors = parity.video_rows(sizes, video_signature(LIGHT, sizes)) if encoder.version.is_video else parity.text_rows()
    answer = encoder.encode_requests([tensors])[0]
    assert isinstance(answer, dict)
    return answer["EMBEDDING"]


def test_products_by_weights_become_products_of_bytes_and_nothing_else_does(exported: Exported, light: Path) -> None:
    before, after = onnx.load(exported.models / LIGHT / "1" / "model.onnx").graph, onnx.load(light).graph
    matrices = {weight.name for weight in before.initializer if weight.name.endswith(".weight") and len(weight.dims) == 2}
    of_bytes = [weight for weight in after.initializer if weight.data_type == onnx.TensorProto.INT8 and len(weight.dims) == 2]
    assert len(of_bytes) == len(matrices - {"model.text.token.weight"}) == count(after, "MatMulInteger")
    for kind in ("Conv", "Einsum", "Softmax"):
        assert count(after, kind) == count(before, kind) > 0


def count(graph: onnx.GraphProto, kind: str) -> int:
    return sum(node.op_type == kind for node in graph.node)


def test_weights_use_seven_bits_so_that_no_sum_of_two_products_overflows(light: Path) -> None:
    """Processors without instructions for bytes add two products of a byte by a signed byte in sixteen bits, and cut what does not fit."""
    weights = [weight for weight in onnx.load(light).graph.initializer if weight.data_type == onnx.TensorProto.INT8]
    largest = max(np.abs(numpy_helper.to_array(weight).astype(int)).max() for weight in weights)
    assert largest >= 60
    assert 2 * 255 * largest <= np.iinfo(np.int16).max


def test_the_same_graph_gives_the_same_bytes_and_names_no_place(exported: Exported, light: Path, tmp_path: Path) -> None:
    write_int8(exported.models / LIGHT / "1" / "model.onnx", tmp_path / "again.onnx")
    data = light.read_bytes()
    assert data == (tmp_path / "again.onnx").read_bytes()
    assert not any(place in data for place in (str(light.parent).encode(), b"ort.quant"))


def test_int8_that_passes_takes_the_place_of_float32_and_is_near_it(exported: Exported, shards: Artifact, tmp_path: Path) -> None:
    copytree(exported.models, tmp_path / "models")
    outcomes = settled(shards, tmp_path, models=(TEXT, LIGHT), max_precision_loss=1.0)
    assert {model: outcome.weights for model, outcome in outcomes.items()} == {TEXT: "int8", LIGHT: "int8"}
    for model in (TEXT, LIGHT):
        before, after = exported.models / model / "1", tmp_path / "models" / model / "1"
        assert (Version.open(before).weights, Version.open(after).weights) == ("float32", "int8")
        cosines = (embedded(before) * embedded(after)).sum(axis=1)
        assert 0.99 < cosines.min() < 1 - 1e-6
        assert (after / "model.onnx").stat().st_size < (before / "model.onnx").stat().st_size


def test_int8_that_finds_less_is_not_served_and_the_report_says_by_how_much(exported: Exported, shards: Artifact, tmp_path: Path) -> None:
    """A student that is its teacher finds everything, with channels a hundred thousand times as loud too; in bytes these drown the rest."""
    teacher, student = (tmp_path / "models" / model / "1" for model in (TEACHER, LIGHT))
    model, tokenizer, _ = load_model(open_artifact(exported.store, read_manifest_file(exported.teacher).id).fetch(tmp_path / "teacher"))
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    with torch.no_grad():
        for block in blocks:
            block.mlp.down.weight *= 50
        write_version(teacher, exported, model, tokenizer)
        for block in blocks:
            make_a_channel_loud(block.attention_norm, [block.attention.query, block.attention.key_value])
            make_a_channel_loud(block.mlp_norm, [block.mlp.up])
        write_version(student, exported, model, tokenizer)
    np.testing.assert_allclose(embedded(student), embedded(teacher), atol=1e-3)
    before = (student / "model.onnx").read_bytes()
    outcome = settled(shards, tmp_path, models=(LIGHT,))[LIGHT]
    assert outcome.precision_float32 is not None
    assert outcome.loss is not None
    assert outcome.precision_float32 > 0.95
    assert outcome.loss > 0.05
    report = outcome.report()
    assert (report["weights"], report["max_precision_loss"]) == ("float32", 0.01)
    assert outcome.loss <= report["loss_at_most"] <= outcome.loss + 0.005
    assert (student / "model.onnx").read_bytes() == before
    assert Version.open(student).weights == "float32"


def make_a_channel_loud(norm: LayerNorm, readers: list[Linear]) -> None:
    norm.weight[0] *= 1e5
    for reader in readers:
        reader.weight[:, 0] /= 1e5


def write_version(directory: Path, exported: Exported, model: ReelModel, tokenizer: Tokenizer) -> None:
    """Write a version directory like the exported teacher's, of another model."""
    copytree(exported.models / TEACHER / "1", directory)
    facts = Version.read(directory)
    rows = parity.video_rows(facts.sizes, video_signature(TEACHER, facts.sizes))
    example = video_inputs({name: tensor[:3] for name, tensor in rows.items()}, tokenizer)
    write_graph(VideoGraph(model.eval()), example, directory / "model.onnx", facts.opset)
    facts.write(directory)


def test_works_that_cannot_be_asked_do_not_count_and_int8_that_cannot_answer_does_not_pass() -> None:
    circle_ND = [np.array([np.cos(turn), np.sin(turn)], np.float32) for turn in np.linspace(0, 6, 30)]
    assert precisions_of(circle_ND, circle_ND, circle_ND) == (1.0, 1.0)
    wordless = [None, *circle_ND[1:]]
    assert precisions_of(circle_ND, wordless, wordless) == (1.0, 1.0)
    whole, missing = precisions_of(circle_ND, circle_ND, wordless)
    assert (whole, missing) == (1.0, None)
    assert Int8Outcome(30, whole, missing, max_loss=1.0, times_faster=3.0).weights == "float32"
    other_way = [vector * np.float32(-1) for vector in circle_ND]
    assert precisions_of(circle_ND, circle_ND, other_way)[1] == 0.0
    assert precisions_of([None] * 30, circle_ND, circle_ND) == (None, None)


@pytest.mark.parametrize(("int8", "at_most", "weights"), [(0.7 - 1e-15, 0, "int8"), (0.69, 0.01, "int8"), (0.6899, 0.015, "float32")])
def test_the_report_is_coarse_and_rounds_no_loss_down(int8: float, at_most: float, weights: str) -> None:
    outcome = Int8Outcome(256, 0.7, int8, max_loss=0.01, times_faster=1.0)
    shown = {"precision_float32": 0.7, "loss_at_most": at_most, "max_precision_loss": 0.01, "num_works": 256}
    assert outcome.report() == {"weights": weights, **shown}


def test_too_few_works_tell_nothing(exported: Exported, shards: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelspace.steps.int8.MIN_WORKS", NUM_WORKS + 1)
    with pytest.raises(UserError, match=f"expected 21 works or more to tell int8 from float32, the shards .* hold {NUM_WORKS}"):
        settled(shards, tmp_path, models=(TEXT,))


def test_the_step_asks_the_works_only_when_int8_is_wanted_and_reports_what_it_found(exported: Exported, world: World) -> None:
    wanted = json.dumps({"int8": {"models": [TEXT], "max_precision_loss": 1.0, "num_works": NUM_WORKS}})
    models = [str(exported.teacher), str(exported.student)]
    with store_in_environment(exported.store.url):
        with pytest.raises(SettingError, match=r"int8\.models asks for text_encoder: give the step the shards"):
            export.run(*models, str(exported.root / "int8" / "refused"), wanted)
        on_gpus = json.dumps(json.loads(wanted) | {"profile": "gpu"})
        with pytest.raises(SettingError, match="int8 is for the profile cpu, got gpu"):
            export.run(*models, str(exported.root / "int8" / "refused"), on_gpus, str(world.shards_manifest))
        export.run(*models, str(exported.root / "int8" / "repository"), wanted, str(world.shards_manifest))
        export.run(*models, str(exported.root / "int8" / "without"), "{}", str(world.shards_manifest))
    repository, without, first = (
        open_artifact(exported.store, read_manifest_file(path).id)
        for path in (exported.root / "int8" / "repository", exported.root / "int8" / "without", exported.repository)
    )
    assert (without.manifest.parents, without.manifest.files) == (first.manifest.parents, first.manifest.files)
    assert set(repository.manifest.parents) - set(first.manifest.parents) == {world.shards}
    report = json.loads(repository.read("export.json"))["int8"]
    assert (report[TEXT]["weights"], report[TEXT]["num_works"]) == ("int8", NUM_WORKS)
    assert "times" not in json.dumps(report)
    assert repository.run_facts()["metrics"]["int8"][TEXT]["times_faster_here"] > 0
    changed = {name for name in first.names() if first.read(name) != repository.read(name)}
    assert changed == {"export.json", f"{TEXT}/1/model.onnx", f"{TEXT}/1/version.json"}
