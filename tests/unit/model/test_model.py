"""The model: masks, modalities, gradients and export. Legend: B works, F frames, H W pixels, C channels, S samples, L tokens."""

import numpy as np
import pytest
import torch
from torch import Tensor

from reelspace.model.blocks import Attention
from reelspace.model.model import ReelModel, num_parameters
from reelspace.model.presets import preset, tiny
from reelspace.model.settings import ModelSettings, SoundSettings
from reelspace.model.towers import SoundTower

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
SMALL = ModelSettings(
    width=32,
    num_heads=2,
    dimension=24,
    frame_size=32,
    stem_channels=(8, 16, 16),
    picture_layers=1,
    text_layers=1,
    fusion_layers=1,
    vocabulary_size=64,
    text_length=8,
    sound=SoundSettings(num_samples=8_000),
)


def make_model(settings: ModelSettings = SMALL) -> ReelModel:
    torch.manual_seed(0)
    return ReelModel(settings).eval()


def make_inputs(batch: int = 3, settings: ModelSettings = SMALL) -> Inputs:
    draw = np.random.default_rng(1)
    size, length = settings.frame_size, settings.text_length
    text_BL = draw.integers(2, settings.vocabulary_size, (batch, length)).astype(np.int32)
    return (
        torch.from_numpy(draw.integers(0, 256, (batch, settings.num_frames, size, size, 3), dtype=np.uint8)),
        torch.ones(batch, settings.num_frames, dtype=torch.bool),
        torch.from_numpy(draw.integers(-9_000, 9_000, (batch, settings.sound.num_samples)).astype(np.int16)),
        torch.ones(batch, dtype=torch.bool),
        torch.from_numpy(text_BL),
        torch.ones(batch, length, dtype=torch.bool),
    )


def test_every_vector_of_a_whole_work_has_length_one() -> None:
    output = make_model().encode_video(*make_inputs())
    for vectors in (output.embedding_BD, output.picture_BD, output.text_BD, output.sound_BD):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_a_missing_modality_has_the_zero_vector_and_its_bytes_do_not_matter() -> None:
    frames, frames_mask, audio, audio_mask, text, text_mask = make_inputs()
    audio_mask[0], text_mask[0], frames_mask[0, 2:] = False, False, False
    model = make_model()
    first = model.encode_video(frames, frames_mask, audio, audio_mask, text, text_mask)
    audio[0], text[0], frames[0, 2:] = 0, 5, 0
    second = model.encode_video(frames, frames_mask, audio, audio_mask, text, text_mask)
    assert not first.sound_BD[0].any()
    assert not first.text_BD[0].any()
    torch.testing.assert_close(first.embedding_BD, second.embedding_BD)


def test_a_work_with_nothing_still_gives_a_finite_vector() -> None:
    frames, frames_mask, audio, audio_mask, text, text_mask = make_inputs(1)
    output = make_model().encode_video(frames, frames_mask & False, audio, audio_mask & False, text, text_mask & False)
    assert torch.isfinite(output.embedding_BD).all()


def test_a_work_does_not_depend_on_the_works_beside_it() -> None:
    model, inputs = make_model(), make_inputs()
    together = model.encode_video(*inputs).embedding_BD
    alone = model.encode_video(*(part[1:2] for part in inputs)).embedding_BD
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=0)


def test_padding_of_a_text_does_not_change_its_vector() -> None:
    model = make_model()
    text_BL = torch.tensor([[5, 9, 7]], dtype=torch.int32)
    padded_BL = torch.tensor([[5, 9, 7, 0, 0]], dtype=torch.int32)
    torch.testing.assert_close(model.encode_text(text_BL, text_BL != 0), model.encode_text(padded_BL, padded_BL != 0), atol=1e-5, rtol=0)


def test_every_parameter_gets_a_gradient_when_nobody_has_sound() -> None:
    model = make_model()
    frames, frames_mask, audio, audio_mask, text, text_mask = make_inputs()
    model.encode_video(frames, frames_mask, audio, audio_mask & False, text, text_mask).embedding_BD.sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_no_parameter_is_without_dimensions() -> None:
    assert all(parameter.dim() > 0 for parameter in make_model().parameters())


def test_log_mel_equals_a_fourier_transform_of_each_window() -> None:
    settings = SMALL
    sound, tower = settings.sound, SoundTower(settings)
    audio_S = (8_000 * np.sin(np.arange(sound.num_samples) * 0.3)).astype(np.int16)
    found_WM = tower.log_mel(torch.from_numpy(audio_S)[None])[0].numpy()
    starts = np.arange(0, sound.num_samples - sound.window + 1, sound.hop)[: len(found_WM)]
    windows = np.stack([audio_S[start : start + sound.window] for start in starts]) / 32768.0
    power = np.abs(np.fft.rfft(windows * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(sound.window) / sound.window)))) ** 2
    expected_WM = np.log(power @ tower.mel.numpy() + 1e-4) * 0.25 + 1
    np.testing.assert_allclose(found_WM, expected_WM, atol=1e-3)


def test_attention_equals_the_formula_over_the_present_tokens() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    x_BTD = torch.randn(1, 5, 8)
    mask_BT = torch.tensor([[True, True, False, True, False]])
    found = attention(x_BTD, x_BTD, mask_BT)
    query, (key, value) = attention.query(x_BTD)[0], attention.key_value(x_BTD[0, mask_BT[0]]).chunk(2, dim=-1)
    heads = [torch.softmax(query[:, part] @ key[:, part].T / 2.0, dim=1) @ value[:, part] for part in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(found[0], attention.out(torch.cat(heads, dim=1)))


def test_the_student_has_at_most_three_tenths_of_the_teachers_parameters() -> None:
    teacher, student = preset("tiny"), preset("tiny_student")
    assert student.dimension == teacher.dimension
    assert num_parameters(ReelModel(student)) <= 0.3 * num_parameters(ReelModel(teacher))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="num_heads"):
        ModelSettings.model_validate(tiny().model_dump() | {"width": 96, "num_heads": 5})
