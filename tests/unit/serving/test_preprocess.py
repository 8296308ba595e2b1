import numpy as np
import pytest
from numpy.typing import NDArray

from reelspace.core.errors import BadMedia
from reelspace.serving.preprocess import VideoQuery, frames_mask, query_text, text_inputs, video_inputs, video_tensors, video_text
from reelspace.serving.signatures import EncoderSizes, video_signature
from reelspace.serving.wire import WireError, text_tensor

SIGNATURE = video_signature("video_encoder", EncoderSizes(8, 3, 4, 4, 10))


class Letters:
    """A tokenizer whose tokens are the first three letters."""

    def encode_BL(self, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        ids = np.array([[ord(letter) for letter in text[:3].ljust(3, "\0")] for text in texts], dtype=np.int32).reshape(-1, 3)
        return ids, ids > 0


def frames(num: int) -> NDArray[np.uint8]:
    return np.arange(1, num * 48 + 1, dtype=np.uint8).reshape(num, 4, 4, 3)


def test_short_frames_and_sound_are_zero_padded_and_long_sound_is_cut() -> None:
    short = VideoQuery(frames(1), np.arange(1, 5, dtype=np.int16), "x")
    long = VideoQuery(frames(3), np.arange(1, 21, dtype=np.int16), "y")
    tensors = video_tensors([short, long], SIGNATURE)
    np.testing.assert_array_equal(tensors["FRAMES"][0, 0], short.frames_FHWC[0])
    assert not tensors["FRAMES"][0, 1:].any()
    np.testing.assert_array_equal(tensors["FRAMES"][1], long.frames_FHWC)
    assert tensors["AUDIO"].tolist() == [[1, 2, 3, 4, 0, 0, 0, 0, 0, 0], list(range(1, 11))]
    assert tensors["AUDIO_MASK"].tolist() == [[True], [True]]


def test_missing_parts_are_zeros_with_false_masks() -> None:
    tensors = video_tensors([VideoQuery(frames(0), None, "words")], SIGNATURE)
    inputs = video_inputs(tensors, Letters())
    assert not inputs["frames"].any()
    assert not inputs["frames_mask"].any()
    assert not inputs["audio"].any()
    assert inputs["audio_mask"].tolist() == [False]
    assert inputs["text_mask"].tolist() == [[True, True, True]]


def test_sound_under_a_false_mask_does_not_reach_the_model() -> None:
    tensors = video_tensors([VideoQuery(frames(1), np.full(10, 9, np.int16), "")], SIGNATURE)
    tensors["AUDIO_MASK"][:] = False
    assert not video_inputs(tensors, Letters())["audio"].any()


def test_without_a_mask_frames_are_there_where_any_pixel_is_not_zero() -> None:
    batch = np.zeros((2, 3, 4, 4, 3), np.uint8)
    batch[1, 2, 3, 3, 2] = 1
    assert frames_mask({"FRAMES": batch}).tolist() == [[False] * 3, [False, False, True]]


def test_a_black_frame_is_there_because_its_mask_says_so() -> None:
    tensors = video_tensors([VideoQuery(np.zeros((2, 4, 4, 3), np.uint8), None, "")], SIGNATURE)
    assert video_inputs(tensors, Letters())["frames_mask"].tolist() == [[True, True, False]]


def test_of_many_frames_some_are_chosen_uniformly_in_time() -> None:
    tensors = video_tensors([VideoQuery(frames(5), None, "")], SIGNATURE)
    np.testing.assert_array_equal(tensors["FRAMES"][0], frames(5)[[0, 2, 4]])


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 5, 4, 3), (1, 4, 4, 1)])
def test_frames_of_another_size_are_refused_giving_both(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadMedia, match=r"expected frames of \[4, 4, 3\], got"):
        video_tensors([VideoQuery(np.ones(shape, np.uint8), None, "")], SIGNATURE)


def test_hashtags_leave_captions_but_stay_in_searches() -> None:
    assert video_text("soup #ramen today") == "soup today"
    assert query_text("  #ramen\u200b   soup\n") == "#ramen soup"


@pytest.mark.parametrize("value", [b"", b"  ", b"\xff", b"x" * 16_385])
def test_a_bad_search_text_is_refused_naming_its_row(value: bytes) -> None:
    tensor = text_tensor(["good", ""])
    tensor[1, 0] = value
    with pytest.raises(WireError, match="TEXT: row 1 "):
        text_inputs({"TEXT": tensor}, Letters())


def test_a_work_without_any_part_is_refused() -> None:
    tensors = video_tensors([VideoQuery(frames(1), None, ""), VideoQuery(frames(0), None, "#tag")], SIGNATURE)
    with pytest.raises(WireError, match="FRAMES: row 1 is empty"):
        video_inputs(tensors, Letters())
