"""A store whose process dies at one of its calls: that call is made or not, and no later one is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelspace.core.local_store import LocalStore


class Died(BaseException):
    """The process is no more: nothing may handle this."""


class MortalStore(LocalStore):
    """Dies at the n-th call that changes something, before or after it is made; 0 lives on. `num_changes` counts the calls."""

    def __init__(self, root: Path, dies_at: int = 0, *, after: bool = False) -> None:
        super().__init__(root)
        self._dies_at, self._after = dies_at, after
        self._lock = threading.Lock()
        self.num_changes = 0
        self.is_dead = False

    def get(self, key: str) -> bytes:
        self._alive()
        return super().get(key)

    def put(self, key: str, data: bytes) -> str:
        with self._mortal():
            return super().put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> str:
        with self._mortal():
            return super().put_if_absent(key, data)

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        with self._mortal():
            return super().put_if_match(key, data, etag)

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        with self._mortal():
            super().put_file(key, path, sha256)

    def delete(self, key: str) -> None:
        with self._mortal():
            super().delete(key)

    @contextmanager
    def _mortal(self) -> Iterator[None]:
        self._alive()
        with self._lock:
            self.num_changes += 1
            is_last = self.num_changes == self._dies_at
            if is_last and not self._after:
                self.is_dead = True
        self._alive()
        try:
            yield
        finally:  # a refusal is an answer, too
            self.is_dead |= is_last
            self._alive()

    def _alive(self) -> None:
        if self.is_dead:
            raise Died
