"""One pass over the container of a video or a sound.

Shapes: F frames, H x W pixels, S samples. Times are seconds from the start of the file.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import BinaryIO, Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container.input import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from reelspace.media.bad_media import Reason, Undecodable
from reelspace.media.decoded import Decoded
from reelspace.media.packets import Track, packet_end
from reelspace.media.pictures import PictureTrack, frame_times
from reelspace.media.sound import SoundTrack
from reelspace.media.spec import SAMPLE_RATE, FrameSpec

_US_PER_S: Final = 1_000_000
_SHORTEST_SHARE: Final = 0.5


def read_clip(file: BinaryIO, demuxer: str, spec: FrameSpec) -> Decoded:
    """Decode what a sample needs of a video or sound file.

    Args:
        demuxer: FFmpeg's name of the format; no other is tried, and no other file is opened.

    Raises:
        Undecodable: the file is at fault.
        MemoryError: it takes more than there is.
    """
    options = {"max_pixels": str(spec.max_pixels), "protocol_whitelist": "none"}
    try:
        with av.open(file, "r", format=demuxer, options=options, metadata_errors="replace") as container:
            return _read(container, spec)
    except av.error.MemoryError as error:
        raise MemoryError(str(error)) from error
    except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError, av.error.NotImplementedError) as error:
        raise Undecodable(Reason.UNSUPPORTED, f"{demuxer}: {error.strerror}") from error
    except av.error.FFmpegError as error:
        raise Undecodable(Reason.CORRUPT, f"{demuxer}: {error.strerror}") from error


def _read(container: InputContainer, spec: FrameSpec) -> Decoded:
    video, audio = _video_of(container), _audio_of(container)
    start_s = (container.start_time or 0) / _US_PER_S
    tracks: dict[int, Track] = {}
    sound = SoundTrack(start_s, spec) if audio is not None else None
    if audio is not None and sound is not None:
        tracks[audio.index] = sound
    if video is not None:
        lead_s, duration_s = _lead(video, start_s), _duration(container, video, start_s)
        pictures = PictureTrack(video, start_s, frame_times(lead_s, duration_s, spec.num_frames), spec)
        reached_s = _walk(container, {video.index: pictures, **tracks}, start_s)
        if not pictures.is_complete and reached_s < _SHORTEST_SHARE * duration_s:
            raise Undecodable(Reason.TRUNCATED, f"the file announces {duration_s:.1f} s and ends after {reached_s:.1f} s")
        return _finished(pictures, sound, duration_s)
    if sound is not None:
        _walk(container, tracks, start_s)
        return _finished_sound(sound, (container.duration or 0) / _US_PER_S, spec)
    what = ", ".join(sorted({stream.type for stream in container.streams})) or "none at all"
    raise Undecodable(Reason.NO_STREAMS, f"no stream of pictures or sound that can be decoded; streams: {what}")


def _walk(container: InputContainer, tracks: Mapping[int, Track], start_s: float) -> float:
    """Feed the tracks, by stream number, until they are complete or the file ends; give how far the file was read."""
    reached_s = 0.0
    for packet in container.demux([container.streams[number] for number in tracks]):
        reached_s = max(reached_s, packet_end(packet, start_s))
        track = tracks[packet.stream.index]
        if not track.is_complete:
            track.add(packet)
        if all(track.is_complete for track in tracks.values()):
            break
    return reached_s


def _finished(pictures: PictureTrack, sound: SoundTrack | None, duration_s: float) -> Decoded:
    audio_S = sound.finish() if sound is not None else None
    frames_FHWC = pictures.finish()
    if pictures.num_packets == 1 and audio_S is None:
        return Decoded(frames_FHWC[:1], None, 0.0, "image")
    return Decoded(frames_FHWC, audio_S, duration_s, "video")


def _finished_sound(sound: SoundTrack, stated_s: float, spec: FrameSpec) -> Decoded:
    audio_S = sound.finish()
    sound.count.check("sound")
    if not sound.num_samples:
        raise Undecodable(Reason.CORRUPT, f"none of the {sound.count.total} packets of sound gave any")
    if audio_S is None:
        raise Undecodable(Reason.NOTHING_INSIDE, "sound alone, and it is silent")
    no_frames_FHWC = np.zeros((0, spec.size, spec.size, 3), dtype=np.uint8)
    return Decoded(no_frames_FHWC, audio_S, max(stated_s, len(audio_S) / SAMPLE_RATE), "sound")


def _video_of(container: InputContainer) -> VideoStream | None:
    video = container.streams.best("video")
    # The cover of a song is no video.
    if not isinstance(video, VideoStream) or (Disposition.attached_pic in video.disposition and container.streams.audio):
        return None
    if video.codec_context is None:
        raise Undecodable(Reason.UNSUPPORTED, "no decoder for the pictures")
    return video


def _audio_of(container: InputContainer) -> AudioStream | None:
    audio = container.streams.best("audio")
    return audio if isinstance(audio, AudioStream) and audio.codec_context is not None else None


def _lead(video: VideoStream, start_s: float) -> float:
    """Give by how much the pictures start later than the file."""
    if video.start_time is None or not video.time_base:
        return 0.0
    return max(0.0, float(video.start_time * video.time_base) - start_s)


def _duration(container: InputContainer, video: VideoStream, start_s: float) -> float:
    stated_s = _stated_duration(container, video)
    if stated_s is not None:
        return stated_s
    end_s = max((packet_end(packet, start_s) for packet in container.demux(video)), default=0.0)
    container.seek(container.start_time or 0)
    return end_s


def _stated_duration(container: InputContainer, video: VideoStream) -> float | None:
    if video.duration and video.duration > 0 and video.time_base:
        return float(video.duration * video.time_base)
    tag = _tagged_duration(video.metadata.get("DURATION", ""))
    if tag is not None:
        return tag
    return container.duration / _US_PER_S if container.duration and container.duration > 0 else None


def _tagged_duration(text: str) -> float | None:
    """Read Matroska's `00:01:02.500000000`."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
        duration_s = timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    except (ValueError, OverflowError):
        return None
    return duration_s if duration_s > 0 else None
