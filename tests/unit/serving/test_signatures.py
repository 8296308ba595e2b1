from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import model_config_pb2

from reelspace.serving.signatures import (
    MAX_BATCH,
    TEMPLATES,
    EncoderSizes,
    TensorSpec,
    config_of_signature,
    config_pbtxt,
    encoder_signatures,
    main,
    signature_of_config,
    stale_templates,
    video_signature,
)

SIZES = EncoderSizes(dimension=64, num_frames=4, height=64, width=64, num_samples=32_000)


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


@pytest.mark.parametrize("model", encoder_signatures(SIZES, SIZES))
def test_configuration_for_clients_reads_back_as_the_signature(model: str) -> None:
    signature = encoder_signatures(SIZES, SIZES)[model]
    config = config_of_signature(signature)
    assert signature_of_config(config) == signature
    assert ParseDict(config, model_config_pb2.ModelConfig()).max_batch_size == MAX_BATCH


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
