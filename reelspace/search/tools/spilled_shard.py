"""Rows of one shard on their way into its first generation: written to files as they come, and read back in the order of their ids.

Only ids and the places of payloads are in memory meanwhile, and when the rows are read back one array of vectors by name.

Legend: N rows as they came, K rows that count, D dimension.
"""

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.build import BuildRows, BuildVectors
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.scoring import Floats, stored_form
from reelspace.search.storage.ids import INTEGER, Id, id_words
from reelspace.search.storage.layout import Collection

READ_ROWS: Final = 32_768
NO_PAYLOAD: Final = b"{}"
Ints = NDArray[np.int64]


class SpilledShard:
    """Rows in files of a directory; close it, or use it as a context."""

    def __init__(self, collection: Collection, directory: Path) -> None:
        """Begin without rows; the directory is made."""
        directory.mkdir(parents=True)
        self._settings = collection.vectors
        self._vectors: dict[str, BinaryIO] = {
            name: (directory / f"vectors-{number}").open("w+b") for number, name in enumerate(sorted(collection.vectors))
        }
        self._payloads = (directory / "payloads").open("w+b")
        self._words: list[NDArray[np.uint64]] = []
        self._lengths: list[Ints] = []

    def append(self, ids: Sequence[Id], vectors: Mapping[str, Floats], payloads: Sequence[bytes]) -> None:
        """Take checked rows; of an id that comes again the last row counts."""
        self._words.append(id_words(ids))
        self._lengths.append(np.fromiter(map(len, payloads), dtype=np.int64, count=len(payloads)))
        self._payloads.write(b"".join(payloads))
        for name, file in self._vectors.items():
            file.write(stored_form(vectors[name], self._settings[name].metric).data)

    def rows(self) -> BuildRows:
        """Give the rows that count, in the order of their ids; once."""
        words_N3 = np.concatenate([np.empty((0, 3), dtype=np.uint64), *self._words])
        self._words.clear()
        order_K = _last_of_each(words_N3)
        sorted_K3 = words_N3[order_K]
        is_integer_K = sorted_K3[:, 0] == INTEGER
        uuids_U16 = np.ascontiguousarray(sorted_K3[~is_integer_K, 1:]).astype(">u8").view(np.uint8).reshape(-1, 16)
        ids = SealedIds(np.ascontiguousarray(sorted_K3[is_integer_K, 2]), uuids_U16)
        vectors = {name: BuildVectors(self._settings[name], self._gathered(name, order_K, len(words_N3))) for name in self._vectors}
        return BuildRows(ids, vectors, self._ordered_payloads(order_K))

    def close(self) -> None:
        """Let go of the files."""
        for file in (*self._vectors.values(), self._payloads):
            file.close()

    def __enter__(self) -> "SpilledShard":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _gathered(self, name: str, order_K: Ints, num_rows: int) -> Floats:
        """Read vectors as they lie and put each where its row comes in the order."""
        file, dimension = self._vectors[name], self._settings[name].dimension
        place_N = np.full(num_rows, -1, dtype=np.int64)
        place_N[order_K] = np.arange(len(order_K))
        found_KD = np.empty((len(order_K), dimension), dtype=np.float32)
        file.flush()
        file.seek(0)
        for start in range(0, num_rows, READ_ROWS):
            places = place_N[start : start + READ_ROWS]
            rows = np.frombuffer(file.read(4 * dimension * len(places)), dtype=np.float32).reshape(len(places), dimension)
            found_KD[places[places >= 0]] = rows[places >= 0]
        return found_KD

    def _ordered_payloads(self, order_K: Ints) -> Payloads:
        payloads = Payloads()
        if not len(order_K):
            return payloads
        ends_N = np.cumsum(np.concatenate(self._lengths))
        starts_N = ends_N - np.concatenate(self._lengths)
        self._payloads.flush()
        with mmap.mmap(self._payloads.fileno(), 0, access=mmap.ACCESS_READ) as data:
            spans = zip(starts_N[order_K].tolist(), ends_N[order_K].tolist(), strict=True)
            payloads.append_checked([data[start:end] if end - start > len(NO_PAYLOAD) else NO_PAYLOAD for start, end in spans])
        return payloads


def _last_of_each(words_N3: NDArray[np.uint64]) -> Ints:
    """Give the places of rows in the order of their ids, of equal ids the last one."""
    order_N = np.lexsort((words_N3[:, 2], words_N3[:, 1], words_N3[:, 0]))
    sorted_N3 = words_N3[order_N]
    is_last_N = np.ones(len(order_N), dtype=np.bool_)
    is_last_N[:-1] = (sorted_N3[1:] != sorted_N3[:-1]).any(axis=1)
    last_K: Ints = order_N[is_last_N]
    return last_K
