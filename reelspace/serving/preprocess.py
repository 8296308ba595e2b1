"""What happens to a query before a model sees it, the same for every caller.

Clients make V2 tensors of texts and videos; the encoder behind Triton makes graph inputs of V2 tensors.
Shapes: B rows, F frames, H x W pixels, S sound samples, L tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reelspace.core.captions import parse_caption, visible_text
from reelspace.core.errors import BadMedia
from reelspace.serving.signatures import MAX_TEXT_BYTES, Signature
from reelspace.serving.wire import Tensor, WireError, text_tensor


class Video(Protocol):
    """Decoded media with the author's words."""

    @property
    def frames_FHWC(self) -> NDArray[np.uint8]:
        """Frames, uint8; F is 0 for sound alone."""

    @property
    def audio_S(self) -> NDArray[np.int16] | None:
        """Sound, 16 kHz mono, or None."""

    @property
    def text(self) -> str:
        """The caption."""


@dataclass(frozen=True, slots=True)
class VideoQuery:
    """The plain form of a Video, for callers that have decoded media and a caption apart."""

    frames_FHWC: NDArray[np.uint8]
    audio_S: NDArray[np.int16] | None
    text: str


class TextEncoder(Protocol):
    """The part of the tokenizer that is needed here."""

    def encode_BL(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Give token ids and which of them are real."""


def query_text(text: str) -> str:
    """Tidy the words of a search: visible characters, single spaces; hashtags stay, they are the query."""
    return " ".join(visible_text(text).split())


def video_text(caption: str) -> str:
    """Give an author's words without hashtags, as a work is known at the moment of upload."""
    return parse_caption(caption).text


def text_tensors(texts: Sequence[str]) -> dict[str, Tensor]:
    """Make the V2 tensors of a text encoder."""
    return {"TEXT": text_tensor([query_text(text) for text in texts])}


def video_tensors(videos: Sequence[Video], signature: Signature) -> dict[str, Tensor]:
    """Make the V2 tensors of a video encoder.

    Frames and sound that are not there are zeros; of more frames than the model's, some are chosen uniformly in time;
    longer sound is cut at the model's length, silence counts as no sound.

    Raises:
        BadMedia: frames of another size than the model's; the message gives both.
    """
    frames_BFHWC = np.zeros((len(videos), *signature.input("FRAMES").dims), dtype=np.uint8)
    frames_mask_BF = np.zeros(frames_BFHWC.shape[:2], dtype=np.bool_)
    audio_BS = np.zeros((len(videos), *signature.input("AUDIO").dims), dtype=np.int16)
    audio_mask_B1 = np.zeros((len(videos), 1), dtype=np.bool_)
    for row, video in enumerate(videos):
        rows_F = frame_rows(len(video.frames_FHWC), frames_BFHWC.shape[1])
        if len(rows_F):
            _check_frames(video.frames_FHWC.shape, frames_BFHWC.shape[1:])
            frames_BFHWC[row, : len(rows_F)] = video.frames_FHWC[rows_F]
            frames_mask_BF[row, : len(rows_F)] = True
        if video.audio_S is not None and video.audio_S.any():
            audio_S = video.audio_S[: audio_BS.shape[1]]
            audio_BS[row, : len(audio_S)] = audio_S
            audio_mask_B1[row] = True
    texts_B1 = text_tensor([video_text(video.text) for video in videos])
    return {"FRAMES": frames_BFHWC, "FRAMES_MASK": frames_mask_BF, "AUDIO": audio_BS, "AUDIO_MASK": audio_mask_B1, "TEXT": texts_B1}


def frame_rows(num_present: int, num_wanted: int) -> NDArray[np.int64]:
    """Choose frames uniformly in time, as `model.inputs` does (which needs torch); all of them when there are fewer."""
    if num_present <= num_wanted:
        return np.arange(num_present)
    return np.linspace(0, num_present - 1, num_wanted).round().astype(np.int64)


def frames_mask(tensors: Mapping[str, Tensor]) -> NDArray[np.bool_]:
    """Tell which frames are there: by FRAMES_MASK, or else those with any pixel that is not zero."""
    given = tensors.get("FRAMES_MASK")
    mask_BF: NDArray[np.bool_] = tensors["FRAMES"].any(axis=(2, 3, 4)) if given is None else given
    return mask_BF


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a request brings to a graph: its words, a text per row, and the graph's inputs but for the tokens of those."""

    texts: Sequence[str]
    inputs: Mapping[str, NDArray[Any]]


def prepared_texts(tensors: Mapping[str, Tensor]) -> Prepared:
    """Read a request of a text encoder.

    Raises:
        WireError: a text is empty, too long, or not UTF-8; names the row.
    """
    texts = [query_text(text) for text in _texts(tensors["TEXT"])]
    for row, text in enumerate(texts):
        if not text:
            raise WireError("TEXT", f"row {row} is empty; expected words to embed")
    return Prepared(texts, {})


def prepared_videos(tensors: Mapping[str, Tensor]) -> Prepared:
    """Read a request of a video encoder.

    Raises:
        WireError: a text is too long or not UTF-8, or a row has neither frames nor sound nor words.
    """
    texts = [video_text(text) for text in _texts(tensors["TEXT"])]
    mask_BF = frames_mask(tensors)
    audio_mask_B = tensors["AUDIO_MASK"].reshape(-1)
    for row, text in enumerate(texts):
        if not (text or audio_mask_B[row] or mask_BF[row].any()):
            raise WireError("FRAMES", f"row {row} is empty: expected frames, sound (with AUDIO_MASK true) or words")
    frames_BFHWC, audio_BS = tensors["FRAMES"], tensors["AUDIO"]
    inputs = {
        "frames": frames_BFHWC if mask_BF.all() else np.where(mask_BF[:, :, None, None, None], frames_BFHWC, np.uint8(0)),
        "frames_mask": mask_BF,
        "audio": audio_BS if audio_mask_B.all() else np.where(audio_mask_B[:, None], audio_BS, np.int16(0)),
        "audio_mask": audio_mask_B,
    }
    return Prepared(texts, inputs)


def unreadable(text_mask_BL: NDArray[np.bool_]) -> WireError | None:
    """Give the error of the first text of which a text encoder reads nothing."""
    empty_rows = np.flatnonzero(~text_mask_BL.any(axis=1))
    return WireError("TEXT", f"row {empty_rows[0]} has no character that the model reads") if len(empty_rows) else None


def joined_inputs(parts: Sequence[Prepared], text_BL: NDArray[np.int32], text_mask_BL: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Put the rows of several requests together as a graph's inputs.

    Args:
        text_BL, text_mask_BL: tokens of the texts of all rows.
    """
    first, *others = parts
    inputs = {name: np.concatenate([part.inputs[name] for part in parts]) if others else rows for name, rows in first.inputs.items()}
    return {**inputs, "text": text_BL, "text_mask": text_mask_BL}


def text_inputs(tensors: Mapping[str, Tensor], tokenizer: TextEncoder) -> dict[str, NDArray[Any]]:
    """Make the inputs of a text encoder's graph.

    Raises:
        WireError: a text is empty, too long, or not UTF-8, or nothing of it can be read; names the row.
    """
    prepared = prepared_texts(tensors)
    text_BL, text_mask_BL = tokenizer.encode_BL(prepared.texts)
    if error := unreadable(text_mask_BL):
        raise error
    return joined_inputs([prepared], text_BL, text_mask_BL)


def video_inputs(tensors: Mapping[str, Tensor], tokenizer: TextEncoder) -> dict[str, NDArray[Any]]:
    """Make the inputs of a video encoder's graph; raises as `prepared_videos`."""
    prepared = prepared_videos(tensors)
    return joined_inputs([prepared], *tokenizer.encode_BL(prepared.texts))


def _texts(text_B1: Tensor) -> list[str]:
    texts = []
    for row, value in enumerate(text_B1.reshape(-1)):
        if len(value) > MAX_TEXT_BYTES:
            raise WireError("TEXT", f"row {row} has {len(value)} bytes; at most {MAX_TEXT_BYTES}")
        try:
            texts.append(value.decode())
        except UnicodeDecodeError as error:
            raise WireError("TEXT", f"row {row} is not UTF-8: {error.reason} at byte {error.start}") from error
    return texts


def _check_frames(got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got[1:] != expected[1:]:
        raise BadMedia(f"expected frames of {list(expected[1:])}, got {list(got[1:])}; decode with the model's own frame size")
