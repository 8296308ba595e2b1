import numpy as np
import pytest

from reelspace.evaluate.latency import measure_latency, random_work
from reelspace.evaluate.student import label_figures, size_figures, speed_figures
from reelspace.model.model import ReelModel
from reelspace.model.presets import preset

SMALL = preset("tiny_student").model_copy(update={"num_frames": 1, "picture_layers": 1})
LARGE = preset("tiny_student").model_copy(update={"num_frames": 8, "picture_layers": 12})


def test_a_quarter_of_the_parameters_is_four_times_smaller() -> None:
    assert size_figures(1000, 250) == {"num_parameters": 250, "times_smaller": 4.0}


def test_shared_labels_are_counted_among_the_best_five_of_each() -> None:
    teacher_NK = np.array([[9, 8, 7, 6, 5, 0, 0, 0, 0, 0], [9, 8, 7, 6, 5, 0, 0, 0, 0, 0]], dtype=np.float32)
    student_NK = np.array([[5, 6, 7, 8, 9, 0, 0, 0, 0, 0], [0, 0, 0, 0, 3, 5, 6, 7, 8, 9]], dtype=np.float32)
    # All five of the first work, in another order; none of the second.
    figures = label_figures(teacher_NK, student_NK, seed=0)
    assert figures["labels_shared_5"] == pytest.approx(0.5)
    assert len(figures["labels_shared_5_interval"]) == 2  # type: ignore[arg-type]


def test_a_model_with_more_to_compute_takes_longer_and_the_pairs_say_so_both_ways() -> None:
    large, small = ReelModel(LARGE), ReelModel(SMALL)
    latency = measure_latency(large, small, num_pairs=5)
    low, high = latency.interval
    assert 1.5 < low <= latency.times_faster <= high
    assert measure_latency(small, large, num_pairs=5).times_faster < 1 / 1.5
    assert speed_figures(large, small, num_pairs=3, seed=0)["times_faster"] > 1.5  # type: ignore[operator]


def test_the_timed_work_has_every_modality() -> None:
    _, frames_mask_BF, _, audio_mask_B, _, text_mask_BL = random_work(SMALL, 0)
    assert frames_mask_BF.all()
    assert audio_mask_B.all()
    assert text_mask_BL.any()
