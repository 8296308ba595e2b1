"""What a decoder gives.

Shapes: F frames, H x W pixels, S samples.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["video", "image", "sound"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded media file.

    frames_FHWC is uint8 RGB: F = spec.num_frames for a video, 1 for an image, 0 for sound alone; H = W = spec.size.
    audio_S is int16 at 16 kHz mono, at most spec.max_audio_s long; None without sound, also if the track is wholly silent.
    """

    frames_FHWC: NDArray[np.uint8]
    audio_S: NDArray[np.int16] | None
    duration_s: float
    kind: Kind
