"""Real clips and photos, held against what was written about them by hand and against a decoder that leaves nothing out."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from reelspace.media.decode import decode_media
from reelspace.media.pictures import square
from reelspace.media.spec import FrameSpec

NUM_CLIPS = 15
REAL_SOUND = {"bunny_wakes.mp4", "nasa_observatory.mp4"}


def test_every_real_clip_decodes_as_described(real_data: Path) -> None:
    clips = [json.loads(line) for line in (real_data / "video" / "clips.jsonl").read_text().splitlines()]
    assert len(clips) == NUM_CLIPS
    for clip in clips:
        decoded = decode_media(real_data / "video" / clip["file"], FrameSpec(max_audio_s=2.0))
        assert decoded.kind == "video"
        assert decoded.frames_FHWC.shape == (4, 64, 64, 3)
        assert decoded.duration_s == pytest.approx(clip["seconds"], abs=0.2)
        assert (decoded.audio_S is not None) == (clip["file"] in REAL_SOUND)
        assert decoded.frames_FHWC.std() > 5


@pytest.mark.parametrize("name", ["bottles.mp4", "nasa_observatory.mp4", "asl_book.mkv", "cars_road.mp4"])
def test_frames_of_real_clips_equal_those_of_decoding_everything(real_data: Path, name: str) -> None:
    path, spec = real_data / "video" / name, FrameSpec(num_frames=5)
    decoded = decode_media(path, spec)
    with av.open(str(path)) as container:
        pictures = container.streams.best("video")
        start_s = (container.start_time or 0) / 1_000_000
        lead_s = max(0.0, float((pictures.start_time or 0) * pictures.time_base) - start_s)
        times = [lead_s + (index + 0.5) * decoded.duration_s / 5 for index in range(5)]
        shown: list[np.ndarray | None] = [None] * 5  # type: ignore[type-arg]
        for frame in container.decode(pictures):
            for index, wanted in enumerate(times):
                if frame.time - start_s <= wanted:
                    shown[index] = frame
    for index, frame in enumerate(shown):
        assert np.array_equal(decoded.frames_FHWC[index], square(frame, spec.size))


def test_real_photos_decode_to_what_pillow_shows(real_data: Path) -> None:
    rows = [json.loads(line) for line in (real_data / "images" / "images.jsonl").read_text().splitlines()][::40]
    assert len(rows) >= 25
    for row in rows:
        path = real_data / "images" / row["file"]
        decoded = decode_media(path, FrameSpec())
        assert decoded.kind == "image"
        with Image.open(path) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            expected = image.convert("RGB").crop((left, top, left + side, top + side)).resize((64, 64), Image.Resampling.LANCZOS)
        # Cutting at whole pixels, as here, may lie half a pixel beside.
        assert np.abs(decoded.frames_FHWC[0].astype(int) - np.asarray(expected)).mean() < 6
