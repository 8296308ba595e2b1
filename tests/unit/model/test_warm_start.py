"""Warm start from small, randomly initialised checkpoints that the public library writes.

Legend: B rows, T tokens, D width, L text tokens.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reelspace.core.errors import UserError
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings, SoundSettings
from reelspace.model.warm_start import warm_start

transformers = pytest.importorskip("transformers", reason="needs the extra `clip`")

WIDTH, HEADS, EPS = 32, 4, 1e-5
SHAPE = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH, "layer_norm_eps": EPS}


def make_model(**numbers: object) -> ReelModel:
    torch.manual_seed(7)
    settings = {
        "width": WIDTH,
        "num_heads": HEADS,
        "mlp_ratio": 4.0,
        "dimension": 16,
        "frame_size": 64,
        "patch_size": 16,
        "num_frames": 2,
        "picture_layers": 2,
        "text_layers": 2,
        "fusion_layers": 1,
        "vocabulary_size": 64,
        "text_length": 8,
        "sound": SoundSettings(num_samples=8_000).model_dump(),
    }
    return ReelModel(ModelSettings.model_validate(settings | numbers)).eval()


def written(folder: Path, model: torch.nn.Module) -> torch.nn.Module:
    """Write a checkpoint with every tensor drawn at random, so that no norm is the identity and no bias zero."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return model.eval()


def vit(folder: Path, **numbers: object) -> torch.nn.Module:
    shape = {"num_hidden_layers": 2, "image_size": 64, "patch_size": 16} | SHAPE | numbers
    return written(folder, transformers.ViTModel(transformers.ViTConfig(**shape)))


def bert(folder: Path, **numbers: object) -> torch.nn.Module:
    shape = {"num_hidden_layers": 2, "vocab_size": 40, "max_position_embeddings": 12} | SHAPE | numbers
    return written(folder, transformers.BertModel(transformers.BertConfig(**shape)))


def clip(folder: Path) -> torch.nn.Module:
    vision = {"num_hidden_layers": 2, "image_size": 64, "patch_size": 16, "hidden_act": "gelu", "projection_dim": 16} | SHAPE
    text = {"num_hidden_layers": 1, "vocab_size": 40, "max_position_embeddings": 12, "projection_dim": 16} | SHAPE
    return written(folder, transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)))


def tokens(seed: int = 5, num: int = 16) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(3, num, WIDTH), torch.ones(3, num, dtype=torch.bool)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_picture_block_gives_what_the_vit_layer_gives(tmp_path: Path) -> None:
    theirs, ours = vit(tmp_path), make_model()
    x_BTD, mask_BT = tokens()
    before = ours.picture.tower.blocks[1](x_BTD, mask_BT)
    warm_start(ours, tmp_path, None)
    for layer in (0, 1):
        close(ours.picture.tower.blocks[layer](x_BTD, mask_BT), theirs.layers[layer](x_BTD))
    assert (before - theirs.layers[1](x_BTD)).abs().max() > 0.1


def test_the_whole_picture_tower_gives_what_the_vit_gives_on_the_same_tokens(tmp_path: Path) -> None:
    theirs, ours = vit(tmp_path), make_model()
    warm_start(ours, tmp_path, None)
    x_BTD, mask_BT = tokens()
    expected = x_BTD
    for layer in theirs.layers:
        expected = layer(expected)
    close(ours.picture.tower(x_BTD, mask_BT).tokens_BTD, theirs.layernorm(expected))


def test_a_public_vits_smaller_epsilon_is_invisible_on_tokens_of_unit_variance(tmp_path: Path) -> None:
    theirs, ours = vit(tmp_path, layer_norm_eps=1e-12), make_model()
    warm_start(ours, tmp_path, None)
    x_BTD, mask_BT = tokens()
    torch.testing.assert_close(ours.picture.tower.blocks[0](x_BTD, mask_BT), theirs.layers[0](x_BTD), atol=1e-4, rtol=0)


def test_patches_and_positions_are_those_of_the_vit(tmp_path: Path) -> None:
    theirs, ours = vit(tmp_path), make_model()
    warm_start(ours, tmp_path, None)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    found = ours.picture.stem(pixels).flatten(2).transpose(1, 2) + ours.picture.position
    close(found, theirs.embeddings(pixels)[:, 1:])


def test_clip_patches_read_our_pixels_as_clip_reads_its_own(tmp_path: Path) -> None:
    theirs, ours = clip(tmp_path), make_model()
    mean, deviation = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": deviation}))
    warm_start(ours, tmp_path, None)
    shares = torch.rand(2, 3, 64, 64)
    normal = (shares - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    expected = theirs.vision_model.embeddings(normal)[:, 1:]
    found = ours.picture.stem(shares * 2 - 1).flatten(2).transpose(1, 2) + ours.picture.position
    # Sums of 768 products: float32 is exact to a share of their size.
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_picture_block_gives_what_the_clip_layer_gives(tmp_path: Path) -> None:
    theirs, ours = clip(tmp_path), make_model()
    report = warm_start(ours, tmp_path, None)
    x_BTD, mask_BT = tokens()
    close(ours.picture.tower.blocks[1](x_BTD, mask_BT), theirs.vision_model.encoder.layers[1](x_BTD, None))
    reasons = {row.source: row.reason for row in report.having("skipped")}
    assert "no norm before" in reasons["vision_model.pre_layrnorm.weight"]
    assert reasons["text_model.embeddings.token_embedding.weight"] == "not a part of the picture encoder"


def cubic(grid: np.ndarray, size: int) -> np.ndarray:
    """Keys' cubic convolution with a = -0.75, half-pixel centres and repeated borders, along the first axis."""
    rows = []
    for place in (np.arange(size) + 0.5) * len(grid) / size - 0.5:
        taps = np.floor(place).astype(int) + np.arange(-1, 3)
        far = np.abs(place - taps)
        near_weight = 1.25 * far**3 - 2.25 * far**2 + 1
        far_weight = -0.75 * far**3 + 3.75 * far**2 - 6 * far + 3
        weights = np.where(far <= 1, near_weight, far_weight)
        rows.append(np.tensordot(weights, grid[np.clip(taps, 0, len(grid) - 1)], axes=1))
    return np.stack(rows)


@pytest.mark.parametrize("frame_size", [96, 32])
def test_positions_of_another_grid_are_interpolated_bicubically(tmp_path: Path, frame_size: int) -> None:
    theirs, ours = vit(tmp_path), make_model(frame_size=frame_size)
    report = warm_start(ours, tmp_path, None)
    grid = theirs.embeddings.position_embeddings[0, 1:].detach().numpy().reshape(4, 4, WIDTH)
    side = frame_size // 16
    expected = cubic(cubic(grid, side).swapaxes(0, 1), side).swapaxes(0, 1)
    np.testing.assert_allclose(ours.picture.position[0].detach().numpy(), expected.reshape(-1, WIDTH), atol=1e-5)
    assert [(row.source, row.target) for row in report.having("interpolated")] == [("embeddings.position_embeddings", "picture.position")]


def test_the_first_attention_of_bert_is_kept_exactly(tmp_path: Path) -> None:
    theirs, ours = bert(tmp_path), make_model()
    warm_start(ours, None, tmp_path)
    x_BTD, mask_BT = tokens(num=8)
    seen = {}
    theirs.encoder.layer[0].attention.output.dense.register_forward_hook(lambda _module, _inputs, output: seen.update(mixed=output))
    theirs.encoder.layer[0](theirs.embeddings.LayerNorm(x_BTD))
    block = ours.text.tower.blocks[0]
    normed = block.attention_norm(x_BTD)
    close(block.attention(normed, normed, mask_BT), seen["mixed"])


def test_every_norm_of_bert_stands_before_the_sublayer_that_reads_it(tmp_path: Path) -> None:
    theirs, ours = bert(tmp_path), make_model()
    warm_start(ours, None, tmp_path)
    lower, upper = theirs.encoder.layer
    tower = ours.text.tower
    pairs = (
        (tower.blocks[0].mlp_norm, lower.attention.output.LayerNorm),
        (tower.blocks[1].attention_norm, lower.output.LayerNorm),
        (tower.blocks[1].mlp_norm, upper.attention.output.LayerNorm),
        (tower.norm, upper.output.LayerNorm),
    )
    x_BTD, _ = tokens(num=8)
    for found, expected in pairs:
        close(found(x_BTD), expected(x_BTD))
    close(tower.blocks[1].mlp.down(x_BTD.repeat(1, 1, 4)), upper.output.dense(x_BTD.repeat(1, 1, 4)))


def test_text_positions_are_the_first_ones_with_the_kind_of_a_single_text(tmp_path: Path) -> None:
    theirs, ours = bert(tmp_path), make_model()
    report = warm_start(ours, None, tmp_path)
    table = theirs.embeddings
    expected_LD = table.position_embeddings.weight[:8] + table.token_type_embeddings.weight[0]
    close(ours.text.position[0], expected_LD)
    assert {row.source for row in report.having("partly")} == {
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
    }


def test_roberta_positions_begin_after_its_padding(tmp_path: Path) -> None:
    shape = {"num_hidden_layers": 2, "vocab_size": 40, "max_position_embeddings": 12} | SHAPE
    theirs = written(tmp_path, transformers.RobertaModel(transformers.RobertaConfig(**shape)))
    ours = make_model()
    warm_start(ours, None, tmp_path)
    ids_BL = torch.tensor([[5, 6, 7, 8]])
    seen = {}
    theirs.embeddings.position_embeddings.register_forward_hook(lambda _module, _inputs, output: seen.update(positions=output))
    theirs(ids_BL)
    expected_LD = seen["positions"].reshape(-1, WIDTH)[:4] + theirs.embeddings.token_type_embeddings.weight[0]
    close(ours.text.position[0, :4], expected_LD)


def test_words_are_taken_by_their_string_and_the_others_stay(tmp_path: Path) -> None:
    theirs, ours = bert(tmp_path), make_model()
    (tmp_path / "vocab.txt").write_text("\n".join(f"word{row}" for row in range(40)))
    start_VD = ours.text.token.weight.detach().clone()
    vocabulary = {f"word{2 * row}": row for row in range(64)}
    report = warm_start(ours, None, tmp_path, vocabulary)
    found_VD, words_VD = ours.text.token.weight, theirs.embeddings.word_embeddings.weight
    close(found_VD[:20], words_VD[::2])
    torch.testing.assert_close(found_VD[20:], start_VD[20:], atol=0, rtol=0)
    assert "20 of 64 rows, by token" in report.table()


def test_words_stay_when_nobody_says_what_the_ids_mean(tmp_path: Path) -> None:
    bert(tmp_path, vocab_size=64)
    ours = make_model()
    start_VD = ours.text.token.weight.detach().clone()
    report = warm_start(ours, None, tmp_path)
    torch.testing.assert_close(ours.text.token.weight.detach(), start_VD, atol=0, rtol=0)
    assert "vocabulary was not given" in {row.source: row.reason for row in report.rows}["embeddings.word_embeddings.weight"]


def test_every_tensor_is_accounted_for_and_what_is_called_left_has_not_changed(tmp_path: Path) -> None:
    vit(tmp_path / "vit")
    bert(tmp_path / "bert")
    ours = make_model()
    start = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    report = warm_start(ours, tmp_path / "vit", tmp_path / "bert")
    sources = [row.source for row in report.rows if row.source]
    stored = [name for folder in ("vit", "bert") for name in load_file(tmp_path / folder / "model.safetensors")]
    assert sorted(sources) == sorted(stored)
    left = {row.target for row in report.having("left")}
    changed = {name for name, tensor in ours.state_dict().items() if not torch.equal(tensor, start[name])}
    assert left | changed == set(start)
    assert not left & changed
    assert report.table().count("\n") >= len(report.rows)


def test_sizes_that_do_not_fit_are_skipped_with_both_sizes(tmp_path: Path) -> None:
    vit(tmp_path, hidden_size=64, intermediate_size=256)
    report = warm_start(make_model(), tmp_path, None)
    assert not report.having("taken")
    reasons = {row.source: row.reason for row in report.having("skipped")}
    assert "[64, 64] does not fit [32, 32]" in reasons["encoder.layer.0.attention.output.dense.weight"]
    assert "[128, 64] does not fit [64, 32]" in reasons["encoder.layer.0.attention.attention.key.weight"]
    assert reasons["embeddings.patch_embeddings.projection.bias"] == "its weight does not fit"


def test_another_number_of_heads_leaves_the_attention_alone(tmp_path: Path) -> None:
    vit(tmp_path, num_attention_heads=2)
    report = warm_start(make_model(), tmp_path, None)
    reasons = {row.source: row.reason for row in report.having("skipped")}
    assert reasons["encoder.layer.1.attention.attention.query.weight"] == "2 heads in the checkpoint, 4 in the model"
    assert "encoder.layer.1.intermediate.dense.weight" in {row.source for row in report.having("taken")}


def test_layers_without_a_counterpart_are_named_on_both_sides(tmp_path: Path) -> None:
    vit(tmp_path / "deep", num_hidden_layers=3)
    deep = warm_start(make_model(), tmp_path / "deep", None)
    assert {row.reason for row in deep.having("skipped") if "layer.2." in row.source} == {"the model has 2 layers in this tower"}
    vit(tmp_path / "shallow", num_hidden_layers=1)
    shallow = warm_start(make_model(), tmp_path / "shallow", None)
    assert "picture.tower.blocks.1.attention.key_value.weight" in {row.target for row in shallow.having("left")}


@pytest.mark.parametrize(
    ("numbers", "reason"), [({"patch_size": None}, "set patch_size"), ({"picture_backbone": "convolution"}, "no Transformer")]
)
def test_a_tower_of_another_kind_says_what_it_cannot_take(tmp_path: Path, numbers: dict[str, object], reason: str) -> None:
    vit(tmp_path)
    report = warm_start(make_model(**numbers), tmp_path, None)
    assert any(reason in row.reason for row in report.having("skipped"))


def test_another_activation_is_noted(tmp_path: Path) -> None:
    vit(tmp_path, hidden_act="relu")
    assert any("relu" in note for note in warm_start(make_model(), tmp_path, None).notes)


def test_half_precision_and_several_files_are_read(tmp_path: Path) -> None:
    vit(tmp_path)
    tensors = {name: tensor.half() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    (tmp_path / "model.safetensors").unlink()
    for part in (0, 1):
        names = sorted(tensors)[part::2]
        save_file({name: tensors[name] for name in names}, tmp_path / f"model-{part}.safetensors")
    ours = make_model()
    assert not [row for row in warm_start(ours, tmp_path, None).having("skipped") if "layer." in row.source]
    expected = tensors["encoder.layer.0.output.dense.weight"].float()
    torch.testing.assert_close(ours.picture.tower.blocks[0].mlp.down.weight.detach(), expected, atol=0, rtol=0)


def test_a_folder_of_another_family_is_refused(tmp_path: Path) -> None:
    bert(tmp_path / "bert")
    with pytest.raises(UserError, match="ViT or CLIP"):
        warm_start(make_model(), tmp_path / "bert", None)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        warm_start(make_model(), None, tmp_path)
