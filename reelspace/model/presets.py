"""Named sizes of the model."""

from reelspace.core.errors import SettingError
from reelspace.model.settings import ModelSettings


def tiny() -> ModelSettings:
    """The teacher of the demo: 4 frames of 64 pixels, trained in two minutes of two cores."""
    return ModelSettings()


def tiny_student() -> ModelSettings:
    """The light student of `tiny`: narrower, shallower, half the frames; its dimension is the teacher's, whose space it lives in."""
    return ModelSettings(
        width=48, mlp_ratio=2.0, stem_channels=(16, 32, 64, 64), picture_layers=2, text_layers=1, fusion_layers=1, num_frames=2
    )


PRESETS = {"tiny": tiny, "tiny_student": tiny_student}


def preset(name: str) -> ModelSettings:
    """Give a named size.

    Raises:
        SettingError: no such preset; the message lists them.
    """
    if name not in PRESETS:
        raise SettingError(f"model: unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()
