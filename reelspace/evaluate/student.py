"""A student held against its teacher: how small, how fast, how near in what it finds and which labels it tells.

Legend: Q queries, N works, D dimension, K labels.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.evaluate.figures import INTERVAL, Figures, with_intervals
from reelspace.evaluate.latency import measure_latency
from reelspace.evaluate.ranking import Values, mean_of, ratio_interval
from reelspace.evaluate.topics import TopicTask, video_values
from reelspace.model.model import ReelModel

Floats = NDArray[np.float32]
NUM_LABELS = 5
_P10 = "video_to_topic_p10"


def size_figures(num_teacher: int, num_student: int) -> Figures:
    """Give the student's parameters, and how many times as many the teacher has."""
    return {"num_parameters": num_student, "times_smaller": num_teacher / num_student if num_student else None}


def found_figures(task: TopicTask, teacher_ND: Floats, student_ND: Floats, seed: int) -> Figures:
    """Give what the student's queries find among its own vectors and in the teacher's index, both also as shares of the teacher's own."""
    own, cross, least = (
        video_values(task, queries_ND, gallery_ND)
        for queries_ND, gallery_ND in ((student_ND, student_ND), (student_ND, teacher_ND), (teacher_ND, teacher_ND))
    )
    figures = with_intervals(own | {"cross_space_p10": cross[_P10]}, seed, "student")
    ratios = {f"{_P10}_ratio": own[_P10], "cross_space_p10_ratio": cross[_P10]}
    return figures | _ratios(ratios, least[_P10], seed)


def label_figures(logits_of_teacher_NK: Floats, logits_of_student_NK: Floats, seed: int) -> Figures:
    """Give which share of the teacher's five best labels of a work the student has among its own five best."""
    best = (np.argsort(-logits_NK, axis=1, kind="stable")[:, :NUM_LABELS] for logits_NK in (logits_of_teacher_NK, logits_of_student_NK))
    teacher_NK, student_NK = best
    shared_N = (teacher_NK[:, :, None] == student_NK[:, None, :]).any(axis=2).mean(axis=1)
    return with_intervals({"labels_shared_5": np.asarray(shared_N, dtype=np.float64)}, seed, "student")


def speed_figures(teacher: ReelModel, student: ReelModel, num_pairs: int, seed: int) -> Figures:
    """Give how many times as long the teacher takes for a work, the median over interleaved pairs, and the middle half of them."""
    latency = measure_latency(teacher, student, num_pairs, seed)
    return {"times_faster": latency.times_faster, f"times_faster{INTERVAL}": latency.interval}


def _ratios(above: Mapping[str, Values], below: Values, seed: int) -> Figures:
    figures: Figures = {}
    least = mean_of(below)
    for name, values in above.items():
        mean = mean_of(values)
        is_defined = mean is not None and bool(least)
        figures[name] = mean / least if mean is not None and least else None
        figures[name + INTERVAL] = ratio_interval(values, below, rng(seed, "bootstrap", "student", name)) if is_defined else None
    return figures
