"""Whether what a shard holds sealed is still what was verified when it was loaded: compared again and again, a little at a time.

Memory is held against digests of our own, which are for bits that change by themselves; a mapped file against its manifest's SHA-256.
"""

import hashlib
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from reelspace.search.compute.index_memory import Arrays
from reelspace.search.compute.mapped_file import MappedFile
from reelspace.search.compute.sealed_memory import SealedPart, sealed_parts
from reelspace.search.compute.shard import Shard

STEP_BYTES: Final = 4 << 20
"""So much is compared at a time: less than a millisecond of memory, two of a file."""
Rest = Callable[[int, float], bool]
"""Pauses after some bytes that took some seconds of a core; False ends the look."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What a look came to: the bytes that were compared, and the name of the first part that differs, None if none does."""

    num_bytes: int
    damage: str | None


class Scrub:
    """What one shard held when it was loaded. Make it then, when the bytes are known to be good; it does not keep the shard."""

    def __init__(self, shard: Shard) -> None:
        self._shard = weakref.ref(shard)
        self._files = shard.mapped_files
        self._parts = [(part, _digests(part.arrays(shard))) for part in sealed_parts(shard)]

    def look(self, turn: AbstractContextManager[object], is_loaded: Callable[[], bool], rest: Rest) -> Scrubbed | None:
        """Compare everything once; None where the look was ended, or the shard is loaded no more.

        Args:
            turn: held for a moment per part, and not while bytes are compared: changes leave sealed ones as they are.
            is_loaded: tells whether the shard still answers.
            rest: is called after every step.
        """
        num_bytes, begun_s = 0, time.thread_time()
        for step_bytes, damage in self._steps(turn):
            num_bytes += step_bytes
            if not is_loaded():
                return None
            if damage is not None:
                return Scrubbed(num_bytes, damage)
            if not rest(step_bytes, time.thread_time() - begun_s):
                return None
            begun_s = time.thread_time()
        return Scrubbed(num_bytes, None) if is_loaded() else None

    def _steps(self, turn: AbstractContextManager[object]) -> Iterator[tuple[int, str | None]]:
        """Compare a few bytes at a time: gives how many, and what differs."""
        shard = self._shard()
        if shard is None:
            return
        for file in self._files:
            yield from _file_steps(file)
        for part, digests in self._parts:
            with turn:
                arrays = part.arrays(shard)
            yield from _memory_steps(part, arrays, digests)


def _file_steps(file: MappedFile) -> Iterator[tuple[int, str | None]]:
    found = hashlib.sha256()
    for start in range(0, file.facts.size_bytes, STEP_BYTES):
        size_bytes = min(STEP_BYTES, file.facts.size_bytes - start)
        try:
            data = file.read(start, size_bytes)
        except OSError:  # the disk cannot give back what it holds
            data = b""
        found.update(data)
        yield len(data), None if len(data) == size_bytes else file.name
    is_right = file.size_bytes == file.facts.size_bytes and found.hexdigest() == file.facts.sha256
    yield 0, None if is_right else file.name


def _memory_steps(part: SealedPart, arrays: Arrays, digests: Sequence[int]) -> Iterator[tuple[int, str | None]]:
    num_pieces = 0
    for num_pieces, piece in enumerate(_pieces(arrays), 1):
        is_right = num_pieces <= len(digests) and _digest(piece) == digests[num_pieces - 1]
        yield sum(one.nbytes for one in piece), None if is_right else part.name
    # A part that is gone altogether was dropped.
    yield 0, part.name if 0 < num_pieces < len(digests) else None


def _digests(arrays: Arrays) -> tuple[int, ...]:
    return tuple(_digest(piece) for piece in _pieces(arrays))


def _digest(piece: Iterable[NDArray[np.uint8]]) -> int:
    digest = xxhash.xxh3_64()
    for one in piece:
        digest.update(one.data)
    return digest.intdigest()


def _pieces(arrays: Arrays) -> Iterator[list[NDArray[np.uint8]]]:
    """Cut and join arrays into pieces of STEP_BYTES, the last one shorter."""
    piece: list[NDArray[np.uint8]] = []
    left = STEP_BYTES
    for array in arrays:
        data = array.reshape(-1).view(np.uint8)
        while len(data) >= left:
            yield [*piece, data[:left]]
            data, piece, left = data[left:], [], STEP_BYTES
        if len(data):
            piece.append(data)
            left -= len(data)
    if piece:
        yield piece
