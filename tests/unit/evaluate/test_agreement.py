import numpy as np

from reelspace.core.rng import rng
from reelspace.evaluate.agreement import agreement_figures


def vectors(num: int, name: str) -> np.ndarray:
    drawn = rng(3, name).standard_normal((num, 16)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_a_student_equal_to_its_teacher_agrees_fully():
    teacher = vectors(60, "teacher")
    assert agreement_figures(teacher, teacher) == {"finds_itself_r10": 1.0, "neighbour_overlap": 1.0}


def test_an_unrelated_student_agrees_by_chance_only():
    figures = agreement_figures(vectors(200, "teacher"), vectors(200, "student"))
    assert figures["finds_itself_r10"] < 0.15
    assert figures["neighbour_overlap"] < 0.15
