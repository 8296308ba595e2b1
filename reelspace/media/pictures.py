"""The pictures of a video: which are taken, and how each becomes an upright square.

Shapes: F frames, H x W pixels. Times are seconds from the start of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reelspace.media.bad_media import Reason, Undecodable
from reelspace.media.packets import PacketCount, packet_time
from reelspace.media.spec import FrameSpec

# Bit-exact scaling: the same pixels on every machine, whatever vector instructions it has.
_SCALING: Final = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_MAX_ASPECT: Final = 32
_WIDEST_PIXEL: Final = 4


def frame_times(lead_s: float, duration_s: float, num_frames: int) -> tuple[float, ...]:
    """Give the times of frames uniform in time: the middles of equal parts, from `lead_s` on."""
    return tuple(lead_s + (index + 0.5) * duration_s / num_frames for index in range(num_frames))


class FramePicker:
    """Keeps the pictures that are shown at given times, offered frames in order of time.

    Args:
        times_F: ascending.
        pixel_shape: width of a pixel over its height, None if unknown.
    """

    def __init__(self, times_F: Sequence[float], size: int, pixel_shape: Fraction | None = None) -> None:
        self._times_F = times_F
        self._size = size
        self._pixel_shape = pixel_shape
        self._pictures: list[NDArray[np.uint8]] = []
        self._shown: VideoFrame | None = None
        self._shown_picture: NDArray[np.uint8] | None = None

    @property
    def next_time_s(self) -> float | None:
        """The time whose picture is looked for, None once all are found."""
        return self._times_F[len(self._pictures)] if len(self._pictures) < len(self._times_F) else None

    def offer(self, frame: VideoFrame, time_s: float) -> None:
        """Take the next frame; it is shown from `time_s` on."""
        while self._shown is not None and self.next_time_s is not None and time_s > self.next_time_s:
            self._keep(self._shown)
        self._shown, self._shown_picture = frame, None

    def finish(self) -> NDArray[np.uint8]:
        """Give frames_FHWC; times behind the last frame show that frame. F is 0 if no frame was offered."""
        while self._shown is not None and self.next_time_s is not None:
            self._keep(self._shown)
        return np.stack(self._pictures) if self._pictures else np.zeros((0, self._size, self._size, 3), dtype=np.uint8)

    def _keep(self, frame: VideoFrame) -> None:
        if self._shown_picture is None:
            self._shown_picture = square(frame, self._size, self._pixel_shape)
        self._pictures.append(self._shown_picture)


class PictureTrack:
    """Decodes of one video stream what its wanted pictures need, in one pass.

    Packets wait until it is known whether a wanted time lies before the next key frame; if none does they are dropped undecoded.
    """

    def __init__(self, stream: VideoStream, start_s: float, times_F: Sequence[float], spec: FrameSpec) -> None:
        self._decoder = stream.codec_context
        _check_size(self._decoder.width, self._decoder.height, spec.max_pixels)
        self._decoder.thread_count = 1  # processes run in parallel, not threads
        self._start_s = start_s
        self._max_pixels = spec.max_pixels
        self._picker = FramePicker(times_F, spec.size, stream.sample_aspect_ratio)
        self._waiting: list[av.Packet[Any]] = []
        self._has_gap = False
        self._position_s = 0.0
        self.num_packets = 0
        self.count = PacketCount()

    @property
    def is_complete(self) -> bool:
        """Whether no further packet is wanted."""
        return self._picker.next_time_s is None

    def add(self, packet: av.Packet[Any]) -> None:
        """Take the next packet of the stream; an empty one ends it."""
        target_s = self._picker.next_time_s
        if target_s is None:
            return
        if not packet.size:
            self._decode_waiting()
            self._decode(packet)
            return
        self.num_packets += 1
        time_s = packet_time(packet, self._start_s)
        is_late = time_s is None or time_s > target_s
        if packet.is_keyframe and not is_late and self._waiting:
            self._waiting.clear()
            self._has_gap = True
        self._waiting.append(packet)
        if is_late:
            self._decode_waiting()

    def finish(self) -> NDArray[np.uint8]:
        """Give frames_FHWC.

        Raises:
            Undecodable: no frame could be decoded, or too many packets were refused.
        """
        frames_FHWC = self._picker.finish()
        if not len(frames_FHWC) and not self._decoder.width * self._decoder.height:
            raise Undecodable(Reason.TOO_LARGE, f"the pictures claim no valid size, or more than {self._max_pixels} pixels")
        self.count.check("pictures")
        if not len(frames_FHWC):
            raise Undecodable(Reason.CORRUPT, f"none of the {self.count.total} packets of pictures gave one")
        return frames_FHWC

    def _decode_waiting(self) -> None:
        if self._has_gap and self._waiting:
            self._decoder.flush_buffers()
            self._has_gap = False
        for packet in self._waiting:
            self._decode(packet)
        self._waiting.clear()

    def _decode(self, packet: av.Packet[Any]) -> None:
        with self.count.judging(packet):
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    self._offer(frame)

    def _offer(self, frame: VideoFrame) -> None:
        _check_size(frame.width, frame.height, self._max_pixels)
        if frame.time is not None:
            self._position_s = frame.time - self._start_s
        self._picker.offer(frame, self._position_s)


def square(frame: VideoFrame, size: int, pixel_shape: Fraction | None = None) -> NDArray[np.uint8]:
    """Scale the short side of a frame to `size`, cut the centre square, turn it upright.

    Raises:
        Undecodable: `too_large` if one side is more than 32 times the other.
    """
    width, height = frame.width * _width_of_pixel(pixel_shape), float(frame.height)
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise Undecodable(
            Reason.TOO_LARGE, f"a frame of {frame.width} x {frame.height} pixels: one side is over {_MAX_ASPECT} times the other"
        )
    scale = size / min(width, height)
    scaled = frame.reformat(max(size, round(width * scale)), max(size, round(height * scale)), "rgb24", interpolation=_SCALING, threads=1)
    picture_HWC = scaled.to_ndarray().astype(np.uint8, copy=False)
    top, left = (picture_HWC.shape[0] - size) // 2, (picture_HWC.shape[1] - size) // 2
    upright_HWC = np.rot90(picture_HWC[top : top + size, left : left + size], k=round(frame.rotation / 90))
    return np.ascontiguousarray(upright_HWC)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Undecodable(Reason.TOO_LARGE, f"pictures of {width} x {height} pixels, at most {max_pixels} are decoded")


def _width_of_pixel(pixel_shape: Fraction | None) -> float:
    if pixel_shape is None or not 1 / _WIDEST_PIXEL <= pixel_shape <= _WIDEST_PIXEL:
        return 1.0
    return float(pixel_shape)
