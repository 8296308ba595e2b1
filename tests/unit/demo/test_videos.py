"""Media files: real, repeatable, and broken where they should be."""

import io
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from reelspace.demo.videos import IMAGE_SIZES, VIDEO_SIZES, break_file, encode_image, encode_video

FRAMES = np.random.default_rng(0).integers(0, 255, (32, 96, 96, 3), dtype=np.uint8)
SOUND = (np.sin(np.arange(64_000) / 9) * 9_000).astype(np.int16)


def test_encoding_repeats_byte_for_byte() -> None:
    assert encode_video(0, 1, FRAMES, SOUND) == encode_video(0, 1, FRAMES, SOUND)
    assert encode_image(0, 1, FRAMES[0]) == encode_image(0, 1, FRAMES[0])


def test_an_encoded_video_is_four_seconds_of_h264_and_aac() -> None:
    with av.open(io.BytesIO(encode_video(0, 1, FRAMES, SOUND))) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height, int(video.average_rate)) == ("h264", 96, 96, 8)
        assert (audio.codec_context.name, audio.rate, audio.layout.name) == ("aac", 16_000, "mono")
        assert container.duration == 4_000_000
    with av.open(io.BytesIO(encode_video(0, 1, FRAMES, None))) as container:
        assert not container.streams.audio
        assert sum(1 for _ in container.decode(video=0)) == 32


def test_sizes_are_drawn_from_a_range_whatever_is_inside() -> None:
    for frames in (FRAMES, np.zeros_like(FRAMES)):
        for sound in (SOUND, None):
            assert VIDEO_SIZES[0] <= len(encode_video(0, 7, frames, sound)) < VIDEO_SIZES[1]
        assert IMAGE_SIZES[0] <= len(encode_image(0, 7, np.ascontiguousarray(frames[0] // 2))) < IMAGE_SIZES[1] + 4_096
    assert len(encode_video(0, 7, FRAMES, None)) == len(encode_video(0, 7, np.zeros_like(FRAMES), SOUND))


@pytest.mark.parametrize("how", ["truncated", "garbage", "empty"])
def test_broken_files_cannot_be_opened(how: str) -> None:
    data = break_file(0, 1, encode_video(0, 1, FRAMES, SOUND), how)
    with pytest.raises(av.FFmpegError), av.open(io.BytesIO(data)) as container:
        list(container.decode(video=0))


def test_a_world_holds_every_kind_of_media_and_three_broken_files(small_world_directory: Path) -> None:
    works = pq.read_table(small_world_directory / "truth" / "works.parquet").to_pylist()
    seen: Counter[str] = Counter()
    for work in works:
        path = small_world_directory / "media" / f"{work['video_id']:012d}.{'jpg' if work['kind'] == 'image' else 'mp4'}"
        try:
            with av.open(str(path)) as container:
                num_frames = sum(1 for _ in container.decode(video=0))
                seen["silent" if work["kind"] == "video" and not container.streams.audio else work["kind"]] += 1
            assert num_frames == (1 if work["kind"] == "image" else 32)
            assert work["decodable"]
        except av.FFmpegError:
            assert not work["decodable"]
            seen["broken"] += 1
    assert seen["broken"] == 3
    assert {"video", "image", "silent"} <= set(seen)
    assert sum(seen.values()) == len(works) == len(list((small_world_directory / "media").iterdir()))
