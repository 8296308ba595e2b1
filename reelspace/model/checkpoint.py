"""A model on disk: model.safetensors, model.json, tokenizer.json."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

from safetensors.torch import save_file

from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.model.clip import ClipSettings
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.model.weights_file import read_weights


def load_model(directory: Path) -> tuple[ReelModel, Tokenizer, ModelSettings]:
    """Read a fetched `teacher` or `student` artifact; the model is in evaluation mode."""
    settings = read_settings((directory / "model.json").read_text())
    model = build_model(settings)
    model.load_state_dict(read_weights(directory / "model.safetensors"))
    model.eval()
    return model, Tokenizer.load(directory / "tokenizer.json", settings.text_length), settings


def build_model(settings: ModelSettings) -> ReelModel:
    """Make the model that settings describe, with untrained weights."""
    if not isinstance(settings, ClipSettings):
        return ReelModel(settings)
    # Delays the optional dependency transformers.
    from reelspace.model.clip_checkpoint import build_clip

    return build_clip(settings)


def read_settings(text: str) -> ModelSettings:
    """Read model.json.

    Raises:
        UserError: the model is made from a CLIP checkpoint and the extra `clip` is not installed.
    """
    if "kind" not in json.loads(text):
        return read(ModelSettings, text)
    if find_spec("transformers") is None:
        raise UserError("the model is made from a CLIP checkpoint: pip install reelspace[clip]")
    return read(ClipSettings, text)


def save_model(directory: Path, model: ReelModel, tokenizer: Tokenizer) -> None:
    """Write a model in float32."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().float().contiguous() for name, tensor in model.state_dict().items()}, directory / "model.safetensors")
    (directory / "model.json").write_text(model.settings.model_dump_json(indent=2))
    tokenizer.save(directory / "tokenizer.json")


def space_id(directory: Path) -> str:
    """Give the digest that says which vectors may be compared: the first 16 hex digits of SHA-256 over weights and settings."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes() + (directory / "model.json").read_bytes()).hexdigest()[:16]


def frozen(model: ReelModel) -> ReelModel:
    """Switch gradients off and evaluation mode on."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model
