"""Named sizes of the model: one class, other numbers.

From `base` on, width and layers (picture, text, sound, fusion) are those for which memory and FLOPs were counted:
768 / 12, 6, 4, 3; 1280 / 24, 12, 6, 4; 2048 / 32, 12, 6, 6; 3072 / 48, 20, 8, 8.
"""

from reelspace.core.errors import SettingError
from reelspace.model.settings import ModelSettings, SoundSettings

# Ten seconds in 49 tokens.
_LONG_SOUND = SoundSettings(num_samples=160_000, num_mels=64)


def tiny() -> ModelSettings:
    """The teacher of the demo: 4 frames of 64 pixels, trained in two minutes of two cores."""
    return ModelSettings()


def tiny_student() -> ModelSettings:
    """The light student of `tiny`: narrower, shallower, half the frames; its dimension is the teacher's, whose space it lives in.

    It hears more coarsely, at half the moments and for half as long at each: spectra are a third of the time of a model this small.
    """
    return ModelSettings(
        width=48,
        num_heads=2,
        mlp_ratio=2.0,
        stem_channels=(8, 16, 32, 64),
        picture_layers=2,
        text_layers=1,
        fusion_layers=1,
        num_frames=2,
        sound=SoundSettings(hop=800, window=256),
    )


def tiny_top() -> ModelSettings:
    """`tiny` with a fusion that attends to the top of the towers only: the baseline of multi-scale fusion."""
    return tiny().model_copy(update={"fusion": "top"})


def tiny_concat() -> ModelSettings:
    """`tiny` with a fusion that joins the towers' pooled tops."""
    return tiny().model_copy(update={"fusion": "concat"})


def tiny_convolution() -> ModelSettings:
    """`tiny` with a convolutional picture tower of equal FLOPs: the baseline of the Transformer."""
    return tiny().model_copy(update={"picture_backbone": "convolution"})


def small() -> ModelSettings:
    """The layers of `base` at half its width: for one GPU."""
    return _at_full_resolution(base(), width=384, num_heads=6, dimension=256, vocabulary_size=32_000)


def base() -> ModelSettings:
    """About 224 million parameters: the smallest size whose towers have the shape of public ViT-B/16 and BERT-base weights."""
    return _at_full_resolution(
        tiny(), width=768, num_heads=12, dimension=512, picture_layers=12, text_layers=6, sound_layers=4, fusion_layers=3
    )


def one_billion() -> ModelSettings:
    """About 1,049 million parameters."""
    return _at_full_resolution(
        base(), width=1280, num_heads=16, dimension=768, picture_layers=24, text_layers=12, sound_layers=6, fusion_layers=4
    )


def three_billion() -> ModelSettings:
    """About 3,098 million parameters."""
    return _at_full_resolution(
        base(), width=2048, num_heads=16, dimension=1024, picture_layers=32, text_layers=12, sound_layers=6, fusion_layers=6
    )


def ten_billion() -> ModelSettings:
    """About 10,076 million parameters."""
    return _at_full_resolution(
        base(), width=3072, num_heads=24, dimension=1536, picture_layers=48, text_layers=20, sound_layers=8, fusion_layers=8
    )


def _at_full_resolution(start: ModelSettings, **numbers: int) -> ModelSettings:
    """Give 8 frames of 224 pixels in patches of 16, 64 tokens of text, 10 s of sound, and the numbers given."""
    shared = {
        "mlp_ratio": 4.0,
        "num_frames": 8,
        "frame_size": 224,
        "patch_size": 16,
        "fusion_queries": 8,
        "vocabulary_size": 64_000,
        "text_length": 64,
        "sound": _LONG_SOUND.model_dump(),
    }
    return ModelSettings.model_validate(start.model_dump() | shared | numbers)


PRESETS = {
    "tiny": tiny,
    "tiny_student": tiny_student,
    "tiny_top": tiny_top,
    "tiny_concat": tiny_concat,
    "tiny_convolution": tiny_convolution,
    "small": small,
    "base": base,
    "1b": one_billion,
    "3b": three_billion,
    "10b": ten_billion,
}


def preset(name: str) -> ModelSettings:
    """Give a named size.

    Raises:
        SettingError: no such preset; the message lists them.
    """
    if name not in PRESETS:
        raise SettingError(f"model: unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()
