import errno
import os
from pathlib import Path

import pytest

from reelspace.core.errors import PreconditionFailed, SettingError
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.storage.probe import probe_store


def test_a_fit_store_passes_and_nothing_is_left_in_it(store: Store) -> None:
    probe_store(store)
    assert list(store.list("")) == []


class IgnoresAbsence(LocalStore):
    def put_if_absent(self, key: str, data: bytes) -> str:
        return self.put(key, data)


class IgnoresTags(LocalStore):
    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        if not self.exists(key):
            raise PreconditionFailed(key)
        return self.put(key, data)


class ReplacesNothing(LocalStore):
    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        return super().put_if_match(key, data, etag) if self.exists(key) else self.put(key, data)


class ShowsOldBytes(LocalStore):
    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        old = self.get(key) if self.exists(key) else b""
        super().put_if_match(key, data, etag)
        return self.put(key, old)


class ListsLate(LocalStore):
    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        return iter(())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (IgnoresAbsence, "accepts a write of what exists"),
        (IgnoresTags, "accepts a replacement of something else"),
        (ReplacesNothing, "accepts a replacement of what is not there"),
        (ShowsOldBytes, "does not give back what it took last"),
        (ListsLate, "does not list what it took"),
    ],
)
def test_a_store_that_would_lose_writes_is_refused_by_name(tmp_path: Path, kind: type[LocalStore], message: str) -> None:
    with pytest.raises(SettingError, match=f"store {tmp_path} {message}"):
        probe_store(kind(tmp_path))
    assert list(LocalStore(tmp_path).list("")) == []


def test_a_filesystem_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_paths: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(SettingError, match="cannot create a file once: Operation not permitted"):
        probe_store(LocalStore(tmp_path))
