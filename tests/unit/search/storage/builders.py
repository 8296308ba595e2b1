"""Small writes, and stores that fail on purpose."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from reelspace.core.errors import StoreUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.storage.ids import Id
from reelspace.search.storage.log import Log
from reelspace.search.storage.points import Point, apply_writes
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.rows import Change, Op, Rows, VectorField, rows_of

COLLECTION = "videos@00112233"
FIELDS = {"": VectorField(4, "cosine"), "sound": VectorField(3, "dot")}

Plain = tuple[dict[str, list[float]], Mapping[str, object]]
"""A row as plain Python values, which compare by ==."""


def make_log(store: Store, shard: int = 0) -> Log:
    return Log(store, COLLECTION, shard, FIELDS)


def vector(value: float, dimension: int = 4) -> list[float]:
    return [float(np.float32(value + place)) for place in range(dimension)]


def upsert(id: Id, value: float, payload: Mapping[str, object] | None = None) -> Change:
    return Change(Op.UPSERT, id, {"": vector(value), "sound": vector(value, 3)}, payload)


def delete(id: Id) -> Change:
    return Change(Op.DELETE, id)


def rows(*changes: Change) -> Rows:
    return rows_of(changes, FIELDS)


def plain(points: Mapping[Id, Point]) -> dict[Id, Plain]:
    return {id: ({name: one.tolist() for name, one in point.vectors.items()}, point.payload) for id, point in points.items()}


def points_of(log: Log, after: int = 0, base: Mapping[Id, Point] | None = None) -> dict[Id, Plain]:
    """Read what the log says, on top of what a generation held."""
    points = dict(base or {})
    for entry in read_from(log, after):
        apply_writes(points, entry.writes)
    return plain(points)


def keys_of(log: Log, after: int = 0) -> list[str]:
    return [write.request_key for entry in read_from(log, after) for write in entry.writes]


def expected(values: Mapping[Id, float]) -> dict[Id, Plain]:
    """The rows that `upsert` with these values makes: the independent answer."""
    return {id: ({"": vector(value), "sound": vector(value, 3)}, {}) for id, value in values.items()}


def damaged(data: bytes) -> Iterator[bytes]:
    """Every cut of some bytes, every byte changed in three ways, and some bytes more."""
    yield from (data[:length] for length in range(len(data)))
    for place, byte in enumerate(data):
        yield from (data[:place] + bytes([byte ^ mask]) + data[place + 1 :] for mask in (1, 128, 255))
    yield from (data + b"\0", data + data)


class WatchedStore(LocalStore):
    """Calls `before` and `after` with the method's name and key around each get and conditional put."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.before: Callable[[str, str], None] = lambda _method, _key: None
        self.after: Callable[[str, str], None] = lambda _method, _key: None

    def get(self, key: str) -> bytes:
        with self._watched("get", key):
            return super().get(key)

    def put_if_absent(self, key: str, data: bytes) -> str:
        with self._watched("put_if_absent", key):
            return super().put_if_absent(key, data)

    @contextmanager
    def _watched(self, method: str, key: str) -> Iterator[None]:
        self.before(method, key)
        try:
            yield
        finally:  # an object that is not there is an answer, too
            self.after(method, key)


class OneTime:
    """Runs an action the first time a watched store does what is waited for."""

    def __init__(self, method: str, key_end: str, action: Callable[[], object]) -> None:
        self._wanted, self._action, self.done = (method, key_end), action, False

    def __call__(self, method: str, key: str) -> None:
        if not self.done and method == self._wanted[0] and key.endswith(self._wanted[1]):
            self.done = True
            self._action()


def lose() -> None:
    raise StoreUnavailable("the answer was lost")
