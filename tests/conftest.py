"""What tests of several rooms share: media made on the spot, the folder of real ones, a real S3 server."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import pytest
import urllib3
from numpy.typing import NDArray

EncodeClip = Callable[..., bytes]
_START_LIMIT_S = 60.0


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real samples; REELSPACE_TEST_DATA names another one."""
    folder = Path(os.environ.get("REELSPACE_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (folder / "video" / "clips.jsonl").is_file():
        pytest.skip(f"no real samples in {folder}: set REELSPACE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def encode_clip() -> EncodeClip:
    """Encode frames and sound into the bytes of a file."""
    return _encode_clip


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 server, as a child process on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix in a fresh bucket, with the environment that opens it."""
    bucket = f"bucket-{secrets.token_hex(4)}"
    assert urllib3.request("PUT", f"{s3_endpoint}/{bucket}").status == 200
    monkeypatch.setenv("REELSPACE_S3_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return f"s3://{bucket}/some/prefix"


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline_s:
        assert server.poll() is None, "the S3 server ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"the S3 server did not answer within {_START_LIMIT_S:g} s")


def _encode_clip(frames_FHWC: NDArray[np.uint8], sounds: tuple[NDArray[np.int16], ...] = (), **form: Any) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        _write_clip(path, frames_FHWC, sounds, ClipForm(**form))
        return path.read_bytes()


@dataclass(frozen=True)
class ClipForm:
    """How a clip is encoded; rotation in degrees, times in seconds."""

    container: str = "mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    fps: int | Fraction = 10
    options: Mapping[str, str] = field(default_factory=dict)
    rotation: int = 0
    sample_rate: int = 16_000
    sound_codec: str = "aac"
    sound_from_s: float = 0.0
    movflags: str = ""


def _write_clip(path: Path, frames_FHWC: NDArray[np.uint8], sounds: tuple[NDArray[np.int16], ...], form: ClipForm) -> None:
    with av.open(path, "w", format=form.container, options={"movflags": form.movflags} if form.movflags else {}) as file:
        pictures = file.add_stream(form.codec, rate=form.fps, options={"threads": "1", **form.options})
        pictures.height, pictures.width = frames_FHWC.shape[1:3]
        pictures.pix_fmt = form.pixels
        if form.rotation:
            pictures.set_display_rotation(form.rotation)
        tracks = [file.add_stream(form.sound_codec, rate=form.sample_rate, layout="mono") for _ in sounds]
        for index, frame_HWC in enumerate(frames_FHWC):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
            frame.pts, frame.time_base = index, 1 / Fraction(form.fps)
            file.mux(pictures.encode(frame))
        file.mux(pictures.encode(None))
        for track, sound_S in zip(tracks, sounds, strict=True):
            frame_of_sound = av.AudioFrame.from_ndarray(sound_S[None], format="s16", layout="mono")
            frame_of_sound.sample_rate = form.sample_rate
            frame_of_sound.pts = round(form.sound_from_s * form.sample_rate)
            file.mux(track.encode(frame_of_sound))
            file.mux(track.encode(None))
