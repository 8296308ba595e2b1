"""The multimodal model: three isomorphic towers, multi-scale fusion, one embedding.

Legend: B batch, F frames, H W pixels, C channels, L text tokens, S sound samples, D embedding dimension.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from reelspace.model.blocks import normalised
from reelspace.model.fusion import make_fusion
from reelspace.model.settings import ModelSettings
from reelspace.model.towers import PictureTower, SoundTower, TextTower, Tokens


@dataclass(frozen=True, slots=True)
class VideoOutput:
    """Unit vectors of B works in one space; a missing modality has the zero vector."""

    embedding_BD: Tensor
    picture_BD: Tensor
    text_BD: Tensor
    sound_BD: Tensor


class ReelModel(nn.Module):
    """Embeds works (any subset of picture, sound and text) and search texts into one space."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.picture = PictureTower(settings)
        self.text = TextTower(settings)
        self.sound = SoundTower(settings)
        self.fusion = make_fusion(settings)

    def encode_video(
        self, frames_BFHWC: Tensor, frames_mask_BF: Tensor, audio_BS: Tensor, audio_mask_B: Tensor, text_BL: Tensor, text_mask_BL: Tensor
    ) -> VideoOutput:
        """Embed works.

        Args:
            frames_BFHWC: uint8 pictures, or float in 0 to 255 when augmented.
            frames_mask_BF: which frames exist.
            audio_BS: int16 sound at the settings' sample rate, zero-padded.
            audio_mask_B: which works have sound.
            text_BL: token ids of the author's own text.
            text_mask_BL: which tokens exist.
        """
        picture = self.picture(frames_BFHWC, frames_mask_BF)
        text = self.text(text_BL, text_mask_BL)
        sound = self.sound(self.sound.log_mel(audio_BS), audio_mask_B)
        return self.fuse(picture, text, sound)

    def encode_text(self, text_BL: Tensor, text_mask_BL: Tensor) -> Tensor:
        """Embed search texts as unit vectors of the same space."""
        tokens: Tokens = self.text(text_BL, text_mask_BL)
        return tokens.vector_BD

    def fuse(self, picture: Tokens, text: Tokens, sound: Tokens) -> VideoOutput:
        """Join what the towers gave."""
        fused: Tensor = self.fusion((picture, text, sound))
        settings = self.settings
        # The residual path from each tower: without it the fused vector memorises sound and caption.
        embedding = normalised(
            picture.vector_BD
            + settings.residual_text * text.vector_BD
            + settings.residual_sound * sound.vector_BD
            + settings.residual_fusion * fused
        )
        return VideoOutput(embedding, picture.vector_BD, text.vector_BD, sound.vector_BD)


def num_parameters(model: nn.Module) -> int:
    """Count trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
