"""What is taken of a media file: how many frames, of which size, how much sound."""

from typing import Final

from pydantic import Field

from reelspace.core.settings import Settings

SAMPLE_RATE: Final = 16_000
"""Samples per second of all sound behind the decoder; mono, int16."""


class FrameSpec(Settings):
    """The part of a media file that a sample holds, and how large a file may claim to be."""

    num_frames: int = Field(4, ge=1, le=99, description="Frames taken of a video, uniform in time; a still image gives one.")
    size: int = Field(64, ge=8, le=2048, description="Side of the square a frame is cut to, in pixels.")
    max_audio_s: float = Field(4.0, gt=0, le=600, description="Sound kept from the start of the file, in seconds.")
    max_pixels: int = Field(1 << 26, ge=1 << 12, le=1 << 30, description="Largest width x height that is decoded, in pixels.")
