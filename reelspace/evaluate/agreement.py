"""How well the student agrees with its teacher: needs no truth, so it holds on a user's own data too."""

import numpy as np
from numpy.typing import NDArray

from reelspace.evaluate.ranking import exact_rows_QK

Floats = NDArray[np.float32]


def agreement_figures(teacher_ND: Floats, student_ND: Floats, k: int = 10) -> dict[str, float | None]:
    """Search the teacher's vectors with the student's.

    Returns:
        finds_itself_r10: share of works found by their own student vector among the first ten teacher vectors;
        neighbour_overlap: share of the teacher's k nearest neighbours that the student's query also finds.
    """
    num = len(teacher_ND)
    k = min(k, num - 1)
    if k < 1:
        return {"finds_itself_r10": None, "neighbour_overlap": None}
    rows_N = np.arange(num, dtype=np.int64)
    found_NK = exact_rows_QK(student_ND, teacher_ND, k)
    teacher_NK = exact_rows_QK(teacher_ND, teacher_ND, k, own_rows_Q=rows_N)
    student_NK = exact_rows_QK(student_ND, teacher_ND, k, own_rows_Q=rows_N)
    overlap = [len(np.intersect1d(a, b)) / k for a, b in zip(teacher_NK, student_NK, strict=True)]
    return {"finds_itself_r10": float((found_NK == rows_N[:, None]).any(axis=1).mean()), "neighbour_overlap": float(np.mean(overlap))}
