"""Numbers of one model: every preset is the same class with other numbers."""

from typing import Literal

from pydantic import Field, model_validator

from reelspace.core.settings import Settings


class SoundSettings(Settings):
    """How sound becomes log-mel tokens."""

    sample_rate: int = Field(16_000, ge=1000, description="Samples per second, Hz.")
    num_samples: int = Field(32_000, ge=1000, description="Samples read per work; shorter sound is padded with zeros.")
    window: int = Field(512, ge=64, description="Samples per analysis window.")
    hop: int = Field(400, ge=16, description="Samples between windows.")
    num_mels: int = Field(32, ge=8, le=128, description="Mel bands.")
    patch: int = Field(8, ge=1, description="Windows per token.")


class ModelSettings(Settings):
    """Architecture of teacher or student."""

    width: int = Field(96, ge=16, multiple_of=8, description="Width of the Transformer blocks of every tower.")
    num_heads: int = Field(4, ge=1, description="Attention heads.")
    mlp_ratio: float = Field(3.0, gt=0, le=8, description="Width of the MLP as a multiple of the block's width.")
    dimension: int = Field(128, ge=8, le=4096, description="Dimension of the embedding.")
    num_frames: int = Field(4, ge=1, le=256, description="Frames per work.")
    frame_size: int = Field(64, ge=16, le=1024, multiple_of=16, description="Side of a frame, pixels.")
    stem_channels: tuple[int, ...] = Field(
        (24, 48, 96, 96), min_length=1, description="Channels of the stride-2 convolutions before the picture tower."
    )
    patch_size: int | None = Field(
        None, ge=4, le=64, description="Side of a linearly embedded patch, pixels, in place of the convolutional stem; None: the stem."
    )
    picture_backbone: Literal["transformer", "convolution"] = Field(
        "transformer", description="Blocks of the picture tower; convolution is the baseline of equal FLOPs."
    )
    picture_layers: int = Field(4, ge=1, description="Blocks of the picture tower.")
    text_layers: int = Field(2, ge=1, description="Blocks of the text tower.")
    sound_layers: int = Field(1, ge=1, description="Blocks of the sound tower.")
    fusion: Literal["progressive", "top", "concat"] = Field(
        "progressive",
        description="progressive reads the towers from low to high taps; top attends to their last tokens only; concat joins pooled ones.",
    )
    fusion_layers: int = Field(2, ge=1, description="Cross-attention layers of the fusion; of the progressive one, its scales.")
    fusion_queries: int = Field(4, ge=1, description="Query vectors of the fusion.")
    residual_text: float = Field(0.7, ge=0, description="Weight of the text vector in the embedding's residual path.")
    residual_sound: float = Field(0.5, ge=0, description="Weight of the sound vector in the embedding's residual path.")
    residual_fusion: float = Field(0.5, ge=0, description="Weight of the fused vector in the embedding.")
    vocabulary_size: int = Field(2_000, ge=64, description="Entries of the tokenizer.")
    text_length: int = Field(24, ge=4, le=2048, description="Tokens read per text; longer text is cut.")
    sound: SoundSettings = SoundSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "ModelSettings":
        if self.width % self.num_heads:
            raise ValueError(f"num_heads is {self.num_heads}, expected a divisor of width = {self.width}")
        if self.patch_size is not None and self.frame_size % self.patch_size:
            raise ValueError(f"patch_size is {self.patch_size}, expected a divisor of frame_size = {self.frame_size}")
        return self

    @property
    def grid_side(self) -> int:
        """Tokens along one side of a frame."""
        if self.patch_size is not None:
            return self.frame_size // self.patch_size
        return self.frame_size // (1 << len(self.stem_channels))
