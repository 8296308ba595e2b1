from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict, ParseDict
from tritonclient.grpc import model_config_pb2

from reelspace.model.tokenizer import Tokenizer
from reelspace.serving import parity
from reelspace.serving.encoder import OUTPUT
from reelspace.serving.preprocess import text_inputs, video_inputs
from reelspace.serving.signatures import (
    MAX_BATCH,
    MAX_MEDIA_BYTES,
    TEMPLATES,
    EncoderSizes,
    TensorSpec,
    config_of_signature,
    config_pbtxt,
    encoder_signatures,
    graph_pbtxt,
    graph_signature,
    is_graph,
    main,
    media_signature,
    scorer_signature,
    signature_of_config,
    stale_templates,
    templates,
    video_signature,
)
from reelspace.serving.wire import datatype_of

SIZES = EncoderSizes(dimension=64, num_frames=4, height=64, width=64, num_samples=32_000)
SIGNATURES = {
    **encoder_signatures(SIZES, SIZES),
    "media_encoder": media_signature("media_encoder", SIZES, 20, 1 << 20),
    "unlabelled": media_signature("unlabelled", SIZES, 0),
    "label_scorer": scorer_signature("label_scorer", 64, 20),
}


def test_committed_templates_are_current() -> None:
    assert stale_templates(TEMPLATES) == []


def test_a_changed_a_missing_and_a_left_over_template_are_named(tmp_path: Path) -> None:
    assert main(["--write", "--directory", str(tmp_path)]) == 0
    assert main(["--check", "--directory", str(tmp_path)]) == 0
    (tmp_path / "text_encoder" / "config.pbtxt").write_text("name: 1")
    (tmp_path / "video_encoder" / "config.pbtxt").unlink()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.pbtxt").write_text("")
    assert stale_templates(tmp_path) == ["old/config.pbtxt", "text_encoder/config.pbtxt", "video_encoder/config.pbtxt"]
    assert main(["--check", "--directory", str(tmp_path)]) == 1


@pytest.mark.parametrize("model", encoder_signatures(SIZES, SIZES))
def test_configuration_means_the_signature_to_tritons_own_parser(model: str) -> None:
    signature = encoder_signatures(SIZES, SIZES)[model]
    config = text_format.Parse(config_pbtxt(signature, parameters={"num_threads": "2"}), model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == (model, "reelspace_encoder", MAX_BATCH)
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, model_config_pb2.ModelInstanceGroup.KIND_CPU)]
    assert config.parameters["num_threads"].string_value == "2"
    types = {"BYTES": model_config_pb2.TYPE_STRING, "UINT8": model_config_pb2.TYPE_UINT8, "INT16": model_config_pb2.TYPE_INT16}
    types |= {"BOOL": model_config_pb2.TYPE_BOOL, "FP32": model_config_pb2.TYPE_FP32}
    for specs, tensors in ((signature.inputs, config.input), (signature.outputs, config.output)):
        assert [(spec.name, types[spec.datatype], spec.dims) for spec in specs] == [(t.name, t.data_type, tuple(t.dims)) for t in tensors]


@pytest.mark.parametrize("model", SIGNATURES)
def test_configuration_for_clients_reads_back_as_the_signature(model: str) -> None:
    signature = SIGNATURES[model]
    config = config_of_signature(signature)
    assert signature_of_config(config) == signature
    assert ParseDict(config, model_config_pb2.ModelConfig()).max_batch_size == signature.max_batch


@pytest.mark.parametrize("model", SIGNATURES)
def test_configuration_for_triton_reads_back_as_the_signature(model: str) -> None:
    signature = SIGNATURES[model]
    limits = [str(spec.max_bytes) for spec in signature.inputs if spec.name == "MEDIA"]
    text = config_pbtxt(signature, parameters={"media_max_bytes": limits[0]} if limits else {})
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert signature_of_config(MessageToDict(config, preserving_proto_field_name=True)) == signature


def test_a_files_limit_is_the_default_where_a_configuration_names_none() -> None:
    config = text_format.Parse(config_pbtxt(SIGNATURES["media_encoder"]), model_config_pb2.ModelConfig())
    assert signature_of_config(MessageToDict(config, preserving_proto_field_name=True)).input("MEDIA").max_bytes == MAX_MEDIA_BYTES


@pytest.mark.parametrize("name", templates())
def test_every_template_parses_and_is_named_as_its_folder(name: str) -> None:
    config = text_format.Parse(templates()[name], model_config_pb2.ModelConfig())
    assert config.name == Path(name).parent.name
    assert (config.backend == "onnxruntime") == is_graph(config.name)


def test_a_graphs_number_per_row_has_dims_for_triton_and_none_for_the_graph() -> None:
    signature = graph_signature("video_encoder_graph", SIZES, 32, video=True)
    config = text_format.Parse(graph_pbtxt(signature), model_config_pb2.ModelConfig())
    reshaped = {tensor.name: list(tensor.reshape.shape) for tensor in config.input if tensor.HasField("reshape")}
    assert reshaped == {"audio_mask": []}
    assert {tensor.name: list(tensor.dims) for tensor in config.input}["audio_mask"] == [1]
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, model_config_pb2.ModelInstanceGroup.KIND_GPU)]
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16, 32]


def test_a_graphs_tensors_are_those_that_requests_are_prepared_as() -> None:
    rows, tokenizer = parity.video_rows(SIZES, video_signature("video_encoder", SIZES)), Tokenizer.train(["a b"] * 3, 300, 12)
    for video, inputs in ((True, video_inputs(rows, tokenizer)), (False, text_inputs(parity.text_rows(), tokenizer))):
        made = {name: (datatype_of(array), array.shape[1:]) for name, array in inputs.items()}
        signature = graph_signature("m", SIZES, 12, video=video)
        assert made == {spec.name: (spec.datatype, spec.dims) for spec in signature.inputs}
        assert [spec.name for spec in signature.outputs] == [OUTPUT]


def test_only_bytes_called_text_are_words() -> None:
    found = {spec.name for spec in video_signature("video_encoder", SIZES).inputs if spec.is_text}
    assert found == {"TEXT"}
    assert not TensorSpec("MEDIA", "BYTES", (1,)).is_text
    assert not TensorSpec("TEXT", "UINT8", (1,)).is_text


def test_optional_inputs_are_written_as_optional() -> None:
    signature = video_signature("video_encoder", SIZES)
    optional = type(signature)("m", (TensorSpec("X", "INT64", (1,), optional=True),), signature.outputs)
    config = text_format.Parse(config_pbtxt(optional), model_config_pb2.ModelConfig())
    assert [tensor.optional for tensor in config.input] == [True]
