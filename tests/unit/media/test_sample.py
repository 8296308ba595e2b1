"""A sample survives its packing.

Shapes: F frames, H x W pixels, S samples.
"""

from datetime import UTC, datetime

import numpy as np
import pytest

from reelspace.media.decoded import Decoded, Kind
from reelspace.media.sample import Words, pack, unpack

WORDS = Words(123, "拉面 ramen 🍜 \u2028 end", "2025-01-31T12:30:00.000001+00:00")
SMOOTH_FHWC = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None, None] * 3, (4, 64, 64, 3))


@pytest.mark.parametrize(
    ("num_frames", "num_samples", "kind"), [(4, 8000, "video"), (4, None, "video"), (1, None, "image"), (0, 1, "sound")]
)
def test_unpacked_samples_equal_what_was_packed(num_frames: int, num_samples: int | None, kind: Kind) -> None:
    audio_S = None if num_samples is None else np.random.default_rng(0).integers(-32768, 32767, num_samples).astype(np.int16)
    sample = unpack(pack(WORDS, Decoded(SMOOTH_FHWC[:num_frames], audio_S, 4.0, kind), 95))
    assert (sample.video_id, sample.text, sample.kind) == (123, WORDS.text, kind)
    assert sample.created_at == datetime(2025, 1, 31, 12, 30, 0, 1, tzinfo=UTC)
    assert sample.frames_FHWC.shape == (num_frames, 64, 64, 3)
    assert sample.frames_FHWC.dtype == np.uint8
    assert np.abs(sample.frames_FHWC.astype(int) - SMOOTH_FHWC[:num_frames]).max(initial=0) <= 3
    assert (sample.audio_S is None) == (audio_S is None)
    if audio_S is not None and sample.audio_S is not None:
        assert np.array_equal(sample.audio_S, audio_S)
        assert sample.audio_S.flags.writeable


def test_equal_samples_give_equal_bytes_and_quality_counts() -> None:
    frames_FHWC = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    decoded = Decoded(frames_FHWC, None, 4.0, "video")
    assert pack(WORDS, decoded, 90) == pack(WORDS, decoded, 90)
    assert len(pack(WORDS, decoded, 40)) < len(pack(WORDS, decoded, 95))


def test_frames_beyond_ten_keep_their_order() -> None:
    levels = np.arange(12, dtype=np.uint8) * 20
    frames_FHWC = np.broadcast_to(levels[:, None, None, None], (12, 16, 16, 3))
    sample = unpack(pack(WORDS, Decoded(frames_FHWC, None, 1.0, "video"), 95))
    assert sample.frames_FHWC.mean(axis=(1, 2, 3)) == pytest.approx(levels, abs=1)
