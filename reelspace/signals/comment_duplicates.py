"""Near copies of comments: MinHash over character 3-grams, banded, every match checked by the true Jaccard similarity.

Two texts share a band with a chance of J^rows (Broder 1997; Indyk and Motwani 1998); bands and rows follow from the least similarity
that counts as a copy, so that few true pairs are missed. What is found is verified, so that no false pair is given.
Legend: C texts, G grams, H hash functions, B bands.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng

_GRAM: Final = 3
_BITS: Final = 21  # a code point fits, so three of them are one number without collision
_MOST_HASHES: Final = 128
_MOST_ROWS: Final = 8
_MIN_RECALL: Final = 0.99
_CHUNK_GRAMS: Final = 1 << 11
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def grams(text: str) -> frozenset[str]:
    """The character 3-grams of a text; a shorter text is one gram."""
    return frozenset(text[start : start + _GRAM] for start in range(max(1, len(text) - _GRAM + 1)))


def similarity(grams_1: frozenset[str], grams_2: frozenset[str]) -> float:
    """Jaccard similarity of two sets, 0 to 1."""
    shared = len(grams_1 & grams_2)
    return shared / (len(grams_1) + len(grams_2) - shared)


def banding(min_similarity: float) -> tuple[int, int]:
    """Give bands and rows a band: the most rows with which a pair of the least similarity shares a band in 99 of 100 cases."""
    for rows in range(_MOST_ROWS, 1, -1):
        bands = _MOST_HASHES // rows
        if 1 - (1 - min_similarity**rows) ** bands >= _MIN_RECALL:
            return bands, rows
    return _MOST_HASHES, 1


def band_keys_CB(texts: Sequence[str], min_similarity: float) -> NDArray[np.uint64]:
    """Give the key of each band of each text; texts that share a key may be copies.

    Cost: O(characters * 128) time, 8 bytes a band, no more than a chunk of signatures at a time.
    """
    bands, rows = banding(min_similarity)
    keys_CB = np.empty((len(texts), bands), dtype=np.uint64)
    factors_H, offsets_H = _hash_family()
    place = 0
    for chunk in _chunks(texts):
        grams_G, starts_C = _gram_numbers(chunk)
        values_HG = _mixed(grams_G)[None, :] * factors_H[: bands * rows, None] + offsets_H[: bands * rows, None]
        minima_HC = np.minimum.reduceat(values_HG, starts_C, axis=1)
        keys_CB[place : place + len(chunk)] = _folded(minima_HC.reshape(bands, rows, len(chunk))).T
        place += len(chunk)
    return keys_CB


def near_copies(texts: Sequence[str], groups_C: NDArray[np.int64], ranks_C: NDArray[np.int64], min_similarity: float) -> NDArray[np.int64]:
    """Give each text the row of the text it is a near copy of: its own row, if of none.

    Args:
        groups_C: only texts of one group, such as a work, are compared.
        ranks_C: of several copies the one with the lowest rank stands for all; no two ranks are equal.

    Returns:
        rows that stand for themselves; every copy has at least the least similarity to the text that stands for it.
    """
    keys_CB = band_keys_CB(texts, min_similarity)
    keys_CB ^= _mixed(groups_C.astype(np.uint64))[:, None]
    _, inverse, count = np.unique(keys_CB.ravel(), return_inverse=True, return_counts=True)
    shares_C = (count[inverse] > 1).reshape(keys_CB.shape).any(axis=1)
    stands_C = np.arange(len(texts), dtype=np.int64)
    candidates = np.flatnonzero(shares_C)
    finder = _Finder(min_similarity)
    for row in candidates[np.argsort(ranks_C[candidates], kind="stable")].tolist():
        stands_C[row] = finder.place(row, texts[row], keys_CB[row].tolist())
    return stands_C


def said_alike(texts: Sequence[str], works_of: Sequence[NDArray[np.int64]], most_works: float, min_similarity: float) -> frozenset[str]:
    """Give the texts that, with their near copies, are said under more than so many works.

    Args:
        texts: different texts.
        works_of: rows of the works under which each is said.

    Cost: only texts that share a band with so many others are compared, so that ordinary ones cost their keys alone.
    """
    if not texts:
        return frozenset()
    _, rows = banding(min_similarity)
    keys_CB = band_keys_CB(texts, min_similarity)
    num_works_C = np.array([len(works) for works in works_of], dtype=np.int64)
    _, inverse = np.unique(keys_CB.ravel(), return_inverse=True)
    heavy = np.bincount(inverse, weights=np.repeat(num_works_C, keys_CB.shape[1]))[inverse].reshape(keys_CB.shape)
    candidates = np.flatnonzero(heavy.max(axis=1) > most_works * min_similarity**rows)
    order = candidates[np.lexsort((candidates, -num_works_C[candidates]))]
    finder = _Finder(min_similarity)
    members: dict[int, list[int]] = {}
    for row in order.tolist():
        members.setdefault(finder.place(row, texts[row], keys_CB[row].tolist()), []).append(row)
    return frozenset(
        texts[row]
        for alike in members.values()
        if len(np.unique(np.concatenate([works_of[row] for row in alike]))) > most_works
        for row in alike
    )


class _Finder:
    """Texts seen so far that stand for themselves, by band key."""

    def __init__(self, min_similarity: float) -> None:
        self._min_similarity = min_similarity
        self._by_key: dict[int, list[int]] = {}
        self._grams: dict[int, frozenset[str]] = {}

    def place(self, row: int, text: str, keys_B: Sequence[int]) -> int:
        """Give the row that stands for the text; from now on its own, if none does yet."""
        own = grams(text)
        for other in dict.fromkeys(other for key in keys_B for other in self._by_key.get(key, ())):
            theirs = self._grams[other]
            shorter, longer = sorted((len(own), len(theirs)))
            if shorter >= self._min_similarity * longer and similarity(own, theirs) >= self._min_similarity:
                return other
        self._grams[row] = own
        for key in keys_B:
            self._by_key.setdefault(key, []).append(row)
        return row


@cache
def _hash_family() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    generator = rng(0, "minhash of comments")
    factors_H, offsets_H = generator.integers(0, 2**64, size=(2, _MOST_HASHES), dtype=np.uint64)
    return factors_H | np.uint64(1), offsets_H


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    num_grams = 0
    for text in texts:
        chunk.append(text.ljust(_GRAM, "\0"))
        num_grams += len(chunk[-1])
        if num_grams >= _CHUNK_GRAMS:
            yield chunk
            chunk, num_grams = [], 0
    if chunk:
        yield chunk


def _gram_numbers(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The grams of all texts as numbers, and where those of each text start; every text has three characters or more."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    lengths_C = np.array([len(text) for text in texts], dtype=np.int64)
    starts_C = np.cumsum(lengths_C) - lengths_C
    places_C = np.arange(len(codes)) - np.repeat(starts_C, lengths_C)
    inside = places_C < np.repeat(lengths_C - _GRAM + 1, lengths_C)
    first = np.flatnonzero(inside)
    numbers = codes[first] | codes[first + 1] << np.uint64(_BITS) | codes[first + 2] << np.uint64(2 * _BITS)
    num_grams_C = lengths_C - _GRAM + 1
    return numbers, np.cumsum(num_grams_C) - num_grams_C


def _folded(minima_BRC: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One key from the rows of each band; equal minima in another band give another key."""
    keys_BC = np.broadcast_to(np.arange(len(minima_BRC), dtype=np.uint64)[:, None], minima_BRC[:, 0].shape)
    for row in range(minima_BRC.shape[1]):
        keys_BC = _mixed(keys_BC + minima_BRC[:, row])
    return np.asarray(keys_BC)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the bits of numbers (finaliser of SplitMix64: Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return np.asarray(values ^ (values >> np.uint64(31)))
