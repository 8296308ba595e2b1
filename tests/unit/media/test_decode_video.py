"""Videos: the right frames, upright and square, from any container, in one pass.

Shapes: F frames, H x W pixels.
"""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.media.bad_media import Undecodable
from reelspace.media.decode import decode_media
from reelspace.media.pictures import square
from reelspace.media.spec import FrameSpec

EncodeClip = Callable[..., bytes]
NEAR = 4  # levels of grey that codecs may shift a flat picture


def ramp(num_frames: int, step: int = 6, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Frames that tell their own number: frame n is flat grey of 20 + step * n."""
    levels_F = (20 + step * np.arange(num_frames)).astype(np.uint8)
    return np.broadcast_to(levels_F[:, None, None, None], (num_frames, height, width, 3))


def shown_by_full_decoding(path: Path, stream: int, times_F: list[float], spec: FrameSpec) -> NDArray[np.uint8]:
    """Decode every frame with nothing left out, and take the last one not later than each time."""
    with av.open(str(path)) as container:
        pictures = container.streams[stream]
        start_s = (container.start_time or 0) / 1_000_000
        frames = [(frame.time - start_s, square(frame, spec.size)) for frame in container.decode(pictures)]
    return np.stack([[picture for time_s, picture in frames if time_s <= wanted][-1] for wanted in times_F])


@pytest.mark.parametrize("gop", [1, 5, 250])
@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("matroska", "libx264"), ("mpegts", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4"), ("mp4", "libx265")],
)
def test_frames_are_those_shown_at_the_middle_of_equal_parts(encode_clip: EncodeClip, container: str, codec: str, gop: int) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    data = encode_clip(ramp(32), container=container, codec=codec, fps=8, options={"g": str(gop), **quiet})
    decoded = decode_media(data, FrameSpec(num_frames=4))
    assert decoded.kind == "video"
    assert decoded.duration_s == pytest.approx(4.0, abs=0.2)
    expected_F = 20 + 6 * np.array([4, 12, 20, 28])  # half a second into each second, at 8 frames a second
    assert decoded.frames_FHWC.mean(axis=(1, 2, 3)) == pytest.approx(expected_F, abs=NEAR)


@pytest.mark.parametrize("num_frames", [1, 4, 9])
def test_left_out_groups_of_pictures_change_no_frame(encode_clip: EncodeClip, tmp_path: Path, num_frames: int) -> None:
    levels_F = 2 * np.arange(90) % 190
    frames_FHWC = np.random.default_rng(5).integers(0, 64, (90, 48, 64, 3)) + levels_F[:, None, None, None]
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode_clip(frames_FHWC.astype(np.uint8), options={"g": "7", "bf": "3"}))
    spec = FrameSpec(num_frames=num_frames, size=48)
    times = [(index + 0.5) * 9.0 / num_frames for index in range(num_frames)]
    assert np.array_equal(decode_media(path, spec).frames_FHWC, shown_by_full_decoding(path, 0, times, spec))


def test_a_wide_frame_is_cut_to_its_middle(encode_clip: EncodeClip) -> None:
    frames_FHWC = np.zeros((8, 64, 192, 3), dtype=np.uint8)
    frames_FHWC[:, :, :64, 0] = frames_FHWC[:, :, 64:128, 1] = frames_FHWC[:, :, 128:, 2] = 200
    middle_HWC = decode_media(encode_clip(frames_FHWC), FrameSpec(num_frames=1, size=32)).frames_FHWC[0]
    assert middle_HWC.shape == (32, 32, 3)
    assert middle_HWC[:, 2:-2, 1].min() > 150
    assert middle_HWC[:, 2:-2, [0, 2]].max() < 50


# A matrix of +90 degrees turns counter-clockwise: what was on the left comes to lie at the bottom.
@pytest.mark.parametrize(("rotation", "bright"), [(0, "left"), (90, "bottom"), (180, "right"), (-90, "top")])
def test_rotation_of_the_container_is_honoured(encode_clip: EncodeClip, rotation: int, bright: str) -> None:
    frames_FHWC = np.zeros((8, 64, 64, 3), dtype=np.uint8)
    frames_FHWC[:, :, :32] = 220  # bright on the left
    data = encode_clip(frames_FHWC, rotation=rotation)
    with av.open(io.BytesIO(data)) as container:
        assert next(container.decode(video=0)).rotation % 360 == rotation % 360
    picture_HW = decode_media(data, FrameSpec(num_frames=1, size=32)).frames_FHWC[0].mean(axis=-1)
    sides = {"left": picture_HW[:, :12], "right": picture_HW[:, 20:], "top": picture_HW[:12], "bottom": picture_HW[20:]}
    assert max(sides, key=lambda side: float(sides[side].mean())) == bright


def test_pixels_that_are_not_square_are_stretched(encode_clip: EncodeClip) -> None:
    frames_FHWC = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    frames_FHWC[:, :, 16:48] = 200  # with pixels twice as wide as high, these 32 columns are the middle square
    data = encode_clip(frames_FHWC, options={"aspect": "2:1", "x264-params": "sar=2/1"})
    assert decode_media(data, FrameSpec(num_frames=1, size=32)).frames_FHWC[0][:, 2:-2].min() > 150


def test_a_clip_of_fewer_frames_than_wanted_repeats_them(encode_clip: EncodeClip) -> None:
    decoded = decode_media(encode_clip(ramp(2, step=100), fps=1), FrameSpec(num_frames=4))
    assert decoded.frames_FHWC.mean(axis=(1, 2, 3)) == pytest.approx([20, 20, 120, 120], abs=NEAR)


def test_one_picture_without_sound_is_an_image(encode_clip: EncodeClip) -> None:
    for container, codec, pixels in (("gif", "gif", "rgb8"), ("mp4", "libx264", "yuv420p")):
        decoded = decode_media(encode_clip(ramp(1), container=container, codec=codec, pixels=pixels), FrameSpec())
        assert decoded.kind == "image"
        assert decoded.frames_FHWC.shape == (1, 64, 64, 3)


def test_an_animated_gif_is_a_video(encode_clip: EncodeClip) -> None:
    decoded = decode_media(encode_clip(ramp(20, step=10), container="gif", codec="gif", pixels="rgb8"), FrameSpec())
    assert decoded.kind == "video"
    assert np.all(np.diff(decoded.frames_FHWC.mean(axis=(1, 2, 3))) > 20)


def test_a_day_of_one_picture_is_decoded_from_a_few_packets(encode_clip: EncodeClip) -> None:
    frames_FHWC = np.broadcast_to(np.uint8(90), (1440, 32, 32, 3))
    data = encode_clip(frames_FHWC, fps=Fraction(1, 60), options={"g": "10", "preset": "ultrafast"})
    decoded = decode_media(data, FrameSpec())
    assert decoded.duration_s == pytest.approx(24 * 3600, rel=0.02)
    assert decoded.frames_FHWC.mean(axis=(1, 2, 3)) == pytest.approx([90] * 4, abs=NEAR)


def test_equal_bytes_decode_to_equal_pixels(encode_clip: EncodeClip) -> None:
    data = encode_clip(np.random.default_rng(1).integers(0, 255, (12, 48, 64, 3)).astype(np.uint8))
    assert np.array_equal(decode_media(data, FrameSpec()).frames_FHWC, decode_media(data, FrameSpec()).frames_FHWC)


def test_a_needle_of_a_picture_is_refused(encode_clip: EncodeClip) -> None:
    with pytest.raises(Undecodable, match=r"too_large: a frame of 2048 x 16 pixels: one side is over 32 times the other"):
        decode_media(encode_clip(ramp(2, height=16, width=2048)), FrameSpec())
