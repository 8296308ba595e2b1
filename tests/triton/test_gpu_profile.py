"""The profile `gpu`: its configurations by Triton's own parser, and its models behind a real Triton, whose ONNX Runtime a stand-in plays.

The stand-in runs on the CPU; nothing else of the exported repository is changed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import numpy_helper
from tritonclient.grpc import model_config_pb2

from reelspace.core.artifacts import open_artifact, read_manifest_file
from reelspace.core.errors import ReelspaceError
from reelspace.serving.encoder import Encoder
from reelspace.serving.media_encoder import MediaEncoder
from reelspace.serving.media_limits import MediaFacts, MediaLimits
from reelspace.serving.runtime import BACKENDS as OWN_BACKENDS
from reelspace.serving.scorer import MAX_LABELS
from reelspace.serving.triton import TritonProcess
from reelspace.serving.version import Version
from reelspace.serving.wire import Tensor
from reelspace.steps.export_gpu import split_graphs
from reelspace.steps.export_media import ServedMedia, trained_head

from .conftest import Exported
from .doubling import BACKENDS
from .uploads import answered, ask, good_files, media_tensors, refusal

MODELS = ["text_encoder_graph", "video_encoder_graph", "media_encoder", "text_encoder"]
GRAPHS = ["text_encoder_graph", "video_encoder_graph", "video_encoder_light_graph"]
FRONTS = ["media_encoder", "text_encoder", "video_encoder", "video_encoder_light"]


@pytest.fixture(scope="module")
def gpu(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the exported repository as the step writes it for GPUs."""
    root = tmp_path_factory.mktemp("gpu")
    copytree(exported.models, root / "models")
    folder = root / "models" / "media_encoder" / "1"
    teacher = open_artifact(exported.store, read_manifest_file(exported.teacher).id).fetch(root / "teacher")
    head = trained_head(teacher, Version.read(folder).dimension)
    split_graphs(root / "models", ServedMedia(MediaFacts.read(folder), MediaLimits(), head, MAX_LABELS), 1)
    return root / "models"


@pytest.mark.long
def test_the_step_exports_this_repository_for_gpus(exported: Exported, gpu: Path, tmp_path: Path) -> None:
    manifest = exported.run_again("gpu", '{"profile": "gpu"}')
    found = open_artifact(exported.store, read_manifest_file(manifest).id).fetch(tmp_path / "models")
    assert files_of(found) == files_of(gpu)


def files_of(repository: Path) -> dict[str, bytes]:
    return {path.relative_to(repository).as_posix(): path.read_bytes() for path in repository.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def triton_url(gpu: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve it without a GPU."""
    root = tmp_path_factory.mktemp("gpu-served")
    copytree(gpu, root / "models")
    for graph in GRAPHS:
        path = root / "models" / graph / "config.pbtxt"
        text = path.read_text()
        assert "KIND_GPU" in text
        path.write_text(text.replace("KIND_GPU", "KIND_CPU"))
    add_version(root / "models")
    (root / "backends").mkdir()
    for backend in (*OWN_BACKENDS.iterdir(), BACKENDS / "onnxruntime"):
        (root / "backends" / backend.name).symlink_to(backend)
    with TritonProcess.start([root / "models"], MODELS, backends=root / "backends", log_path=root / "log") as triton:
        yield triton.http_url


def add_version(models: Path) -> None:
    """Let texts have a second version, whose graph gives other vectors."""
    for model in ("text_encoder", "text_encoder_graph"):
        copytree(models / model / "1", models / model / "2")
        with (models / model / "config.pbtxt").open("a") as config:
            config.write("version_policy { all {} }\n")
    path = models / "text_encoder_graph" / "2" / "model.onnx"
    graph = onnx.load(path)
    weight = max(graph.graph.initializer, key=lambda one: len(one.raw_data))
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    path.write_bytes(graph.SerializeToString())


def config_of(gpu: Path, model: str) -> "model_config_pb2.ModelConfig":
    return text_format.Parse((gpu / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("model", GRAPHS)
def test_graphs_run_in_tritons_onnxruntime_on_gpus_in_batches(gpu: Path, model: str) -> None:
    config = config_of(gpu, model)
    assert (config.name, config.backend, config.max_batch_size) == (model, "onnxruntime", 32)
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, model_config_pb2.ModelInstanceGroup.KIND_GPU)]
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16, 32]
    assert (gpu / model / "1" / "model.onnx").is_file()


@pytest.mark.parametrize("model", FRONTS)
def test_models_that_clients_know_hold_no_graph_and_name_one(gpu: Path, model: str) -> None:
    config = config_of(gpu, model)
    graph = f"{model}_graph" if model != "media_encoder" else "video_encoder_graph"
    assert config.parameters["graph"].string_value == graph
    assert not (gpu / model / "1" / "model.onnx").exists()


def test_a_number_per_row_of_a_graph_is_reshaped(gpu: Path) -> None:
    tensors = {tensor.name: tensor for tensor in config_of(gpu, "video_encoder_graph").input}
    assert (list(tensors["audio_mask"].dims), list(tensors["audio_mask"].reshape.shape)) == ([1], [])
    assert [name for name, tensor in tensors.items() if tensor.HasField("reshape")] == ["audio_mask"]


def test_texts_get_the_same_vectors_in_both_profiles_from_the_graph_of_their_version(triton_url: str, exported: Exported) -> None:
    tensors = {"TEXT": np.array([[b"ramen"], [b"street dance"]], dtype=np.object_)}
    (expected,) = Encoder(exported.models / "text_encoder" / "1", num_threads=1).encode_requests([tensors])
    first, second = (answered(ask(triton_url, f"text_encoder/versions/{version}", tensors)) for version in (1, 2))
    assert_equal(first.outputs, expected)
    assert np.abs(second.outputs["EMBEDDING"] - first.outputs["EMBEDDING"]).max() > 0.1


def test_files_get_the_same_vectors_and_labels_in_both_profiles(
    triton_url: str, exported: Exported, encode_clip: Callable[..., bytes]
) -> None:
    tensors = media_tensors(list(good_files(encode_clip).values()), ["soup", "", "", "night"])
    found = answered(ask(triton_url, "media_encoder", tensors)).outputs
    folder = exported.models / "media_encoder" / "1"
    with closing(MediaEncoder.open(Encoder(folder, num_threads=1), folder, {})) as model:
        (expected,) = model.encode_requests([tensors])
    assert_equal(found, expected)


def assert_equal(found: Mapping[str, Tensor], expected: "Mapping[str, Tensor] | ReelspaceError") -> None:
    assert not isinstance(expected, ReelspaceError)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if tensor.dtype == np.object_:
            assert found[name].tolist() == tensor.tolist()
        else:
            np.testing.assert_allclose(found[name], tensor, atol=1e-5)


def test_a_bad_request_is_refused_before_the_graph(triton_url: str) -> None:
    response = ask(triton_url, "text_encoder", {"TEXT": np.array([[b" "]], dtype=np.object_)})
    assert refusal(response)["error"].startswith("TEXT: row 0 is empty")
