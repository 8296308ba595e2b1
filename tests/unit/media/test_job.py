"""One media file through the pool: whatever it is, there is one answer, and the next file is not harmed.

Shapes: F frames, H x W pixels.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.errors import TemporaryError
from reelspace.media.bad_media import Reason
from reelspace.media.job import TASK, Job, Packed, Refused, decode_job, read_answer
from reelspace.media.pool import Done, PoolSettings, WorkerPool
from reelspace.media.sample import Words, unpack
from reelspace.media.spec import FrameSpec

EncodeClip = Callable[..., bytes]
FRAMES_FHWC = np.random.default_rng(0).integers(0, 255, (24, 48, 64, 3)).astype(np.uint8)
HEADER_BYTES = 1500
FORMS = [
    {"container": "mp4"},
    {"container": "matroska", "codec": "ffv1"},
    {"container": "avi", "codec": "mpeg4"},
    {"container": "webm", "codec": "libvpx-vp9"},
    {"container": "gif", "codec": "gif", "pixels": "rgb8"},
]


def job(path: Path) -> Job:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Job(str(path), sha256, Words(7, "text", "2025-01-01T00:00:00+00:00"), FrameSpec(), 90)


def test_jobs_survive_their_journey(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    sent = job(tmp_path / "a")
    assert Job.of(sent.payload()) == sent


def test_a_clip_becomes_a_sample_and_a_page_a_reason(encode_clip: EncodeClip, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(encode_clip(FRAMES_FHWC))
    (tmp_path / "page").write_bytes(b"<html>")
    packed = read_answer(decode_job(job(tmp_path / "clip").payload(), lambda: None))
    assert isinstance(packed, Packed)
    assert (packed.kind, packed.num_frames, packed.has_audio) == ("video", 4, False)
    assert unpack(packed.data).text == "text"
    refused = read_answer(decode_job(job(tmp_path / "page").payload(), lambda: None))
    assert isinstance(refused, Refused)
    assert refused.reason == Reason.UNSUPPORTED


def test_a_store_that_does_not_answer_is_no_fault_of_the_file() -> None:
    with pytest.raises(TemporaryError, match="away"):
        read_answer(b'{"temporary": "the store is away"}')


def test_five_formats_with_random_damage_never_stop_the_pool(encode_clip: EncodeClip, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    clips = [np.frombuffer(encode_clip(FRAMES_FHWC, **form), dtype=np.uint8) for form in FORMS]
    jobs = []
    for number in range(100):
        data = clips[number % len(clips)].copy()
        reach = len(data) if number % 2 else HEADER_BYTES  # half of them are hit where formats are described
        places = generator.integers(0, reach, 1 + number // 5)
        data[places] = generator.integers(0, 256, len(places))
        path = tmp_path / str(number)
        path.write_bytes(data.tobytes())
        jobs.append(job(path))
    with WorkerPool(TASK, PoolSettings(num_workers=2, time_limit_s=20, memory_limit_mib=1024)) as pool:
        answers = list(pool.map(item.payload() for item in jobs))
    assert len(answers) == len(jobs)
    found = [read_answer(answer.data) if isinstance(answer, Done) else answer for answer in answers]
    for answer in found:
        if isinstance(answer, Packed):
            sample = unpack(answer.data)
            assert sample.frames_FHWC.shape[1:] == (64, 64, 3)
            assert len(sample.frames_FHWC) == answer.num_frames
    assert sum(isinstance(answer, Packed) for answer in found) >= 20
    assert sum(isinstance(answer, Refused) for answer in found) >= 5
