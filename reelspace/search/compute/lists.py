"""How many lists of near vectors an index has: the builder makes as many, the planner counts as many. Loads nothing."""

import math
from typing import Final

LISTS_PER_ROOT: Final = 2.5
ROWS_PER_LIST: Final = 39
"""Fewer rows teach a list's centre nothing; faiss warns below it."""


def num_lists(num_vectors: float) -> int:
    """Give how many lists so many vectors are put into."""
    return max(1, min(round(LISTS_PER_ROOT * math.sqrt(num_vectors)), int(num_vectors // ROWS_PER_LIST)))
