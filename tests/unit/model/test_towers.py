"""Towers and fusion against layers written in numpy, their taps, their missing parts and their gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reelspace.model.blocks import Block, ConvolutionBlock, FusionBlock
from reelspace.model.fusion import AttentionFusion, ConcatFusion, make_fusion
from reelspace.model.masked_language import MaskedLanguageHead
from reelspace.model.model import ReelModel, num_parameters
from reelspace.model.presets import preset, tiny
from reelspace.model.settings import ModelSettings, SoundSettings
from reelspace.model.towers import FramePool, PictureTower, SoundTower, TextTower, Tokens, Tower, tap_layers, transformer_blocks
from tests.unit.model import references
from tests.unit.model.references import weights

SMALL = ModelSettings(
    width=16, num_heads=2, dimension=12, frame_size=32, stem_channels=(8, 8, 8), picture_layers=4, text_layers=2, fusion_layers=2
)
NAMES = ("progressive", "top", "concat")


def spread(module: nn.Module) -> nn.Module:
    """Move every weight away from its start, so that no zero or one hides a mistake."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


def everywhere(x_BTD: Tensor) -> Tensor:
    return torch.ones(x_BTD.shape[:2], dtype=torch.bool)


def towers_of(batch: int = 2, num_taps: int = 2, width: int = 16) -> tuple[Tokens, Tokens, Tokens]:
    """Picture, text and sound of random numbers, with 6, 4 and 3 tokens."""
    torch.manual_seed(2)
    found = []
    for num_tokens in (6, 4, 3):
        taps = tuple(torch.randn(batch, num_tokens, width) for _ in range(num_taps))
        found.append(Tokens(taps[-1], torch.ones(batch, num_tokens, dtype=torch.bool), torch.randn(batch, 12), taps))
    return found[0], found[1], found[2]


def test_a_block_equals_its_reference() -> None:
    torch.manual_seed(0)
    block, x_BTD = spread(Block(16, 2, 3.0)), torch.randn(2, 5, 16)
    found = block(x_BTD, everywhere(x_BTD)).detach().numpy()
    for row in range(2):
        np.testing.assert_allclose(found[row], references.block(x_BTD[row].double().numpy(), weights(block), "", 2), atol=1e-5)


def test_a_fusion_block_equals_its_reference() -> None:
    torch.manual_seed(0)
    block, queries, context = spread(FusionBlock(16, 2, 3.0)), torch.randn(1, 3, 16), torch.randn(1, 7, 16)
    found = block(queries, context, everywhere(context)).detach().numpy()[0]
    expected = references.fusion_block(queries[0].double().numpy(), context[0].double().numpy(), weights(block), "", 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_convolution_block_equals_its_reference() -> None:
    torch.manual_seed(0)
    block, x_BTD = spread(ConvolutionBlock(16, 3.0, 3)), torch.randn(1, 9, 16)
    own = weights(block)
    grid = references.layer_norm(x_BTD[0].double().numpy(), own, "norm").reshape(3, 3, 16)
    inner = references.gelu(references.convolution(grid, own["spread.weight"], own["spread.bias"]))
    expected = x_BTD[0].numpy() + references.convolution(inner, own["join.weight"], own["join.bias"]).reshape(9, 16)
    np.testing.assert_allclose(block(x_BTD, everywhere(x_BTD))[0].detach().numpy(), expected, atol=1e-5)


def test_the_convolutional_picture_tower_costs_the_flops_of_the_transformer() -> None:
    flops = []
    for name in ("tiny", "tiny_convolution"):
        settings = preset(name)
        tower = PictureTower(settings)
        with FlopCounterMode(display=False) as counter:
            tower(torch.zeros(1, 4, 64, 64, 3), torch.ones(1, 4, dtype=torch.bool))
        flops.append(counter.get_total_flops())
    assert flops[1] == pytest.approx(flops[0], rel=0.05)


def test_a_tower_gives_its_tokens_at_every_depth_and_their_pooled_unit_vector() -> None:
    torch.manual_seed(0)
    tower, x_BTD = spread(Tower(SMALL, transformer_blocks(SMALL, 4))), torch.randn(1, 5, 16)
    found, own = tower(x_BTD, everywhere(x_BTD)), weights(tower)
    x_TD, after = x_BTD[0].double().numpy(), []
    for layer in range(4):
        x_TD = references.block(x_TD, own, f"blocks.{layer}.", 2)
        after.append(x_TD)
    top = references.layer_norm(x_TD, own, "norm")
    assert len(found.taps) == 2
    np.testing.assert_allclose(found.taps[0][0].detach().numpy(), after[1], atol=1e-5)
    np.testing.assert_allclose(found.taps[1][0].detach().numpy(), top, atol=1e-5)
    expected = references.unit(references.linear(top.mean(axis=0), own, "project"))
    np.testing.assert_allclose(found.vector_BD[0].detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("num_layers", "num_taps", "expected"), [(4, 2, (2, 4)), (4, 4, (1, 2, 3, 4)), (1, 3, (1, 1, 1)), (12, 3, (4, 8, 12)), (5, 2, (3, 5))]
)
def test_taps_lie_evenly_from_low_to_high(num_layers: int, num_taps: int, expected: tuple[int, ...]) -> None:
    assert tap_layers(num_layers, num_taps) == expected


def test_the_isomorphic_towers_have_blocks_of_one_class_and_size() -> None:
    model = ReelModel(tiny())
    shapes = {
        tuple((name, tuple(weight.shape)) for name, weight in block.named_parameters())
        for tower in (model.picture, model.text, model.sound)
        for block in tower.tower.blocks
    }
    assert len(shapes) == 1


@pytest.mark.parametrize("progressive", [True, False], ids=["progressive", "top"])
def test_attention_fusion_equals_its_reference(progressive: bool) -> None:
    fusion, towers = spread(AttentionFusion(SMALL, progressive=progressive)), towers_of()
    own, found = weights(fusion), fusion(towers).detach().numpy()
    for row in range(2):
        queries = own["queries"][0]
        for scale in range(2):
            taps = [tower.taps[scale if progressive else -1][row].double().numpy() + own["modality"][i] for i, tower in enumerate(towers)]
            queries = references.fusion_block(queries, np.concatenate(taps), own, f"blocks.{scale}.", 2)
        pooled = references.layer_norm(queries, own, "norm").mean(axis=0)
        np.testing.assert_allclose(found[row], references.unit(references.linear(pooled, own, "project")), atol=1e-5)


def test_concatenation_equals_its_reference() -> None:
    fusion, towers = spread(ConcatFusion(SMALL)), towers_of()
    own, found = weights(fusion), fusion(towers).detach().numpy()
    for row in range(2):
        pooled = np.concatenate([tower.tokens_BTD[row].double().numpy().mean(axis=0) for tower in towers])
        hidden = references.gelu(references.linear(references.layer_norm(pooled, own, "norm"), own, "up"))
        np.testing.assert_allclose(found[row], references.unit(references.linear(hidden, own, "project")), atol=1e-5)


def test_only_the_progressive_fusion_sees_low_taps() -> None:
    towers = towers_of()
    changed = (towers[0]._replace(taps=(torch.randn(2, 6, 16), towers[0].taps[1])), *towers[1:])
    for name in NAMES:
        fusion = spread(make_fusion(SMALL.model_copy(update={"fusion": name})))
        differs = (fusion(towers) - fusion(changed)).abs().max().item() > 1e-4
        assert differs == (name == "progressive"), name


@pytest.mark.parametrize("name", NAMES)
def test_a_fusion_does_not_read_masked_tokens(name: str) -> None:
    fusion, towers = spread(make_fusion(SMALL.model_copy(update={"fusion": name}))), towers_of()
    mask = torch.tensor([[True, True, True, False]] * 2)
    noise = torch.zeros(2, 4, 16)
    noise[:, 3] = 9.0
    text = towers[1]
    masked, other = (
        fusion((towers[0], Tokens(text.tokens_BTD + add, mask, text.vector_BD, tuple(tap + add for tap in text.taps)), towers[2]))
        for add in (torch.zeros(2, 4, 16), noise)
    )
    torch.testing.assert_close(masked, other)


def test_the_baselines_of_the_fusion_are_as_large_as_the_fusion() -> None:
    sizes = [num_parameters(make_fusion(tiny().model_copy(update={"fusion": name}))) for name in NAMES]
    assert max(sizes) <= 1.05 * min(sizes)


def test_the_pool_weighs_frames_by_attention_and_starts_as_the_mean() -> None:
    torch.manual_seed(0)
    pool, frames, vectors = FramePool(SMALL), torch.randn(2, 3, 16), torch.randn(2, 3, 12)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    start = pool(frames, vectors, mask).detach()
    torch.testing.assert_close(start[0], nn.functional.normalize(vectors[0].mean(dim=0), dim=0))
    torch.testing.assert_close(start[1], nn.functional.normalize(vectors[1, :2].mean(dim=0), dim=0))
    spread(pool)
    own, found = weights(pool), pool(frames, vectors, mask).detach().numpy()
    for row, num in enumerate((3, 2)):
        keys = references.layer_norm(frames[row, :num].double().numpy(), own, "norm") + own["position"][0, :num]
        shares = references.softmax(keys @ own["query"][0, 0] / 4.0)
        np.testing.assert_allclose(found[row], references.unit(shares @ vectors[row, :num].double().numpy()), atol=1e-5)
    assert not pool(frames, vectors, mask & False).any()


def test_a_work_of_several_frames_is_pooled_from_the_vectors_of_its_frames() -> None:
    tower = spread(PictureTower(SMALL))
    frames = torch.rand(1, 3, 32, 32, 3) * 255
    together = tower(frames, torch.ones(1, 3, dtype=torch.bool))
    singles = [tower(frames[:, row : row + 1], torch.ones(1, 1, dtype=torch.bool)) for row in range(3)]
    torch.testing.assert_close(together.tokens_BTD, torch.cat([single.tokens_BTD for single in singles], dim=1), atol=1e-5, rtol=0)
    means = torch.stack([single.tokens_BTD.mean(dim=1)[0] for single in singles])[None]
    vectors = torch.stack([single.vector_BD[0] for single in singles])[None]
    torch.testing.assert_close(together.vector_BD, tower.pool(means, vectors, torch.ones(1, 3, dtype=torch.bool)), atol=1e-5, rtol=0)


def test_patches_are_a_stem_of_their_own() -> None:
    settings = SMALL.model_copy(update={"patch_size": 8})
    tower = PictureTower(settings)
    found = tower(torch.rand(1, 2, 32, 32, 3) * 255, torch.ones(1, 2, dtype=torch.bool))
    assert found.tokens_BTD.shape == (1, 2 * 16, 16)
    with pytest.raises(ValueError, match="patch_size"):
        ModelSettings.model_validate(SMALL.model_dump() | {"patch_size": 7})


@pytest.mark.parametrize("make", [lambda: Block(8, 2, 2.0), lambda: ConvolutionBlock(8, 2.0, 2)], ids=["transformer", "convolution"])
def test_gradients_of_blocks_are_those_of_small_steps(make: object) -> None:
    torch.manual_seed(0)
    block = spread(make()).double()  # type: ignore[operator]
    x = torch.randn(1, 4, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda tokens: block(tokens, everywhere(tokens)), (x,))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_fusions_are_those_of_small_steps(name: str) -> None:
    fusion = spread(make_fusion(SMALL.model_copy(update={"fusion": name}))).double()
    taps = [tuple(tap.double().requires_grad_() for tap in tower.taps) for tower in towers_of(1)]

    def fused(*flat: Tensor) -> Tensor:
        towers = []
        for row in range(3):
            pair = flat[2 * row : 2 * row + 2]
            towers.append(Tokens(pair[-1], everywhere(pair[-1]), torch.zeros(1, 12), pair))
        return fusion(towers)

    assert torch.autograd.gradcheck(fused, tuple(tap for pair in taps for tap in pair), fast_mode=True)


def test_the_text_tower_equals_its_reference() -> None:
    settings = SMALL.model_copy(update={"vocabulary_size": 64, "text_length": 8})
    tower = spread(TextTower(settings))
    ids_BL = torch.tensor([[5, 9, 7, 0, 0]])
    own = weights(tower)
    x_TD = own["token.weight"][[5, 9, 7]] + own["position"][0, :3]
    for layer in range(2):
        x_TD = references.block(x_TD, own, f"tower.blocks.{layer}.", 2)
    pooled = references.layer_norm(x_TD, own, "tower.norm").mean(axis=0)
    expected = references.unit(references.linear(pooled, own, "tower.project"))
    np.testing.assert_allclose(tower(ids_BL, ids_BL != 0).vector_BD[0].detach().numpy(), expected, atol=1e-5)


def test_the_stem_and_the_picture_tower_equal_their_reference() -> None:
    tower = spread(PictureTower(SMALL))
    own, frames = weights(tower), torch.rand(1, 1, 32, 32, 3) * 255
    grid = frames[0, 0].double().numpy() / 127.5 - 1
    for layer in range(3):
        grid = references.convolution(grid, own[f"stem.{3 * layer}.weight"], own[f"stem.{3 * layer}.bias"], stride=2)
        grid = references.gelu(references.group_norm(grid, 8, own[f"stem.{3 * layer + 1}.weight"], own[f"stem.{3 * layer + 1}.bias"]))
    grid = references.convolution(grid, own["stem.9.weight"], own["stem.9.bias"])
    x_TD = grid.reshape(16, 16) + own["position"][0]
    for layer in range(4):
        x_TD = references.block(x_TD, own, f"tower.blocks.{layer}.", 2)
    top = references.layer_norm(x_TD, own, "tower.norm")
    found = tower(frames, torch.ones(1, 1, dtype=torch.bool))
    np.testing.assert_allclose(found.tokens_BTD[0].detach().numpy(), top, atol=1e-5)
    expected = references.unit(references.linear(top.mean(axis=0), own, "tower.project"))
    np.testing.assert_allclose(found.vector_BD[0].detach().numpy(), expected, atol=1e-5)


def test_the_sound_tower_equals_its_reference() -> None:
    settings = SMALL.model_copy(update={"sound": SoundSettings(num_samples=8_000)})
    tower = spread(SoundTower(settings))
    own, mel = weights(tower), torch.randn(1, tower.num_tokens * tower.patch, settings.sound.num_mels)
    x_TD = references.linear(mel[0].double().numpy().reshape(tower.num_tokens, -1), own, "stem") + own["position"][0]
    x_TD = references.block(x_TD, own, "tower.blocks.0.", 2)
    expected = references.unit(references.linear(references.layer_norm(x_TD, own, "tower.norm").mean(axis=0), own, "tower.project"))
    np.testing.assert_allclose(tower(mel, torch.ones(1, dtype=torch.bool)).vector_BD[0].detach().numpy(), expected, atol=1e-5)


def test_the_embedding_is_the_weighted_sum_of_the_towers_and_the_fusion() -> None:
    model = spread(ReelModel(SMALL.model_copy(update={"vocabulary_size": 64, "text_length": 8})))
    picture, text, sound = towers_of()
    found = model.fuse(picture, text, sound)
    fused = model.fusion((picture, text, sound))
    total = sum(
        weight * part.detach().double().numpy()
        for weight, part in ((1.0, picture.vector_BD), (0.7, text.vector_BD), (0.5, sound.vector_BD), (0.5, fused))
    )
    np.testing.assert_allclose(found.embedding_BD.detach().numpy(), references.unit(total), atol=1e-5)


def test_the_head_of_masked_words_equals_its_reference() -> None:
    torch.manual_seed(0)
    head, text, context = spread(MaskedLanguageHead(16, 2, 3.0, 30)), torch.randn(2, 4, 16), torch.randn(2, 5, 16)
    token_VD, mask = torch.randn(30, 16), torch.tensor([[True] * 5, [False] * 5])
    is_masked = torch.tensor([[False, True, False, False], [True, False, False, True]])
    own, expected = weights(head), []
    for row, num_seen in enumerate((5, 0)):
        seen = np.concatenate([own["nothing_seen"][0], context[row, :num_seen].double().numpy()])
        read = references.fusion_block(text[row].double().numpy(), seen, own, "context.", 2)[is_masked[row].numpy()]
        hidden = references.layer_norm(
            references.gelu(references.linear(references.layer_norm(read, own, "norm"), own, "dense")), own, "dense_norm"
        )
        expected.append(hidden @ token_VD.double().numpy().T + own["bias_V"])
    np.testing.assert_allclose(
        head(text, context, mask, is_masked, token_VD).detach().numpy(), np.concatenate(expected), atol=1e-5, rtol=1e-5
    )
