"""Picture, text and sound towers: a stem of their own, then blocks of the one shared class and width.

Legend: B batch, F frames, H W pixels, C channels, L text tokens, S sound samples, W windows, M mel bands, T tokens, D width.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from reelspace.model.blocks import Block, ConvolutionBlock, masked_mean, normalised, run_block
from reelspace.model.settings import ModelSettings, SoundSettings

_GROUPS = 8
_HIDDEN = -1e4


class Tokens(NamedTuple):
    """What a tower gives: its tokens, which of them are present, its own unit vector in the common space, and its taps.

    `taps` are the tokens at S depths from low to high, the last ones being `tokens_BTD`; they share one mask.
    A tuple, because an engine that spreads the weights must find the tensors in what a module gives.
    """

    tokens_BTD: Tensor
    mask_BT: Tensor
    vector_BD: Tensor
    taps: tuple[Tensor, ...]

    def first(self, num: int) -> "Tokens":
        """Give the first samples."""
        taps = tuple(tap[:num] for tap in self.taps)
        return Tokens(taps[-1], self.mask_BT[:num], self.vector_BD[:num], taps)

    def repeated(self, times: int) -> "Tokens":
        """Repeat the whole batch."""
        taps = tuple(tap.repeat(times, 1, 1) for tap in self.taps)
        return Tokens(taps[-1], self.mask_BT.repeat(times, 1), self.vector_BD.repeat(times, 1), taps)


def tap_layers(num_layers: int, num_taps: int) -> tuple[int, ...]:
    """Give after how many blocks each tap is taken: evenly from low to high, the last after all of them."""
    return tuple(math.ceil((tap + 1) * num_layers / num_taps) for tap in range(num_taps))


class Tower(nn.Module):
    """Blocks, norm, pooled vector."""

    def __init__(self, settings: ModelSettings, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(settings.width)
        self.project = nn.Linear(settings.width, settings.dimension)
        self.tapped = tap_layers(len(blocks), settings.fusion_layers)
        self.checkpoints_activations = False

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor) -> Tokens:
        """Run the blocks; a sample without tokens gets the zero vector."""
        after = []
        for block in self.blocks:
            tokens_BTD = run_block(block, tokens_BTD, mask_BT, checkpoints=self.checkpoints_activations)
            after.append(tokens_BTD)
        tokens_BTD = self.norm(tokens_BTD)
        present = mask_BT.any(dim=1, keepdim=True).to(tokens_BTD.dtype)
        vector_BD = normalised(self.project(masked_mean(tokens_BTD, mask_BT))) * present
        return Tokens(tokens_BTD, mask_BT, vector_BD, (*(after[layer - 1] for layer in self.tapped[:-1]), tokens_BTD))


def transformer_blocks(settings: ModelSettings, num_layers: int) -> list[nn.Module]:
    """Give the blocks that every tower shares in kind."""
    return [Block(settings.width, settings.num_heads, settings.mlp_ratio) for _ in range(num_layers)]


class FramePool(nn.Module):
    """Temporal attention pooling: how much each frame counts in the vector of its work.

    The query starts at zero, so that an untrained pool is the plain average; single frames leave it there.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.scale = settings.width**-0.5
        self.norm = nn.LayerNorm(settings.width)
        self.position = nn.Parameter(torch.randn(1, settings.num_frames, settings.width) * 0.02)
        self.query = nn.Parameter(torch.zeros(1, 1, settings.width))

    def forward(self, frames_BFW: Tensor, vectors_BFD: Tensor, mask_BF: Tensor) -> Tensor:
        """Give the unit vector of each work from its frames' tokens and vectors; zero without frames."""
        keys_BFW = self.norm(frames_BFW) + self.position[:, : frames_BFW.shape[1]]
        scores_BF = (keys_BFW * self.query).sum(dim=2) * self.scale
        present_B1 = mask_BF.any(dim=1, keepdim=True)
        shares_BF = torch.softmax(scores_BF.masked_fill(~mask_BF & present_B1, _HIDDEN), dim=1)
        pooled_BD = normalised((vectors_BFD * shares_BF[:, :, None]).sum(dim=1))
        return pooled_BD * present_B1.to(pooled_BD.dtype)


class PictureTower(nn.Module):
    """A stem per frame, blocks over one frame's patches, and temporal attention pooling over the frames."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        side = settings.grid_side
        self.stem = _picture_stem(settings)
        self.position = nn.Parameter(torch.randn(1, side * side, settings.width) * 0.02)
        layers = settings.picture_layers
        is_transformer = settings.picture_backbone == "transformer"
        convolutions = (ConvolutionBlock(settings.width, settings.mlp_ratio, side) for _ in range(layers))
        self.tower = Tower(settings, transformer_blocks(settings, layers) if is_transformer else list(convolutions))
        self.pool = FramePool(settings)

    def forward(self, frames_BFHWC: Tensor, mask_BF: Tensor) -> Tokens:
        """Encode frames (uint8 or float in 0..255) one by one and pool their vectors."""
        batch, num_frames = mask_BF.shape
        pixels = frames_BFHWC.flatten(0, 1).permute(0, 3, 1, 2).to(self.position.dtype) / 127.5 - 1.0
        grid = self.stem(pixels)
        tokens = grid.flatten(2).transpose(1, 2) + self.position
        every = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        encoded: Tokens = self.tower(tokens, every)
        taps = tuple(tap.reshape(batch, -1, tap.shape[2]) for tap in encoded.taps)
        frames_BFW = encoded.tokens_BTD.mean(dim=1).reshape(batch, num_frames, -1)
        vectors_BFD = encoded.vector_BD.reshape(batch, num_frames, -1)
        mask_BT = mask_BF[:, :, None].expand(-1, -1, tokens.shape[1]).reshape(batch, -1)
        return Tokens(taps[-1], mask_BT, self.pool(frames_BFW, vectors_BFD, mask_BF), taps)


def _picture_stem(settings: ModelSettings) -> nn.Module:
    if settings.patch_size is not None:
        return nn.Conv2d(3, settings.width, settings.patch_size, stride=settings.patch_size)
    layers: list[nn.Module] = []
    channels = 3
    for out in settings.stem_channels:
        layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.GroupNorm(_GROUPS, out), nn.GELU()]
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(channels, settings.width, 1))


class TextTower(nn.Module):
    """Token and position embeddings, then blocks."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.token = nn.Embedding(settings.vocabulary_size, settings.width)
        nn.init.normal_(self.token.weight, std=0.05)
        self.position = nn.Parameter(torch.randn(1, settings.text_length, settings.width) * 0.02)
        self.tower = Tower(settings, transformer_blocks(settings, settings.text_layers))

    def forward(self, text_BL: Tensor, mask_BL: Tensor) -> Tokens:
        """Encode token ids."""
        tokens = self.token(text_BL.long()) + self.position[:, : text_BL.shape[1]]
        encoded: Tokens = self.tower(tokens, mask_BL)
        return encoded


class SoundTower(nn.Module):
    """Log-mel patches as tokens, then blocks. The spectrum is a fixed convolution, so the exported graph carries it."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        sound = settings.sound
        self.fourier: Tensor
        self.mel: Tensor
        self.hop = sound.hop
        self.patch = sound.patch
        self.register_buffer("fourier", torch.from_numpy(_fourier_basis(sound))[:, None, :], persistent=False)
        self.register_buffer("mel", torch.from_numpy(_mel_filters(sound)), persistent=False)
        num_windows = 1 + (sound.num_samples - sound.window) // sound.hop
        self.num_tokens = num_windows // sound.patch
        self.stem = nn.Linear(sound.num_mels * sound.patch, settings.width)
        self.position = nn.Parameter(torch.randn(1, self.num_tokens, settings.width) * 0.02)
        self.tower = Tower(settings, transformer_blocks(settings, settings.sound_layers))

    def log_mel(self, audio_BS: Tensor) -> Tensor:
        """Give the log-mel spectra of int16 sound, as many windows as make whole tokens."""
        waves = audio_BS.to(self.position.dtype)[:, None, :] / 32768.0
        spectrum = functional.conv1d(waves, self.fourier, stride=self.hop)
        real, imaginary = spectrum.chunk(2, dim=1)
        power = real * real + imaginary * imaginary
        mel_BWM = torch.log(torch.einsum("bfw,fm->bwm", power, self.mel) + 1e-4) * 0.25 + 1.0
        return mel_BWM[:, : self.num_tokens * self.patch]

    def forward(self, mel_BWM: Tensor, mask_B: Tensor) -> Tokens:
        """Encode log-mel spectra; masked samples give masked tokens."""
        patches = mel_BWM.reshape(mel_BWM.shape[0], self.num_tokens, -1).to(self.position.dtype)
        tokens = self.stem(patches) + self.position
        encoded: Tokens = self.tower(tokens, mask_B[:, None].expand(-1, self.num_tokens))
        return encoded


def _fourier_basis(sound: SoundSettings) -> NDArray[np.float32]:
    """Hann-windowed cosines and sines of every frequency bin, [2 * bins, window]."""
    times = np.arange(sound.window)
    angles = 2 * np.pi * np.outer(np.arange(sound.window // 2 + 1), times) / sound.window
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * times / sound.window)
    basis: NDArray[np.float64] = np.concatenate([np.cos(angles), np.sin(angles)]) * hann
    return basis.astype(np.float32)


def _mel_filters(sound: SoundSettings) -> NDArray[np.float32]:
    """Triangular filters, [bins, mels], equally spaced in mel = 2595 log10(1 + f / 700)."""
    edges_mel = np.linspace(0, 2595 * np.log10(1 + sound.sample_rate / 2 / 700), sound.num_mels + 2)
    edges = 700 * (10 ** (edges_mel / 2595) - 1)
    bins = np.arange(sound.window // 2 + 1) * sound.sample_rate / sound.window
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return filters.astype(np.float32)
