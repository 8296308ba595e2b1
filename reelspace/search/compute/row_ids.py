"""Ids of a shard's rows: sealed ones sorted, so that they need no table, and fresh ones in the order they came.

Legend: N rows, I integer ids, U UUIDs.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from reelspace.search.storage.ids import INTEGER, NO_ID, NUM_WORDS, UUID_KIND, Id, id_order, id_words, ids_of_words

Ints = NDArray[np.int64]
UNKNOWN = -1
FEW = 8
"""So few ids are looked up one by one."""


@dataclass(frozen=True, slots=True)
class SealedIds:
    """Ids in their order: integers uint64 ascending, then UUIDs as 16 bytes each, ascending; row numbers are places."""

    integers_I: NDArray[np.uint64]
    uuids_U16: NDArray[np.uint8]

    @classmethod
    def of(cls, ids: Sequence[Id]) -> "SealedIds":
        """Take ids that are in their order."""
        integers = [id for id in ids if isinstance(id, int)]
        uuids = b"".join(id.bytes for id in ids if isinstance(id, UUID))
        return cls(np.array(integers, dtype=np.uint64), np.frombuffer(uuids, dtype=np.uint8).reshape(-1, 16))

    def __len__(self) -> int:
        return len(self.integers_I) + len(self.uuids_U16)

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""
        return self.integers_I.nbytes + self.uuids_U16.nbytes

    @property
    def are_ordered(self) -> bool:
        """Tell whether every id is greater than the one before."""
        keys_U = self._keys()
        return bool(np.all(self.integers_I[1:] > self.integers_I[:-1]) and np.all(np.greater(keys_U[1:], keys_U[:-1])))

    def words(self) -> NDArray[np.uint64]:
        """Give them as N x 3 words."""
        words_N3 = np.zeros((len(self), NUM_WORDS), dtype=np.uint64)
        split = len(self.integers_I)
        words_N3[:split, 0], words_N3[split:, 0] = INTEGER, UUID_KIND
        words_N3[:split, 2] = self.integers_I
        words_N3[split:, 1:] = np.ascontiguousarray(self.uuids_U16).view(">u8")
        return words_N3

    def row_of(self, id: Id) -> int:
        """Give the row of an id, -1 if it is not there."""
        row = self.first_row_from(id)
        return row if row < len(self) and self._id(row) == id else UNKNOWN

    def rows_of(self, ids: Sequence[Id]) -> Ints:
        """Give the rows of ids, -1 for unknown ones."""
        if len(ids) <= FEW or not all(type(id) is int for id in ids):
            return np.array([self.row_of(id) for id in ids], dtype=np.int64)
        if not len(self.integers_I):
            return np.full(len(ids), UNKNOWN, dtype=np.int64)
        wanted = np.array(ids, dtype=np.uint64)
        rows = np.minimum(np.searchsorted(self.integers_I, wanted), len(self.integers_I) - 1)
        return np.where(self.integers_I[rows] == wanted, rows, UNKNOWN).astype(np.int64)

    def first_row_from(self, id: Id) -> int:
        """Give the first row whose id is at least this one."""
        if isinstance(id, int):
            return int(np.searchsorted(self.integers_I, np.uint64(id)))
        return len(self.integers_I) + int(np.searchsorted(self._keys(), np.frombuffer(id.bytes, dtype="S16")[0]))

    def _keys(self) -> NDArray[np.bytes_]:
        # numpy compares byte strings as C does and without the zeros at their end, which changes nothing among equal lengths.
        return np.ascontiguousarray(self.uuids_U16).reshape(-1).view("S16")

    def _id(self, row: int) -> Id:
        split = len(self.integers_I)
        return int(self.integers_I[row]) if row < split else UUID(bytes=self.uuids_U16[row - split].tobytes())


class RowIds:
    """Ids of all rows of a shard; an id that is written again has a newer row, which is the one that counts."""

    def __init__(self, sealed: SealedIds) -> None:
        self._sealed = sealed
        self._words_N3 = sealed.words()
        self._num_rows = len(sealed)
        self._fresh: dict[Id, int] = {}
        self._fresh_order: list[Id] = []

    @property
    def num_rows(self) -> int:
        """Rows so far, also those whose id was written again."""
        return self._num_rows

    @property
    def num_sealed(self) -> int:
        """Rows that the generation brought."""
        return len(self._sealed)

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""
        return self._sealed.size_bytes + self._words_N3.nbytes + 200 * len(self._fresh)

    def sealed_arrays(self) -> list[NDArray[Any]]:
        """Give the ids that the generation brought, in every form in which they are kept."""
        return [self._sealed.integers_I, self._sealed.uuids_U16, self._words_N3[: len(self._sealed)]]

    def append(self, ids: Sequence[Id]) -> list[int]:
        """Add rows at the end; gives the rows that thereby no longer count."""
        first, end = self._num_rows, self._num_rows + len(ids)
        if end > len(self._words_N3):
            room_N3 = np.empty((max(end, self._num_rows + self._num_rows // 2), NUM_WORDS), dtype=np.uint64)
            room_N3[: self._num_rows] = self._words_N3[: self._num_rows]
            self._words_N3 = room_N3
        self._words_N3[first:end] = id_words(ids)
        self._num_rows = end
        replaced, unseen, fresh = [], [], self._fresh
        for row, id in enumerate(ids, first):
            old = fresh.get(id)
            if old is None:
                unseen.append(id)
            else:
                replaced.append(old)
            fresh[id] = row
        if len(self._sealed):
            rows = self._sealed.rows_of(unseen)
            replaced += rows[rows >= 0].tolist()
        return replaced

    def row_of(self, id: Id) -> int:
        """Give the newest row of an id, -1 if there is none; it may be deleted."""
        row = self._fresh.get(id)
        return self._sealed.row_of(id) if row is None else row

    def rows_of(self, ids: Sequence[Id]) -> Ints:
        """Give the newest row of each id, -1 where there is none; rows may be deleted."""
        if not self._fresh:
            return self._sealed.rows_of(ids)
        return np.array([self.row_of(id) for id in ids], dtype=np.int64)

    def listed(self, rows: list[int]) -> list[Id]:
        """Give the ids of some rows."""
        sealed = self._sealed
        if len(sealed.integers_I) == self._num_rows:
            numbers: list[Id] = sealed.integers_I[rows].tolist()
            return numbers
        return ids_of_words(self._words_N3[rows])

    def words(self, rows: Ints) -> NDArray[np.uint64]:
        """Give the ids of rows of any shape, three words each; NO_ID for row -1."""
        if not self._num_rows:
            words = np.zeros((*rows.shape, NUM_WORDS), dtype=np.uint64)
            words[..., 0] = NO_ID
            return words
        words = self._words_N3[rows]
        missing = rows < 0
        if missing.any():
            words[missing] = NO_ID, 0, 0
        return words

    def first_sealed_from(self, id: Id | None) -> int:
        """Give the first sealed row whose id is at least this one."""
        return 0 if id is None else self._sealed.first_row_from(id)

    def fresh_from(self, id: Id | None) -> Iterator[tuple[Id, int]]:
        """Give fresh ids of at least this one with their newest rows, in the order of ids; rows may be deleted."""
        if len(self._fresh_order) != len(self._fresh):
            self._fresh_order = sorted(self._fresh, key=id_order)
        first = 0 if id is None else bisect_left(self._fresh_order, id_order(id), key=id_order)
        return ((one, self._fresh[one]) for one in islice(self._fresh_order, first, None))
