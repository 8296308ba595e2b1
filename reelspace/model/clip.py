"""Bring your own encoder: a frozen CLIP-family checkpoint as the teacher itself, or as the towers of one.

The checkpoint's configuration travels inside our settings, so a model made here is three files like any other: model.safetensors,
model.json (its `kind` says clip or clip_towers), tokenizer.json.

Token ids: ours are the checkpoint's plus one, since 0 means padding everywhere in this project and is a word in CLIP.
Legend: B works, F frames, N frames of all works, H W pixels, C channels, L text tokens, T tokens of a tower, D embedding dimension,
W width of a tower, M mel bands, S sound samples, O I pixels of a side after and before resizing.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from reelspace.core.settings import Settings
from reelspace.model.blocks import masked_mean, normalised
from reelspace.model.model import ReelModel, VideoOutput
from reelspace.model.settings import ModelSettings
from reelspace.model.towers import FramePool, Tokens, tap_layers

TOKEN_SHIFT: Final = 1
# A text of so many tokens is its beginning and its end alone.
_EMPTY_TOKENS: Final = 2
_SHARE_STEPS: Final = 2.0**22


class ClipPictureSettings(Settings):
    """What a checkpoint does to square pictures before its encoder: preprocessor_config.json."""

    resize: int = Field(ge=1, le=4096, description="Side after resizing, pixels.")
    crop: int = Field(ge=1, le=4096, description="Side of the part in the middle that is read, pixels.")
    resample: Literal["bilinear", "bicubic"] = Field("bicubic", description="Filter of resizing.")
    scale: float = Field(1 / 255, gt=0, description="Factor of pixels of 0 to 255.")
    mean: tuple[float, float, float] = Field(description="Subtracted from scaled red, green and blue.")
    deviation: tuple[float, float, float] = Field(description="Divides the rest.")


class ClipSettings(ModelSettings):
    """Sizes of a model made from a checkpoint; a teacher (`clip`) leaves width, layers and fusion of our own towers unused."""

    kind: Literal["clip", "clip_towers"] = Field(
        "clip", description="clip: the checkpoint alone; clip_towers: it is frozen inside, fusion and projections are trained."
    )
    caption: float = Field(0.0, ge=0, description="Weight of the caption's vector beside the frames' in a work of a clip teacher.")
    pictures: ClipPictureSettings = Field(description="What happens to a frame before the checkpoint sees it.")
    architecture: str = Field(min_length=2, description="The checkpoint's config.json, as text.")


class Resize(nn.Module):
    """Resize and crop square pictures as Pillow does, bit for bit, by two matrices that export as plain products."""

    def __init__(self, side: int, settings: ClipPictureSettings) -> None:
        super().__init__()
        self.matrix_OI: Tensor
        weights_OI = resize_weights(side, settings.resize, settings.resample)
        start = (settings.resize - settings.crop) // 2
        self.register_buffer("matrix_OI", torch.from_numpy(weights_OI[start : start + settings.crop]), persistent=False)

    def forward(self, frames_NHWC: Tensor) -> Tensor:
        """Give frames_NCHW of 0 to 255."""
        x = frames_NHWC.permute(0, 3, 1, 2).to(self.matrix_OI.dtype)
        # Float64 holds these products of bytes and 22-bit shares exactly; Pillow rounds after each direction, halves up.
        x = torch.floor(x @ self.matrix_OI.T + 0.5).clamp(0, 255)
        return torch.floor(self.matrix_OI @ x + 0.5).clamp(0, 255).to(torch.float32)


def resize_weights(side: int, size: int, resample: str) -> NDArray[np.float64]:
    """Give how much each of `side` pixels counts in each of `size`: [O, I], rows of sum 1 in steps of 2^-22.

    Source: Pillow, src/libImaging/Resample.c: the filter (bicubic with a = -0.5) widens by the factor when shrinking.
    """
    kernel, reach = (_bilinear, 1.0) if resample == "bilinear" else (_bicubic, 2.0)
    factor = side / size
    wide = max(factor, 1.0)
    weights_OI = np.zeros((size, side))
    for row in range(size):
        centre = (row + 0.5) * factor
        first, last = max(0, int(centre - reach * wide + 0.5)), min(side, int(centre + reach * wide + 0.5))
        weights_OI[row, first:last] = kernel((np.arange(first, last) - centre + 0.5) / wide)
    if size == side:
        weights_OI = np.eye(side)
    steps_OI: NDArray[np.float64] = weights_OI / weights_OI.sum(axis=1, keepdims=True) * _SHARE_STEPS
    whole_OI: NDArray[np.float64] = np.trunc(steps_OI + np.copysign(0.5, steps_OI))
    return whole_OI / _SHARE_STEPS


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(0.0, 1 - np.abs(x))


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    far = np.abs(x)
    near = 1.5 * far**3 - 2.5 * far**2 + 1
    rest = -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2
    return np.where(far < 1, near, np.where(far < 2, rest, 0.0))


class _Frozen(nn.Module):
    """A part of a checkpoint: never in training mode, whatever the model around it does, and without gradients."""

    def freeze(self) -> None:
        """Switch gradients off, once every part is there."""
        self.eval()
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def train(self, _mode: bool = True) -> "_Frozen":
        """Stay in evaluation mode."""
        return super().train(False)


class ClipPictures(_Frozen):
    """The picture encoder of a checkpoint with its preprocessing."""

    def __init__(self, checkpoint: Any, settings: ClipSettings) -> None:
        super().__init__()
        pictures = settings.pictures
        self.mean_C11: Tensor
        self.deviation_C11: Tensor
        self.scale = pictures.scale
        self.resize = Resize(settings.frame_size, pictures)
        self.vision_model = checkpoint.vision_model
        self.visual_projection = checkpoint.visual_projection
        self.width = int(checkpoint.config.vision_config.hidden_size)
        self.num_layers = int(checkpoint.config.vision_config.num_hidden_layers)
        self.dimension = int(checkpoint.config.projection_dim)
        self.register_buffer("mean_C11", torch.tensor(pictures.mean)[:, None, None], persistent=False)
        self.register_buffer("deviation_C11", torch.tensor(pictures.deviation)[:, None, None], persistent=False)
        self.freeze()

    def forward(self, frames_NHWC: Tensor, layers: Sequence[int] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give features_ND, not normalised, and the tokens after some layers (1 is the first), [N, T, W] each."""
        pixels_NCHW = (self.resize(frames_NHWC) * self.scale - self.mean_C11) / self.deviation_C11
        seen = self.vision_model(pixel_values=pixels_NCHW, output_hidden_states=bool(layers))
        return self.visual_projection(seen.pooler_output), tuple(seen.hidden_states[layer] for layer in layers)


class ClipTexts(_Frozen):
    """The text encoder of a checkpoint."""

    def __init__(self, checkpoint: Any) -> None:
        super().__init__()
        self.text_model = checkpoint.text_model
        self.text_projection = checkpoint.text_projection
        self.width = int(checkpoint.config.text_config.hidden_size)
        self.num_layers = int(checkpoint.config.text_config.num_hidden_layers)
        self.dimension = int(checkpoint.config.projection_dim)
        # CLIP reads a text at its end, the Chinese variant at its beginning.
        self.reads_end = checkpoint.config.model_type == "clip"
        self.freeze()

    def forward(self, text_BL: Tensor, mask_BL: Tensor, layers: Sequence[int] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give features_BD, not normalised, and the tokens after some layers (1 is the first), [B, L, W] each."""
        ids_BL = (text_BL.long() - TOKEN_SHIFT).clamp(min=0)
        # A row without tokens would give nothing finite; the caller discards it.
        read_BL = (mask_BL | ~mask_BL.any(dim=1, keepdim=True)).long()
        seen = self.text_model(input_ids=ids_BL, attention_mask=read_BL, output_hidden_states=bool(layers))
        read_BW = seen.pooler_output if self.reads_end else seen.last_hidden_state[:, 0]
        return self.text_projection(read_BW), tuple(seen.hidden_states[layer] for layer in layers)


def has_words(mask_BL: Tensor) -> Tensor:
    """Tell which texts have a token between beginning and end."""
    return mask_BL.sum(dim=1) > _EMPTY_TOKENS


class ClipPictureTower(nn.Module):
    """Frames as a teacher sees them: one token a frame, and the average of the frames' unit vectors."""

    def __init__(self, clip: ClipPictures) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, frames_BFHWC: Tensor, mask_BF: Tensor) -> Tokens:
        """Encode frames (uint8 or float in 0..255); a work without frames gets the zero vector."""
        features_ND, _ = self.clip(frames_BFHWC.flatten(0, 1))
        vectors_BFD = normalised(features_ND).reshape(*mask_BF.shape, -1)
        present_B1 = mask_BF.any(dim=1, keepdim=True).to(vectors_BFD.dtype)
        return Tokens(vectors_BFD, mask_BF, normalised(masked_mean(vectors_BFD, mask_BF)) * present_B1, (vectors_BFD,))


class ClipTextTower(nn.Module):
    """Texts as a teacher reads them: one token a text."""

    def __init__(self, clip: ClipTexts) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, text_BL: Tensor, mask_BL: Tensor) -> Tokens:
        """Encode token ids; a text without words gets the zero vector."""
        features_BD, _ = self.clip(text_BL, mask_BL)
        present_B1 = has_words(mask_BL)[:, None]
        vector_BD = normalised(features_BD) * present_B1.to(features_BD.dtype)
        return Tokens(vector_BD[:, None], present_B1, vector_BD, (vector_BD[:, None],))


class Silence(nn.Module):
    """The sound tower of a checkpoint that hears nothing: zero vectors."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension

    def log_mel(self, audio_BS: Tensor) -> Tensor:
        """Give no spectrum; the sound itself goes on."""
        return audio_BS

    def forward(self, mel_BWM: Tensor, mask_B: Tensor) -> Tokens:
        """Give one absent token per work."""
        # Made of the inputs, so that an exported graph keeps them among its inputs.
        zero_B1 = (mel_BWM.flatten(1).to(torch.float32).sum(dim=1) + mask_B)[:, None] * 0
        vector_BD = zero_B1.expand(-1, self.dimension)
        return Tokens(vector_BD[:, None], torch.zeros_like(mask_B)[:, None], vector_BD, (vector_BD[:, None],))


class ClipTeacher(ReelModel):
    """A frozen checkpoint with the methods of our model: it embeds works by their frames, those without frames by their caption.

    A work with sound alone has the zero vector.
    """

    settings: ClipSettings

    def __init__(self, settings: ClipSettings, checkpoint: Any) -> None:
        super().__init__(settings)
        self.register_module("picture", ClipPictureTower(ClipPictures(checkpoint, settings)))
        self.register_module("text", ClipTextTower(ClipTexts(checkpoint)))
        self.register_module("sound", Silence(settings.dimension))
        self.register_module("fusion", None)

    def fuse(self, picture: Tokens, text: Tokens, sound: Tokens) -> VideoOutput:
        """Give the frames' vector with `caption` times the caption's; the caption's alone where no frame is."""
        present_B1 = picture.mask_BT.any(dim=1, keepdim=True).to(text.vector_BD.dtype)
        weight_B1 = 1 - present_B1 * (1 - self.settings.caption)
        embedding_BD = picture.vector_BD + weight_B1 * text.vector_BD + sound.vector_BD
        present_B1 = (embedding_BD.abs().sum(dim=1, keepdim=True) > 0).to(embedding_BD.dtype)
        return VideoOutput(normalised(embedding_BD) * present_B1, picture.vector_BD, text.vector_BD, sound.vector_BD)


class Scale(nn.Module):
    """A trained factor per element, 1 at first: every loss reads a frozen tower through it, as it reads ours through their last norm."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dimension))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Apply to each row."""
        return x_ND * self.weight


class TrainedTop(nn.Module):
    """What is trained of a frozen tower: its taps brought to our width, its features to our dimension."""

    def __init__(self, width: int, dimension: int, settings: ModelSettings) -> None:
        super().__init__()
        num_taps = settings.fusion_layers
        self.taps = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, settings.width)) for _ in range(num_taps))
        self.norm = Scale(dimension)
        self.project = nn.Linear(dimension, settings.dimension)
        if dimension == settings.dimension:
            # The untrained tower lives in the checkpoint's own space.
            nn.init.eye_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, features_ND: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give unit vectors [N, D] and taps [N, T, W]."""
        taps = tuple(tap(state) for tap, state in zip(self.taps, states, strict=True))
        return normalised(self.project(self.norm(normalised(features_ND)))), taps


class AdaptedPictureTower(nn.Module):
    """A frozen picture encoder with trained projections and temporal pooling."""

    def __init__(self, clip: ClipPictures, settings: ModelSettings) -> None:
        super().__init__()
        self.clip = clip
        self.layers = tap_layers(clip.num_layers, settings.fusion_layers)
        self.tower = TrainedTop(clip.width, clip.dimension, settings)
        self.pool = FramePool(settings)

    def forward(self, frames_BFHWC: Tensor, mask_BF: Tensor) -> Tokens:
        """Encode frames (uint8 or float in 0..255) one by one and pool their vectors."""
        with torch.no_grad():
            features_ND, states = self.clip(frames_BFHWC.flatten(0, 1), self.layers)
        vectors_ND, taps_NTW = self.tower(features_ND, states)
        batch, num_frames = mask_BF.shape
        num_tokens = taps_NTW[-1].shape[1]
        frames_BFW = taps_NTW[-1].mean(dim=1).reshape(batch, num_frames, -1)
        taps = tuple(tap.reshape(batch, num_frames * num_tokens, -1) for tap in taps_NTW)
        mask_BT = mask_BF[:, :, None].expand(-1, -1, num_tokens).reshape(batch, -1)
        vector_BD = self.pool(frames_BFW, vectors_ND.reshape(batch, num_frames, -1), mask_BF)
        return Tokens(taps[-1], mask_BT, vector_BD, taps)


class AdaptedTextTower(nn.Module):
    """A frozen text encoder with trained projections."""

    def __init__(self, clip: ClipTexts, settings: ModelSettings) -> None:
        super().__init__()
        self.clip = clip
        self.layers = tap_layers(clip.num_layers, settings.fusion_layers)
        self.tower = TrainedTop(clip.width, clip.dimension, settings)

    def forward(self, text_BL: Tensor, mask_BL: Tensor) -> Tokens:
        """Encode token ids; a text without words gets the zero vector."""
        with torch.no_grad():
            features_BD, states = self.clip(text_BL, mask_BL, self.layers)
        vector_BD, taps = self.tower(features_BD, states)
        present_B1 = has_words(mask_BL)[:, None]
        return Tokens(taps[-1], mask_BL & present_B1, vector_BD * present_B1.to(vector_BD.dtype), taps)


class ClipReelModel(ReelModel):
    """Our model whose picture and text towers are a frozen checkpoint; sound tower, projections and fusion are trained."""

    settings: ClipSettings

    def __init__(self, settings: ClipSettings, checkpoint: Any) -> None:
        super().__init__(settings)
        self.register_module("picture", AdaptedPictureTower(ClipPictures(checkpoint, settings), settings))
        self.register_module("text", AdaptedTextTower(ClipTexts(checkpoint), settings))
