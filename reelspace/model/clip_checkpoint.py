"""Reading CLIP-family checkpoints in Hugging Face layout: weights, preprocessing, tokenizer.

This module is the one home of the optional dependency `transformers` (extra `clip`) and imports it at the top: import the module
only where a checkpoint or a model made from one is read.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer as Engine
from transformers import AutoTokenizer, ChineseCLIPConfig, ChineseCLIPModel, CLIPConfig, CLIPModel

from reelspace.core.errors import UserError
from reelspace.model.checkpoint import save_model, space_id
from reelspace.model.clip import TOKEN_SHIFT, ClipPictureSettings, ClipReelModel, ClipSettings, ClipTeacher
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer

_PADDING: Final = "[PADDING]"
_FAMILIES: Final[dict[str, tuple[Any, Any]]] = {"clip": (CLIPConfig, CLIPModel), "chinese_clip": (ChineseCLIPConfig, ChineseCLIPModel)}
_RESAMPLE: Final[dict[int, Literal["bilinear", "bicubic"]]] = {2: "bilinear", 3: "bicubic"}
_LONGEST_TEXT: Final = 77


def read_clip(
    checkpoint: Path, sizes: ModelSettings | None = None, kind: Literal["clip", "clip_towers"] = "clip"
) -> tuple[ReelModel, Tokenizer]:
    """Make a model from a checkpoint folder in Hugging Face layout.

    Args:
        checkpoint: config.json (model_type clip or chinese_clip), model.safetensors, preprocessor_config.json, tokenizer files.
        sizes: frames and sound that the works come with, and for clip_towers our width, dimension, sound tower and fusion;
            vocabulary and text length are always the checkpoint's. None: 4 frames of the checkpoint's own size.
        kind: clip for the teacher itself, whose dimension is the checkpoint's; clip_towers for frozen towers in our model.

    Raises:
        UserError: a file is missing, the family is not known, or a tensor of the encoders is missing or of another size.
    """
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        if not (checkpoint / name).is_file():
            raise UserError(f"expected {name} in {checkpoint}, found none; save the checkpoint in Hugging Face layout")
    config = _config((checkpoint / "config.json").read_text())
    pictures = picture_settings((checkpoint / "preprocessor_config.json").read_text(), config.vision_config.image_size)
    tokenizer = read_tokenizer(checkpoint, min(_LONGEST_TEXT, config.text_config.max_position_embeddings))
    numbers = (sizes or ModelSettings(frame_size=pictures.crop)).model_dump()
    numbers |= {"vocabulary_size": tokenizer.size, "text_length": tokenizer.length}
    if kind == "clip":
        numbers["dimension"] = config.projection_dim
    settings = ClipSettings.model_validate(
        numbers | {"kind": kind, "pictures": pictures.model_dump(), "architecture": (checkpoint / "config.json").read_text()}
    )
    return make_clip(settings, _weights(checkpoint, config)), tokenizer


def build_clip(settings: ClipSettings) -> ReelModel:
    """Make the model that the settings describe, with untrained weights."""
    config = _config(settings.architecture)
    return make_clip(settings, _FAMILIES[config.model_type][1](config))


def write_clip_teacher(checkpoint: Path, out: Path, sizes: ModelSettings | None = None) -> None:
    """Write the files of a `teacher` artifact: model, tokenizer, space.json, summary.json and labels.parquet without labels.

    Args:
        sizes: as of `read_clip`; the frames of the shards must have its frame_size.
    """
    model, tokenizer = read_clip(checkpoint, sizes)
    save_model(out, model, tokenizer)
    (out / "space.json").write_text(json.dumps({"space_id": space_id(out), "dimension": model.settings.dimension}))
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    (out / "summary.json").write_text(json.dumps({"num_parameters": num_parameters, "steps": 0, "works": 0, "labels": 0}, indent=1))
    no_labels = pa.table({"label_id": pa.array([], pa.int64()), "text": pa.array([], pa.large_string())})
    pq.write_table(no_labels, out / "labels.parquet")


def make_clip(settings: ClipSettings, checkpoint: Any) -> ReelModel:
    """Put our model around a checkpoint's module."""
    return ClipTeacher(settings, checkpoint) if settings.kind == "clip" else ClipReelModel(settings, checkpoint)


def _config(text: str) -> Any:
    values = json.loads(text)
    if values.get("model_type") not in _FAMILIES:
        raise UserError(f"expected model_type {' or '.join(_FAMILIES)} in config.json, got {values.get('model_type')}")
    return _FAMILIES[values["model_type"]][0].from_dict(values)


def _weights(checkpoint: Path, config: Any) -> Any:
    """Give the checkpoint as its library's module; a tensor that would stay random is an error."""
    module, facts = _FAMILIES[config.model_type][1].from_pretrained(
        checkpoint,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    # The scale of the logits belongs to no encoder; mismatched ones come with their two sizes.
    missing = sorted(str(name) for name in (*facts["missing_keys"], *facts["mismatched_keys"]) if name != "logit_scale")
    if missing:
        raise UserError(
            f"expected every tensor of {config.model_type} in {checkpoint}, missing or of another size: {', '.join(missing[:5])}"
        )
    return module


def picture_settings(text: str, image_size: int) -> ClipPictureSettings:
    """Read preprocessor_config.json for square pictures.

    Args:
        image_size: side that the encoder reads, pixels.

    Raises:
        UserError: another size than the encoder's, a crop larger than the picture, or an unknown filter.
    """
    values = json.loads(text)
    crops = values.get("do_center_crop", True)
    resize = _side(values.get("size", image_size)) if values.get("do_resize", True) else image_size
    crop = _side(values.get("crop_size", image_size)) if crops else resize
    if crop != image_size or crop > resize:
        raise UserError(
            f"preprocessor_config.json: expected pictures of {image_size} pixels as the encoder reads, got {resize} cut to {crop}"
        )
    if values.get("resample", 3) not in _RESAMPLE:
        raise UserError(f"preprocessor_config.json: expected resample 2 (bilinear) or 3 (bicubic), got {values['resample']}")
    normalises = values.get("do_normalize", True)
    return ClipPictureSettings(
        resize=resize,
        crop=crop,
        resample=_RESAMPLE[values.get("resample", 3)],
        scale=values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0,
        mean=tuple(values["image_mean"]) if normalises else (0.0, 0.0, 0.0),
        deviation=tuple(values["image_std"]) if normalises else (1.0, 1.0, 1.0),
    )


def _side(size: int | dict[str, int]) -> int:
    """A size is a number, the shortest side, or height and width; our frames are square, so all are one."""
    return size if isinstance(size, int) else size.get("shortest_edge") or min(size["height"], size["width"])


def read_tokenizer(checkpoint: Path, length: int) -> Tokenizer:
    """Give the checkpoint's tokenizer as one of ours: every id plus one, 0 for padding, cut to the length with its end kept.

    Raises:
        UserError: no tokenizer files, or a model other than BPE and WordPiece.
    """
    if not any((checkpoint / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        raise UserError(f"expected tokenizer.json, vocab.txt or vocab.json in {checkpoint}, found none")
    values = json.loads(AutoTokenizer.from_pretrained(checkpoint, local_files_only=True).backend_tokenizer.to_str())
    if values["model"]["type"] not in ("BPE", "WordPiece"):
        raise UserError(f"expected a tokenizer of kind BPE or WordPiece in {checkpoint}, got {values['model']['type']}")
    vocabulary = values["model"]["vocab"]
    values["model"]["vocab"] = {_PADDING: 0} | {token: row + TOKEN_SHIFT for token, row in vocabulary.items()}
    for token in values["added_tokens"]:
        token["id"] += TOKEN_SHIFT
    _shift_ends(values["post_processor"])
    engine = Engine.from_str(json.dumps(values))
    engine.no_padding()
    engine.enable_truncation(length)
    return Tokenizer(engine, length)


def _shift_ends(processor: dict[str, Any] | None) -> None:
    """Shift the ids of the tokens that a post-processor puts around a text, in place."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        _shift_ends(part)
    for name in ("cls", "sep"):
        if name in processor:
            processor[name][1] += TOKEN_SHIFT
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [row + TOKEN_SHIFT for row in token["ids"]]
