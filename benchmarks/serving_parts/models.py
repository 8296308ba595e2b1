"""The models that are timed: a student of a realistic size with random weights, exported as every student is, and requests for it."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from reelspace.core.artifacts import open_artifact, read_manifest_file, write_artifact, write_manifest_file
from reelspace.core.store import Store, open_store
from reelspace.model.checkpoint import save_model
from reelspace.model.model import ReelModel
from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings, SoundSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.serving.parity import WORDS
from reelspace.serving.preprocess import VideoQuery, text_inputs, text_tensors, video_inputs, video_tensors
from reelspace.serving.signatures import Signature
from reelspace.serving.version import TOKENIZER_FILE, Version
from reelspace.serving.wire import HEAD_LENGTH, Tensor, datatype_of, encode_request, raw_of_tensor
from reelspace.steps import export

SEED: Final = 0
MODELS: Final[Mapping[str, str]] = {"text": "text_encoder", "video": "video_encoder_light"}
"""Name on the server by name in the tables."""
NUM_DIFFERENT: Final = 16
SPACE_ID: Final = "0123456789abcdef"


def student() -> ModelSettings:
    """Give what a service would run on a CPU: about 3 ms for a text, 15 ms for two frames with sound and words, on one core."""
    numbers = {
        "width": 256,
        "num_heads": 4,
        "dimension": 256,
        "picture_layers": 6,
        "text_layers": 6,
        "sound_layers": 2,
        "num_frames": 2,
        "frame_size": 112,
        "text_length": 32,
        "sound": SoundSettings().model_dump(),
    }
    return ModelSettings.model_validate(preset("small").model_dump() | numbers)


def write_repository(folder: Path, settings: ModelSettings) -> Path:
    """Export a model as teacher and student at once, so that its encoder of texts is served too; gives the model repository."""
    torch.manual_seed(SEED)
    files = folder / "files"
    tokenizer = Tokenizer.train([*WORDS, *map(words, range(NUM_DIFFERENT))] * 3, settings.vocabulary_size, settings.text_length)
    save_model(files, ReelModel(settings), tokenizer)
    (files / "space.json").write_text(json.dumps({"space_id": SPACE_ID, "dimension": settings.dimension}))
    store = open_store(str(folder / "store"))
    teacher, trained = (_artifact(store, folder, kind) for kind in ("teacher", "student"))
    os.environ["REELSPACE_STORE"] = store.url
    export.run(teacher, trained, str(folder / "repository"), "{}")
    return open_artifact(store, read_manifest_file(folder / "repository").id).fetch(folder / "models")


def _artifact(store: Store, folder: Path, kind: str) -> str:
    artifact = write_artifact(store, kind, folder / "files", parents=(), code="", settings={})
    write_manifest_file(artifact.manifest, folder / kind)
    return str(folder / kind)


@dataclass(frozen=True, slots=True)
class Requests:
    """Different requests of one model: bodies over HTTP, which all have the same headers, and messages over gRPC."""

    model: str
    headers: dict[str, str]
    bodies: Sequence[bytes]
    messages: Sequence[bytes]


def requests_of(signature: Signature, num_rows: int = 1) -> Requests:
    """Write requests of so many rows each."""
    make = video_rows if len(signature.inputs) > 1 else text_rows
    tensors = [make(number, num_rows, signature) for number in range(NUM_DIFFERENT)]
    written = [encode_request(one) for one in tensors]
    lengths = {message.headers[HEAD_LENGTH] for message in written}
    assert len(lengths) == 1, "texts of one length give heads of one length"
    messages = [_grpc_message(signature.model, one) for one in tensors]
    return Requests(signature.model, {HEAD_LENGTH: lengths.pop()}, [message.body for message in written], messages)


def text_rows(number: int, num_rows: int, signature: Signature) -> dict[str, Tensor]:
    """Make search texts."""
    return text_tensors([words(number * num_rows + row) for row in range(num_rows)])


def video_rows(number: int, num_rows: int, signature: Signature) -> dict[str, Tensor]:
    """Make works of noise with sound and words."""
    draw = np.random.default_rng(number)
    frames, audio = signature.input("FRAMES").dims, signature.input("AUDIO").dims
    videos = [
        VideoQuery(draw.integers(0, 256, frames, np.uint8), draw.integers(-9_000, 9_000, audio, np.int16), words(number))
        for _ in range(num_rows)
    ]
    return video_tensors(videos, signature)


def graph_row(version: Path, signature: Signature) -> dict[str, NDArray[Any]]:
    """Make the inputs of a version's graph for one row."""
    facts = Version.read(version)
    tokenizer = Tokenizer.load(version / TOKENIZER_FILE, facts.text_length)
    if facts.is_video:
        return video_inputs(video_rows(0, 1, signature), tokenizer)
    return text_inputs(text_rows(0, 1, signature), tokenizer)


def words(number: int) -> str:
    """Give words of which all are equally long."""
    return f"late night noodle soup in the old town {number:04d}"


def _grpc_message(model: str, tensors: Mapping[str, Tensor]) -> bytes:
    message = service_pb2.ModelInferRequest(model_name=model)
    for name, tensor in tensors.items():
        message.inputs.add(name=name, datatype=datatype_of(tensor), shape=tensor.shape)
        message.raw_input_contents.append(raw_of_tensor(tensor))
    data: bytes = message.SerializeToString()
    return data
