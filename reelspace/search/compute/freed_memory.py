"""Memory that was freed, given back to the system.

glibc keeps it for what comes next. Generations come and go in other threads than searches, each of which has a heap of its own, so
what one generation left is seldom what the next one takes, and the process grows for as long as generations follow each other. Arrow
has heaps of its own beside those, one per thread, which nobody gives back.
"""

import ctypes
from typing import Final

import pyarrow as pa

NUM_HEAPS: Final = 2
_LIBRARY: Final = ctypes.CDLL(None)
_M_ARENA_MAX: Final = -8
"""Source: mallopt(3)."""


def share_heaps() -> None:
    """Let threads that start from now on share a few heaps, and Arrow use them; the first only where the C library has such a call."""
    pa.set_memory_pool(pa.system_memory_pool())
    tune = getattr(_LIBRARY, "mallopt", None)
    if tune is not None:
        tune(_M_ARENA_MAX, NUM_HEAPS)


def give_back() -> None:
    """Give all pages that nothing lies in back to the system; does nothing where the C library has no such call."""
    trim = getattr(_LIBRARY, "malloc_trim", None)
    if trim is not None:
        trim(0)
