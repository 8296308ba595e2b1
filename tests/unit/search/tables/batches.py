"""Small rows for every format, and how they compare."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from reelspace.search.storage.ids import Id
from reelspace.search.tables.batch import Batch

DIMENSION = 5


def vectors(num_rows: int, dimension: int = DIMENSION, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((num_rows, dimension)).astype(np.float32)


def uuid(number: int) -> UUID:
    return UUID(int=number)


def batch(ids: list[Id], rows: Any, payloads: list[dict[str, Any]] | None = None, name: str = "") -> Batch:
    return Batch(ids, {name: rows}, [orjson.dumps(payload) for payload in payloads or [{}] * len(ids)])


def in_parts(ids: list[Id], rows: Any, size: int = 3) -> Iterator[Batch]:
    for start in range(0, len(ids), size):
        yield batch(ids[start : start + size], rows[start : start + size])


def plain(batches: Iterable[Batch]) -> dict[Id, tuple[dict[str, list[float]], Any]]:
    """Every row as plain Python values, by id; float32 numbers are exact as floats."""
    found: dict[Id, tuple[dict[str, list[float]], Any]] = {}
    for one in batches:
        for place, (id, payload) in enumerate(zip(one.ids, one.payloads, strict=True)):
            assert id not in found
            found[id] = ({name: rows[place].tolist() for name, rows in one.vectors.items()}, orjson.loads(payload))
    return found


def expected(ids: list[Id], rows: Any, payloads: list[dict[str, Any]] | None = None) -> dict[Id, tuple[dict[str, list[float]], Any]]:
    return {id: ({"": rows[place].tolist()}, payloads[place] if payloads else {}) for place, id in enumerate(ids)}
