"""Uploaded files in decoding processes: decoded as the works of a training are, and what is bad about one is its own.

Shapes: F frames, H x W pixels.
"""

import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelspace.core.errors import InternalError, SettingError
from reelspace.media.job import Job, Packed, decode_job, read_answer
from reelspace.media.sample import Words, unpack
from reelspace.media.spec import FrameSpec
from reelspace.serving.media_decoder import MediaDecoder
from reelspace.serving.media_job import Refusal, Upload, read_upload
from reelspace.serving.media_limits import MediaFacts, MediaLimits

EncodeClip = Callable[..., bytes]
FACTS = MediaFacts(frames=FrameSpec(num_frames=4, size=32, max_audio_s=1.0), jpeg_quality=75)
# A machine that is busy may take long over a small file.
LIMITS = MediaLimits(max_bytes=1 << 20, max_duration_s=5, max_pixels=1 << 26, time_limit_s=60, memory_limit_mib=640, num_workers=1)
FRAMES_FHWC = np.random.default_rng(3).integers(0, 255, (30, 48, 64, 3)).astype(np.uint8)
SOUND_S = (9_000 * np.sin(np.arange(24_000) / 9)).astype(np.int16)


def png(width: int, height: int, rows: bytes) -> bytes:
    """Write a picture of RGBA pixels by hand, whatever its header claims."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(FRAMES_FHWC[0]).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def decoder() -> Iterator[MediaDecoder]:
    with MediaDecoder(FACTS, LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def clip(encode_clip: EncodeClip) -> bytes:
    return encode_clip(FRAMES_FHWC, sounds=(SOUND_S,), fps=20)


def as_trained(data: bytes, folder: Path) -> Upload:
    """Decode a file as preprocess_media does, and read it as a training does."""
    (folder / "file").write_bytes(data)
    words = Words(7, "", "2025-01-01T00:00:00+00:00")
    job = Job(str(folder / "file"), hashlib.sha256(data).hexdigest(), words, FACTS.frames, FACTS.jpeg_quality)
    packed = read_answer(decode_job(job.payload(), lambda: None))
    assert isinstance(packed, Packed)
    sample = unpack(packed.data)
    return Upload(sample.frames_FHWC, sample.audio_S)


def test_uploads_have_the_pixels_and_the_sound_that_trainings_read(decoder: MediaDecoder, clip: bytes, tmp_path: Path) -> None:
    files = [clip, picture()]
    for found, file in zip(decoder.decode(files), files, strict=True):
        expected = as_trained(file, tmp_path)
        assert isinstance(found, Upload)
        np.testing.assert_array_equal(found.frames_FHWC, expected.frames_FHWC)
        assert (found.audio_S is None) == (expected.audio_S is None)
        if found.audio_S is not None and expected.audio_S is not None:
            np.testing.assert_array_equal(found.audio_S, expected.audio_S)
    assert found.audio_S is None
    assert len(found.frames_FHWC) == 1


def test_every_bad_file_is_refused_by_its_reason_and_harms_no_other(decoder: MediaDecoder, clip: bytes, encode_clip: EncodeClip) -> None:
    bad = {
        "empty_file": b"",
        "unsupported": np.random.default_rng(0).bytes(5_000),
        "truncated": clip[: len(clip) // 2],
        "too_large": png(60_000, 60_000, bytes(100)),
        "too_many_bytes": clip + bytes(1 << 20),
        "too_long": encode_clip(FRAMES_FHWC, fps=4),
        "out_of_memory": png(6_000, 6_000, bytes(6_000 * (4 * 6_000 + 1))),
    }
    found = decoder.decode([file for one in bad.values() for file in (one, clip)])
    for reason, refusal, good in zip(bad, found[::2], found[1::2], strict=True):
        assert isinstance(refusal, Refusal), reason
        assert refusal.reason == reason, refusal
        assert isinstance(good, Upload)


def test_a_decoder_that_is_killed_is_replaced(decoder: MediaDecoder, clip: bytes) -> None:
    before = decoder.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert isinstance(decoder.decode([clip])[0], Upload)
    assert not set(before) & set(decoder.pids)


def test_decoders_that_cannot_start_are_no_fault_of_the_file_and_are_started_anew(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with MediaDecoder(FACTS, LIMITS) as decoder:
        os.kill(decoder.pids[0], signal.SIGKILL)
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/bin/false")
            with pytest.raises(InternalError, match=r"files cannot be decoded now: .*can start"):
                decoder.decode([clip])
        assert isinstance(decoder.decode([clip])[0], Upload)


def test_no_files_give_no_answers(decoder: MediaDecoder) -> None:
    assert decoder.decode([]) == []


ANSWERS = [b"", b"{}", b"[1]\n", b'{"num_frames": 9, "num_samples": null}\nxx', b'{"num_frames": 1, "num_samples": 5}\n' + bytes(3072)]


@pytest.mark.parametrize("answer", [*ANSWERS, b'{"num_frames": -1, "num_samples": null}\n', b'{"num_frames": null}', b"\xff\n"])
def test_what_a_decoder_says_that_a_file_took_over_is_not_believed(answer: bytes) -> None:
    refusal = read_upload(answer, FACTS.frames)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "decoder_crash"


LIMITED = """
from reelspace.serving.media_job import limit_cpu
limit_cpu(0)
while True:
    pass
"""


def test_a_decoder_that_uses_more_cpu_than_allowed_is_ended_by_the_kernel() -> None:
    ended = subprocess.run([sys.executable, "-c", LIMITED], timeout=60, check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_limits_travel_as_parameters_of_a_configuration() -> None:
    as_triton_tells = {name: {"string_value": value} for name, value in LIMITS.parameters().items()}
    assert MediaLimits.of_parameters(as_triton_tells | {"num_threads": {"string_value": "2"}}) == LIMITS
    assert MediaLimits.of_parameters({}) == MediaLimits()


@pytest.mark.parametrize(("name", "value"), [("media_max_bytes", "many"), ("media_max_bytes", "1"), ("media_max_byte", "4096")])
def test_a_parameter_that_is_no_limit_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingError, match="max_byte"):
        MediaLimits.of_parameters({name: {"string_value": value}})
