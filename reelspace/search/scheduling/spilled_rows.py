"""Rows of a collection on their way from its shards into those of another one: in files, so that one shard at a time is in memory.

Legend: N rows of one shard, K of a part of it, P vectors of one name, D dimension.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.compute.build import BuildRows, BuildVectors
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.scoring import Floats, Ints
from reelspace.search.storage.ids import INTEGER, ids_of_words, shard_of
from reelspace.search.storage.layout import Collection

PART_ROWS: Final = 65_536
Words = NDArray[np.uint64]


class SpilledRows:
    """Rows by the shard they go into. A directory has the files; who made it removes it."""

    def __init__(self, collection: Collection, directory: Path) -> None:
        """Begin without rows.

        Args:
            collection: the one they go into.
            directory: is made.
        """
        directory.mkdir(parents=True)
        self._directory = directory
        self._made = collection
        self._names = sorted(collection.vectors)
        self._parts: list[list[Path]] = [[] for _ in range(collection.num_shards)]

    def spread(self, rows: BuildRows) -> None:
        """Take the rows of one old shard."""
        words_N3 = rows.ids.words()
        for start in range(0, len(words_N3), PART_ROWS):
            words_K3 = words_N3[start : start + PART_ROWS]
            shard_K = np.fromiter((shard_of(id, self._made.num_shards) for id in ids_of_words(words_K3)), np.int64, len(words_K3))
            payloads = rows.payloads.jsons(range(start, start + len(words_K3)))
            vectors = {name: _within(rows.vectors[name], start, start + len(words_K3)) for name in self._names}
            for shard in np.unique(shard_K).tolist():
                self._write(shard, np.flatnonzero(shard_K == shard), words_K3, vectors, payloads)

    def rows(self, shard: int, indexed: tuple[str, ...] = ()) -> BuildRows:
        """Give the rows of a new shard in the order of their ids.

        Args:
            indexed: payload keys whose columns are kept.
        """
        words_N3 = np.concatenate([np.empty((0, 3), dtype=np.uint64), *(part["words"] for part in self._read(shard))])
        order_N = np.lexsort((words_N3[:, 2], words_N3[:, 1], words_N3[:, 0]))
        place_N = np.empty(len(order_N), dtype=np.int64)
        place_N[order_N] = np.arange(len(order_N))
        vectors = {name: self._vectors(shard, name, place_N) for name in self._names}
        payloads = Payloads(indexed)
        payloads.append_checked(self._payloads(shard, place_N))
        return BuildRows(_sealed(words_N3[order_N]), vectors, payloads)

    def _write(self, shard: int, places_K: Ints, words_N3: Words, vectors: dict[str, tuple[Floats, Ints]], payloads: list[bytes]) -> None:
        place_N = np.full(len(words_N3), -1, dtype=np.int64)
        place_N[places_K] = np.arange(len(places_K))
        texts = [payloads[place] for place in places_K.tolist()]
        arrays: dict[str, NDArray[Any]] = {
            "words": words_N3[places_K],
            "lengths": np.fromiter(map(len, texts), np.int64, len(texts)),
            "payloads": np.frombuffer(b"".join(texts), dtype=np.uint8),
        }
        for number, name in enumerate(self._names):
            vectors_PD, rows_P = vectors[name]
            here_P = place_N[rows_P]
            arrays[f"vectors{number}"], arrays[f"rows{number}"] = vectors_PD[here_P >= 0], here_P[here_P >= 0]
        path = self._directory / f"{shard}-{len(self._parts[shard])}.npz"
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        self._parts[shard].append(path)

    def _read(self, shard: int) -> Iterator[Any]:
        for path in self._parts[shard]:
            with np.load(path, allow_pickle=False) as part:
                yield part

    def _vectors(self, shard: int, name: str, place_N: Ints) -> BuildVectors:
        """Put each vector where its row comes in the order."""
        number, settings = self._names.index(name), self._made.vectors[name]
        has_N = np.zeros(len(place_N), dtype=np.bool_)
        for places_K, part in self._placed(shard, place_N):
            has_N[places_K[part[f"rows{number}"]]] = True
        position_N = np.cumsum(has_N) - 1
        vectors_PD = np.empty((int(has_N.sum()), settings.dimension), dtype=np.float32)
        for places_K, part in self._placed(shard, place_N):
            vectors_PD[position_N[places_K[part[f"rows{number}"]]]] = part[f"vectors{number}"]
        return BuildVectors(settings, vectors_PD, None if has_N.all() else np.flatnonzero(has_N))

    def _payloads(self, shard: int, place_N: Ints) -> list[bytes]:
        found = [b""] * len(place_N)
        for places_K, part in self._placed(shard, place_N):
            data, end = part["payloads"].tobytes(), 0
            for place, length in zip(places_K.tolist(), part["lengths"].tolist(), strict=True):
                start, end = end, end + length
                found[place] = data[start:end]
        return found

    def _placed(self, shard: int, place_N: Ints) -> Iterator[tuple[Ints, Any]]:
        """Give each part with the places of its rows in the order."""
        start = 0
        for part in self._read(shard):
            end = start + len(part["lengths"])
            yield place_N[start:end], part
            start = end


def _within(vectors: BuildVectors, start: int, end: int) -> tuple[Floats, Ints]:
    """Give the vectors of rows from a start to an end, and each one's row from there on."""
    if vectors.rows_P is None:
        return vectors.vectors_PD[start:end], np.arange(end - start)
    low, high = np.searchsorted(vectors.rows_P, [start, end])
    return vectors.vectors_PD[low:high], vectors.rows_P[low:high] - start


def _sealed(words_N3: Words) -> SealedIds:
    is_integer_N = words_N3[:, 0] == INTEGER
    uuids_U16 = np.ascontiguousarray(words_N3[~is_integer_N, 1:]).astype(">u8").view(np.uint8).reshape(-1, 16)
    return SealedIds(np.ascontiguousarray(words_N3[is_integer_N, 2]), uuids_U16)
