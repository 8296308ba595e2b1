"""Warm start: the weights of local public ViT and BERT-family checkpoints in our towers, with an account of every tensor.

What transfers, by family (names as in Hugging Face safetensors, read without that library):
- ViT is pre-norm like our block, so a picture tower of the same width, heads and layers computes what the checkpoint computes
  on the same tokens. Not taken: the class token with its position, and the pooler; our towers average their tokens.
- The picture tower of CLIP has the same block. Its norm before the blocks has no place here, its activation may be another
  (the report says so), and our picture vector averages patches where CLIP reads the class token: a start, not an equal function.
- BERT is post-norm. Each sublayer's matrices are kept and each norm is put before the sublayer that read it (the norm of the
  embeddings before the first attention), so every sublayer starts with the input scale and shift it was trained for, and the
  first attention is exact. The residual stream is not normalised here, so deeper layers only start near what they meant.

LayerNorm adds 1e-5 to the variance here, 1e-12 in public ViT and BERT: visible only on tokens of small variance.
Legend: T tokens, D width, V tokens of a vocabulary.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from reelspace.core.errors import UserError
from reelspace.model.blocks import Block
from reelspace.model.model import ReelModel

Side = Literal["picture", "text"]
Outcome = Literal["taken", "interpolated", "partly", "skipped", "left"]
_FILES: Final = {"picture": "ViT or CLIP", "text": "BERT"}

# Our name of each part of a layer; `next.` means the layer above, whose attention reads what this norm gives.
_VIT: Final = {
    "attention.attention.query": "attention.query",
    "attention.attention.key": "attention.key",
    "attention.attention.value": "attention.value",
    "attention.output.dense": "attention.out",
    "layernorm_before": "attention_norm",
    "layernorm_after": "mlp_norm",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
}
_CLIP: Final = {
    "self_attn.q_proj": "attention.query",
    "self_attn.k_proj": "attention.key",
    "self_attn.v_proj": "attention.value",
    "self_attn.out_proj": "attention.out",
    "layer_norm1": "attention_norm",
    "layer_norm2": "mlp_norm",
    "mlp.fc1": "mlp.up",
    "mlp.fc2": "mlp.down",
}
_BERT: Final = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "mlp_norm",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
    "output.LayerNorm": "next.attention_norm",
}
_PARTS: Final = {"picture": _VIT | _CLIP, "text": _BERT}
_LAYER: Final = re.compile(r"^(?:.*\.)?encoder\.layers?\.(\d+)\.(.+)\.(weight|bias)$")
_PATCHES: Final = re.compile(r"(?:patch_embeddings\.projection|patch_embedding)\.(weight|bias)$")
_POSITIONS: Final = re.compile(r"(?:position_embeddings|position_embedding|position_embeddings\.weight|position_embedding\.weight)$")
_LAST_NORM: Final = re.compile(r"^(?:vit\.|vision_model\.|model\.)*(?:layernorm|post_layernorm)\.(weight|bias)$")
_NO_PLACE: Final = (
    ("text_model.", "not a part of the picture encoder"),
    ("text_projection", "not a part of the picture encoder"),
    ("logit_scale", "not a part of the picture encoder"),
    ("cls_token", "our towers have no class token"),
    ("class_embedding", "our towers have no class token"),
    ("pre_layrnorm", "our picture tower has no norm before its blocks"),
    ("pooler.", "our towers average their tokens"),
    ("visual_projection", "reads the class token; our projection reads averaged tokens"),
    ("position_ids", "numbers, not weights"),
    ("cls.", "a head of another task"),
    ("classifier", "a head of another task"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one tensor: `source` in the checkpoint, `target` in the model; empty where there is none."""

    side: str
    source: str
    target: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WarmStartReport:
    """A row for every tensor of the checkpoints, then one for every tensor of the model that stayed as it was."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """What the tensors do not show: other numbers of the checkpoint that make the same weights compute something else."""

    def having(self, outcome: Outcome) -> tuple[Row, ...]:
        """Give the rows of one outcome."""
        return tuple(row for row in self.rows if row.outcome == outcome)

    def table(self) -> str:
        """Give the report as text: counts, notes, and one line per tensor."""
        counts = {outcome: len(self.having(outcome)) for outcome in ("taken", "interpolated", "partly", "skipped", "left")}
        lines = [", ".join(f"{count} {outcome}" for outcome, count in counts.items()), *(f"note: {note}" for note in self.notes)]
        cells = [(row.outcome, row.side, row.source or "-", row.target or "-", row.reason) for row in self.rows]
        widths = [max((len(cell[column]) for cell in cells), default=0) for column in range(4)]
        lines += ["  ".join((*(text.ljust(width) for text, width in zip(cell, widths, strict=False)), cell[4])).rstrip() for cell in cells]
        return "\n".join(lines)


def warm_start(model: ReelModel, picture: Path | None, text: Path | None, vocabulary: Mapping[str, int] | None = None) -> WarmStartReport:
    """Copy what fits from local checkpoints into the towers of a model, in place; call it before the training engine shards the model.

    Args:
        picture: a folder in Hugging Face layout (config.json, *.safetensors) of ViT, or of CLIP whose picture tower is read.
        text: the same of BERT or RoBERTa.
        vocabulary: the model's tokens with their ids. Word embeddings are copied for tokens that stand in the checkpoint's
            vocabulary (vocab.txt or tokenizer.json) under the same string; without it none is, for equal ids mean nothing.

    Returns:
        The account. A tensor whose size does not fit is skipped with both sizes. Only three things change on the way: positions
        of pictures are interpolated bicubically (align_corners off, a = -0.75) to our grid, positions of texts are the first
        ones of the checkpoint, and patch weights absorb the mean and deviation of preprocessor_config.json, where ours are 0.5.

    Raises:
        UserError: a folder without safetensors, or with no encoder layer of the family.
    """
    filling = _Filling(model)
    with torch.no_grad():
        if picture is not None:
            _fill_picture(filling, _read(picture, "picture"))
        if text is not None:
            _fill_text(filling, _read(text, "text"), vocabulary)
    return filling.report()


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    folder: Path
    side: Side
    tensors: dict[str, Tensor]
    config: dict[str, object]

    def number(self, name: str) -> int | None:
        value = self.config.get(name)
        return value if isinstance(value, int) else None


@dataclass(slots=True)
class _Filling:
    """The model being filled, and the account kept of it."""

    model: ReelModel
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(
        self, checkpoint: _Checkpoint, sources: tuple[str, ...], target: str, value: Tensor, outcome: Outcome, reason: str = ""
    ) -> None:
        """Copy a value into a tensor of the model if the sizes agree, and say so either way."""
        tensors = self.model.state_dict()
        if target not in tensors:
            outcome, reason = "skipped", f"the model has no {target}"
        elif tensors[target].shape != value.shape:
            outcome, reason = "skipped", f"size {list(value.shape)} does not fit {list(tensors[target].shape)} of {target}"
        else:
            tensors[target].copy_(value)
        self.rows += [Row(checkpoint.side, source, "" if outcome == "skipped" else target, outcome, reason) for source in sources]

    def skip(self, checkpoint: _Checkpoint, source: str, reason: str) -> None:
        self.rows.append(Row(checkpoint.side, source, "", "skipped", reason))

    def report(self) -> WarmStartReport:
        filled = {row.target for row in self.rows}
        left = (Row(name.split(".")[0], "", name, "left") for name in self.model.state_dict() if name not in filled)
        return WarmStartReport((*self.rows, *left), tuple(self.notes))


def _read(folder: Path, side: Side) -> _Checkpoint:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"expected model.safetensors in {folder}, found none; save the checkpoint in that format")
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    config = json.loads((folder / "config.json").read_text()) if (folder / "config.json").is_file() else {}
    if side == "picture" and "vision_config" in config:
        # What a configuration of CLIP leaves out has this value; in the other families it is gelu.
        config = {"hidden_act": "quick_gelu"} | config["vision_config"]
    checkpoint = _Checkpoint(folder, side, tensors, config)
    if not any(place[1] == "attention.query" for name in tensors if (place := _layer_part(name, side))):
        raise UserError(
            f"expected encoder layers of the {_FILES[side]} family in {folder}, found tensors such as {next(iter(tensors), 'none')}"
        )
    return checkpoint


def _layer_part(name: str, side: Side) -> tuple[int, str, str] | None:
    """Give layer, our part's name and weight or bias; None where the tensor is no part of a layer of this side."""
    found = _LAYER.match(name)
    if found is None or (side == "picture" and "text_model." in name):
        return None
    part = _PARTS[side].get(found[2])
    return (int(found[1]), part, found[3]) if part else None


def _fill_picture(filling: _Filling, checkpoint: _Checkpoint) -> None:
    rest = _fill_blocks(filling, checkpoint)
    patches = {found[1]: name for name in rest if (found := _PATCHES.search(name))}
    _fill_patches(filling, checkpoint, patches)
    for name in rest:
        if name in patches.values():
            continue
        reason = _no_place(name)
        if reason:
            filling.skip(checkpoint, name, reason)
        elif _POSITIONS.search(name):
            _fill_grid(filling, checkpoint, name)
        elif found := _LAST_NORM.match(name):
            filling.put(checkpoint, (name,), f"picture.tower.norm.{found[1]}", checkpoint.tensors[name], "taken")
        else:
            filling.skip(checkpoint, name, "no counterpart in the picture tower")


def _fill_text(filling: _Filling, checkpoint: _Checkpoint, vocabulary: Mapping[str, int] | None) -> None:
    rest = _fill_blocks(filling, checkpoint)
    kind = next((name for name in rest if name.endswith("token_type_embeddings.weight")), None)
    for name in rest:
        found = re.search(r"embeddings\.LayerNorm\.(weight|bias)$", name)
        if reason := _no_place(name):
            filling.skip(checkpoint, name, reason)
        elif found:
            filling.put(checkpoint, (name,), f"text.tower.blocks.0.attention_norm.{found[1]}", checkpoint.tensors[name], "taken")
        elif name.endswith("word_embeddings.weight"):
            _fill_words(filling, checkpoint, name, vocabulary)
        elif _POSITIONS.search(name):
            _fill_line(filling, checkpoint, name, kind)
        elif name != kind:
            filling.skip(checkpoint, name, "no counterpart in the text tower")


def _fill_blocks(filling: _Filling, checkpoint: _Checkpoint) -> list[str]:
    """Fill the blocks of a tower; give the names that are no part of a layer."""
    _note_numbers(filling, checkpoint)
    parts = {place: name for name in checkpoint.tensors if (place := _layer_part(name, checkpoint.side))}
    num_checkpoint = 1 + max(layer for layer, _, _ in parts)
    for (layer, part, kind), name in parts.items():
        if part == "attention.value" and (layer, "attention.key", kind) in parts:
            continue
        sources: tuple[str, ...] = (name,)
        value = checkpoint.tensors[name]
        if part == "attention.key" and (layer, "attention.value", kind) in parts:
            sources = (name, parts[layer, "attention.value", kind])
            value = torch.cat([checkpoint.tensors[source] for source in sources])
            part = "attention.key_value"
        _fill_part(filling, checkpoint, sources, (layer, part, kind), value, num_checkpoint)
    return [name for name in checkpoint.tensors if name not in parts.values()]


def _fill_part(
    filling: _Filling, checkpoint: _Checkpoint, sources: tuple[str, ...], place: tuple[int, str, str], value: Tensor, num_checkpoint: int
) -> None:
    layer, part, kind = place
    side = checkpoint.side
    blocks = getattr(filling.model, side).tower.blocks
    reason = _mismatch(filling, checkpoint, layer, part)
    target = f"{side}.tower.blocks.{layer}.{part}.{kind}"
    if part.startswith("next."):
        # Above the last layer comes the norm of the tower.
        is_last = layer + 1 == min(num_checkpoint, len(blocks))
        target = f"{side}.tower.norm.{kind}" if is_last else f"{side}.tower.blocks.{layer + 1}.{part.removeprefix('next.')}.{kind}"
    if reason:
        for source in sources:
            filling.skip(checkpoint, source, reason)
    else:
        filling.put(checkpoint, sources, target, value, "taken")


def _mismatch(filling: _Filling, checkpoint: _Checkpoint, layer: int, part: str) -> str:
    """Say why a part of a layer cannot mean the same here, or nothing."""
    settings = filling.model.settings
    blocks = getattr(filling.model, checkpoint.side).tower.blocks
    num_heads = checkpoint.number("num_attention_heads")
    if layer >= len(blocks):
        return f"the model has {len(blocks)} layers in this tower"
    if not isinstance(blocks[layer], Block):
        return "the tower has no Transformer blocks"
    if part.startswith("attention.") and num_heads not in (None, settings.num_heads):
        return f"{num_heads} heads in the checkpoint, {settings.num_heads} in the model"
    return ""


def _note_numbers(filling: _Filling, checkpoint: _Checkpoint) -> None:
    config, side = checkpoint.config, checkpoint.side
    if config.get("hidden_act", "gelu") != "gelu":
        filling.notes.append(f"{side}: the checkpoint's activation is {config['hidden_act']}, ours is gelu")
    if "num_attention_heads" not in config:
        filling.notes.append(f"{side}: config.json does not say the number of heads; attention is right only if it is ours")


def _no_place(name: str) -> str:
    # Names of heads begin at the root; those of embeddings lie at any depth.
    return next((reason for part, reason in _NO_PLACE if name.startswith(part) or f".{part}" in name), "")


def _fill_patches(filling: _Filling, checkpoint: _Checkpoint, patches: Mapping[str, str]) -> None:
    """Fill the patch embedding; our pixels lie in -1 to 1, those of the checkpoint are (x - mean) / deviation of x in 0 to 1."""
    if "weight" not in patches:
        return
    sources = tuple(patches.values())
    if filling.model.settings.patch_size is None:
        for source in sources:
            filling.skip(checkpoint, source, "the model has a convolutional stem; set patch_size")
        return
    weight = checkpoint.tensors[patches["weight"]].float()
    bias = checkpoint.tensors[patches["bias"]].float() if "bias" in patches else torch.zeros(len(weight))
    mean_C, deviation_C, known = _pixel_statistics(checkpoint.folder)
    if not known:
        filling.notes.append("picture: no preprocessor_config.json; its mean and deviation are taken to be 0.5, as ours")
    shifted = bias + (weight * ((0.5 - mean_C) / deviation_C)[:, None, None]).sum(dim=(1, 2, 3))
    scaled = weight * (0.5 / deviation_C)[:, None, None]
    fits = filling.model.state_dict()["picture.stem.weight"].shape == scaled.shape
    filling.put(checkpoint, (patches["weight"],), "picture.stem.weight", scaled, "taken", _pixel_reason(mean_C, deviation_C))
    if fits and "bias" in patches:
        filling.put(checkpoint, (patches["bias"],), "picture.stem.bias", shifted, "taken", _pixel_reason(mean_C, deviation_C))
    elif fits:
        filling.put(
            checkpoint, (patches["weight"],), "picture.stem.bias", shifted, "taken", "the checkpoint has no bias; shift of its pixels"
        )
    elif "bias" in patches:
        filling.skip(checkpoint, patches["bias"], "its weight does not fit")


def _pixel_statistics(folder: Path) -> tuple[Tensor, Tensor, bool]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return torch.full((3,), 0.5), torch.full((3,), 0.5), False
    config = json.loads(path.read_text())
    return torch.tensor(config.get("image_mean", [0.5] * 3)), torch.tensor(config.get("image_std", [0.5] * 3)), True


def _pixel_reason(mean_C: Tensor, deviation_C: Tensor) -> str:
    half = torch.full((3,), 0.5)
    return "" if torch.equal(mean_C, half) and torch.equal(deviation_C, half) else "scaled to our pixels"


def _fill_grid(filling: _Filling, checkpoint: _Checkpoint, name: str) -> None:
    """Fill the positions of patches without that of the class token."""
    positions_TD = checkpoint.tensors[name].float().reshape(-1, checkpoint.tensors[name].shape[-1])
    has_class = math.isqrt(len(positions_TD)) ** 2 != len(positions_TD)
    grid_TD = positions_TD[1:] if has_class else positions_TD
    side, ours = math.isqrt(len(grid_TD)), filling.model.settings.grid_side
    if side * side != len(grid_TD):
        filling.skip(checkpoint, name, f"{len(grid_TD)} positions are no square grid")
        return
    lost = "without the class token's" if has_class else ""
    if side == ours:
        filling.put(checkpoint, (name,), "picture.position", grid_TD[None], "taken", lost)
        return
    grid = grid_TD.T.reshape(1, -1, side, side)
    resized = functional.interpolate(grid, size=(ours, ours), mode="bicubic", align_corners=False)
    reason = f"{side} x {side} to {ours} x {ours} {lost}".strip()
    filling.put(checkpoint, (name,), "picture.position", resized.flatten(2).transpose(1, 2), "interpolated", reason)


def _fill_line(filling: _Filling, checkpoint: _Checkpoint, name: str, kind: str | None) -> None:
    """Fill the first positions of texts; every token of a single text also has the kind 0, which is added to them."""
    positions_TD = checkpoint.tensors[name].float()
    # RoBERTa numbers positions from its padding id + 1.
    start = 2 if "roberta" in str(checkpoint.config.get("model_type", name)) else 0
    length = filling.model.settings.text_length
    part_TD = positions_TD[start : start + length]
    sources: tuple[str, ...] = (name,)
    if kind is not None and checkpoint.tensors[kind].shape[1:] == part_TD.shape[1:]:
        part_TD, sources = part_TD + checkpoint.tensors[kind][0].float(), (name, kind)
    elif kind is not None:
        filling.skip(checkpoint, kind, "its width is not that of the positions")
    reason = f"rows {start} to {start + len(part_TD) - 1} of {len(positions_TD)}" + (", kind 0 added" if kind in sources else "")
    filling.put(checkpoint, sources, "text.position", part_TD[None], "partly" if len(part_TD) < len(positions_TD) else "taken", reason)


def _fill_words(filling: _Filling, checkpoint: _Checkpoint, name: str, vocabulary: Mapping[str, int] | None) -> None:
    theirs = _vocabulary(checkpoint.folder)
    words_VD, own_VD = checkpoint.tensors[name], filling.model.state_dict()["text.token.weight"]
    if vocabulary is None or theirs is None:
        missing = "the model's vocabulary was not given" if vocabulary is None else "the checkpoint has no vocab.txt and no tokenizer.json"
        filling.skip(checkpoint, name, missing)
    elif words_VD.shape[1] != own_VD.shape[1]:
        filling.skip(checkpoint, name, f"width {words_VD.shape[1]}, the model's is {own_VD.shape[1]}")
    else:
        pairs = [(row, theirs[token]) for token, row in vocabulary.items() if theirs.get(token, len(words_VD)) < len(words_VD)]
        rows, columns = (torch.tensor([pair[side] for pair in pairs], dtype=torch.long) for side in (0, 1))
        filled_VD = own_VD.clone()
        filled_VD[rows] = words_VD[columns].to(own_VD.dtype)
        outcome: Outcome = "taken" if len(pairs) == len(own_VD) else "partly"
        filling.put(checkpoint, (name,), "text.token.weight", filled_VD, outcome, f"{len(pairs)} of {len(own_VD)} rows, by token")


def _vocabulary(folder: Path) -> dict[str, int] | None:
    if (folder / "vocab.txt").is_file():
        return {token: row for row, token in enumerate((folder / "vocab.txt").read_text().splitlines())}
    if (folder / "tokenizer.json").is_file():
        return dict(_tokens(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]))
    return None


def _tokens(vocabulary: Mapping[str, int] | list[tuple[str, float]]) -> Iterator[tuple[str, int]]:
    """Unigram models list their tokens with scores; the others map them to ids."""
    if isinstance(vocabulary, Mapping):
        yield from vocabulary.items()
    else:
        yield from ((token, row) for row, (token, _) in enumerate(vocabulary))
