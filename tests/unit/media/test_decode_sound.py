"""Sound: 16 kHz mono from any file, none where there is none or only silence.

Shapes: S samples.
"""

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reelspace.media.bad_media import Undecodable
from reelspace.media.decode import decode_media
from reelspace.media.spec import SAMPLE_RATE, FrameSpec

EncodeClip = Callable[..., bytes]
FRAMES_FHWC = np.full((20, 48, 64, 3), 90, dtype=np.uint8)


def tone(hertz: float, seconds: float, sample_rate: int = SAMPLE_RATE, level: float = 0.5) -> NDArray[np.int16]:
    times_S = np.arange(round(seconds * sample_rate)) / sample_rate
    return (level * 32767 * np.sin(2 * np.pi * hertz * times_S)).astype(np.int16)


def loudest_hertz(audio_S: NDArray[np.int16]) -> float:
    spectrum = np.abs(np.fft.rfft(audio_S * np.hanning(len(audio_S))))
    return float(np.fft.rfftfreq(len(audio_S), 1 / SAMPLE_RATE)[spectrum.argmax()])


def encode_sound(sound_CS: NDArray[np.int16], container: str, codec: str, sample_rate: int, cover: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    layout = "stereo" if len(sound_CS) == 2 else "mono"
    with av.open(buffer, "w", format=container) as file:
        track = file.add_stream(codec, rate=sample_rate, layout=layout)
        if cover:
            picture = file.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            packet = av.Packet(cover)
            packet.stream = picture
            packet.pts = packet.dts = 0
            file.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound_CS.T.reshape(1, -1)), format="s16", layout=layout)
        frame.sample_rate = sample_rate
        file.mux(track.encode(frame))
        file.mux(track.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "sample_rate"),
    [
        ("wav", "pcm_s16le", 44_100),
        ("mp3", "libmp3lame", 44_100),
        ("flac", "flac", 48_000),
        ("ogg", "libopus", 48_000),
        ("adts", "aac", 22_050),
        ("mp4", "aac", 8_000),
    ],
)
def test_a_sound_file_gives_its_tone_and_no_frames(container: str, codec: str, sample_rate: int) -> None:
    stereo_CS = np.stack([tone(440, 3, sample_rate)] * 2)
    decoded = decode_media(encode_sound(stereo_CS, container, codec, sample_rate), FrameSpec(max_audio_s=2.0, size=48))
    assert decoded.kind == "sound"
    assert decoded.frames_FHWC.shape == (0, 48, 48, 3)
    assert decoded.audio_S is not None
    assert decoded.audio_S.dtype == np.int16
    assert len(decoded.audio_S) == 2 * SAMPLE_RATE
    assert loudest_hertz(decoded.audio_S) == pytest.approx(440, abs=2)
    assert decoded.duration_s == pytest.approx(3.0, abs=0.2)


def test_short_sound_keeps_its_length() -> None:
    decoded = decode_media(encode_sound(tone(440, 0.5)[None], "wav", "pcm_s16le", SAMPLE_RATE), FrameSpec())
    assert decoded.audio_S is not None
    assert np.array_equal(decoded.audio_S, tone(440, 0.5))


def test_opposite_channels_cancel_to_silence_and_are_refused() -> None:
    opposite_CS = np.stack([tone(440, 1), -tone(440, 1)])
    with pytest.raises(Undecodable, match="nothing_inside"):
        decode_media(encode_sound(opposite_CS, "wav", "pcm_s16le", SAMPLE_RATE), FrameSpec())


def test_the_cover_of_a_song_is_no_video() -> None:
    cover = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(cover, "JPEG")
    decoded = decode_media(encode_sound(tone(440, 1)[None], "mp3", "libmp3lame", SAMPLE_RATE, cover.getvalue()), FrameSpec())
    assert decoded.kind == "sound"
    assert not len(decoded.frames_FHWC)


def test_the_sound_of_a_video_is_cut_at_the_limit(encode_clip: EncodeClip) -> None:
    data = encode_clip(FRAMES_FHWC, (tone(880, 2, 44_100),), sample_rate=44_100)
    decoded = decode_media(data, FrameSpec(max_audio_s=1.5))
    assert decoded.kind == "video"
    assert decoded.audio_S is not None
    assert len(decoded.audio_S) == round(1.5 * SAMPLE_RATE)
    assert loudest_hertz(decoded.audio_S) == pytest.approx(880, abs=2)


@pytest.mark.parametrize("sounds", [(), (np.zeros(32_000, dtype=np.int16),)])
def test_no_sound_and_a_silent_track_are_both_none(encode_clip: EncodeClip, sounds: tuple[NDArray[np.int16], ...]) -> None:
    decoded = decode_media(encode_clip(FRAMES_FHWC, sounds), FrameSpec())
    assert decoded.kind == "video"
    assert decoded.audio_S is None


def test_sound_that_starts_late_keeps_its_place(encode_clip: EncodeClip) -> None:
    data = encode_clip(FRAMES_FHWC, (tone(440, 1),), container="matroska", sound_codec="pcm_s16le", sound_from_s=0.75)
    audio_S = decode_media(data, FrameSpec()).audio_S
    assert audio_S is not None
    first = int(np.flatnonzero(np.abs(audio_S.astype(int)) > 1000)[0])
    assert first / SAMPLE_RATE == pytest.approx(0.75, abs=0.01)


def test_of_several_streams_one_is_taken(encode_clip: EncodeClip) -> None:
    decoded = decode_media(encode_clip(FRAMES_FHWC, (tone(440, 2), tone(880, 2))), FrameSpec())
    assert decoded.audio_S is not None
    assert loudest_hertz(decoded.audio_S) == pytest.approx(440, abs=2)


def test_every_real_sound_decodes(real_data: Path) -> None:
    paths = sorted((real_data / "audio" / "esc10").glob("*.ogg"))
    assert len(paths) == 50
    for path in paths:
        decoded = decode_media(path, FrameSpec(max_audio_s=4.0))
        assert decoded.kind == "sound"
        assert decoded.audio_S is not None
        assert len(decoded.audio_S) == 4 * SAMPLE_RATE
        assert decoded.duration_s == pytest.approx(5.0, abs=0.3)
