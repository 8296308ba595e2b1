"""What every store promises, on a directory and on an S3 server."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, InternalError, PreconditionFailed, SettingError
from reelspace.core.s3_store import S3Store
from reelspace.core.store import Store, open_store

BAD_KEYS = [
    "",
    "/a",
    "a//b",
    "../a",
    "a/../b",
    "a/..",
    "./a",
    "a/",
    "a\0b",
    "a\nb",
    "a\\b",
    "x" * 256,
    "a/" * 600 + "a",
    ".reelspace/x",
    "\ud800",
]


MOTO_RACES = "moto checks the condition and writes without a lock between: two writers may both win there, so it cannot prove this"


def run_together(work: Callable[[int], None], num: int) -> None:
    start = threading.Barrier(num)

    def one(number: int) -> None:
        start.wait()
        work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_is_put_is_read_back_byte_for_byte(store: Store) -> None:
    for data in (b"", b"a", bytes(range(256)) * 100, os.urandom(300_000)):
        store.put("some/key.bin", data)
        assert store.get("some/key.bin") == data
        assert b"".join(store.stream("some/key.bin")) == data


def test_a_name_in_any_language_is_a_key(store: Store) -> None:
    store.put("标签/été & co?x=1#%20+.json", b"1")
    assert store.get("标签/été & co?x=1#%20+.json") == b"1"
    assert list(store.list("标签/")) == ["标签/été & co?x=1#%20+.json"]


def test_put_replaces(store: Store) -> None:
    first = store.put("key", b"1")
    second = store.put("key", b"2")
    assert (store.get("key"), first != second) == (b"2", True)


def test_an_absent_object_is_named(store: Store, tmp_path: Path) -> None:
    reads: list[Callable[[], object]] = [
        lambda: store.get("no/such"),
        lambda: store.get_with_etag("no/such"),
        lambda: store.get_range("no/such", 0, 1),
        lambda: store.get_file("no/such", tmp_path / "file"),
        lambda: list(store.stream("no/such")),
    ]
    for read in reads:
        with pytest.raises(ArtifactMissing, match="no/such"):
            read()
    assert not store.exists("no/such")
    assert not (tmp_path / "file").exists()


def test_a_range_gives_exactly_the_bytes_asked_for(store: Store) -> None:
    data = os.urandom(1000)
    store.put("key", data)
    for offset, length in ((0, 1000), (0, 1), (999, 1), (17, 400), (5, 0)):
        assert store.get_range("key", offset, length) == data[offset : offset + length]


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (100, 5)])
def test_a_range_beyond_the_end_is_refused(store: Store, offset: int, length: int) -> None:
    store.put("key", b"0123456789")
    with pytest.raises(CorruptArtifact, match=f"ends before byte {offset + length}"):
        store.get_range("key", offset, length)


def test_put_if_absent_writes_once(store: Store) -> None:
    etag = store.put_if_absent("key", b"first")
    with pytest.raises(PreconditionFailed, match="key"):
        store.put_if_absent("key", b"second")
    assert store.get_with_etag("key") == (b"first", etag)


def test_put_if_absent_has_one_winner_among_many(store: Store) -> None:
    if isinstance(store, S3Store):
        pytest.skip(MOTO_RACES)
    for turn in range(5):
        winners: list[int] = []

        def write(number: int, key: str = f"turn/{turn}", winners: list[int] = winners) -> None:
            try:
                store.put_if_absent(key, str(number).encode())
            except PreconditionFailed:
                return
            winners.append(number)

        run_together(write, 8)
        assert len(winners) == 1
        assert store.get(f"turn/{turn}") == str(winners[0]).encode()


def test_put_if_match_replaces_only_what_was_read(store: Store) -> None:
    etag = store.put("key", b"1")
    newer = store.put_if_match("key", b"2", etag)
    with pytest.raises(PreconditionFailed, match="key"):
        store.put_if_match("key", b"3", etag)
    assert store.get_with_etag("key") == (b"2", newer)


def test_put_if_match_refuses_an_absent_object(store: Store) -> None:
    with pytest.raises(PreconditionFailed, match="absent/key"):
        store.put_if_match("absent/key", b"1", hashlib.md5(b"").hexdigest())
    assert not store.exists("absent/key")


def test_put_if_match_loses_no_increment(store: Store) -> None:
    if isinstance(store, S3Store):
        pytest.skip(MOTO_RACES)
    store.put("counter", b"0")

    def add(_number: int) -> None:
        for _ in range(5):
            while True:
                data, etag = store.get_with_etag("counter")
                try:
                    store.put_if_match("counter", str(int(data) + 1).encode(), etag)
                except PreconditionFailed:
                    continue
                break

    run_together(add, 4)
    assert store.get("counter") == b"20"


def test_list_gives_keys_in_byte_order(store: Store) -> None:
    keys = ["a/b", "a-b", "a.b", "ab", "b/1", "b/10", "b/2", "B/1", "é/1"]
    for key in keys:
        store.put(key, b"1")
    assert list(store.list("")) == sorted(keys, key=str.encode)
    assert list(store.list("b/1")) == ["b/1", "b/10"]
    assert list(store.list("a/")) == ["a/b"]
    assert list(store.list("none/")) == []


def test_delete_removes_and_forgives_absence(store: Store) -> None:
    store.put("a/b", b"1")
    store.delete("a/b")
    store.delete("a/b")
    assert not store.exists("a/b")
    assert list(store.list("")) == []


@pytest.mark.parametrize("size_bytes", [0, 1, 11 << 20])
def test_files_go_in_and_out_unchanged(store: Store, tmp_path: Path, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    (tmp_path / "in").write_bytes(data)
    store.put_file("file", tmp_path / "in")
    store.get_file("file", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["in", "out"]


@pytest.mark.parametrize("size_bytes", [0, 11 << 20])
def test_a_file_with_another_hash_than_expected_does_not_get_in(store: Store, tmp_path: Path, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    (tmp_path / "in").write_bytes(data)
    store.put_file("file", tmp_path / "in", hashlib.sha256(data).hexdigest())
    assert store.get("file") == data
    with pytest.raises(CorruptArtifact, match="in is corrupt: its SHA-256 is"):
        store.put_file("other", tmp_path / "in", hashlib.sha256(data + b"!").hexdigest())
    assert list(store.list("")) == ["file"]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_could_leave_the_root_is_refused(store: Store, tmp_path: Path, key: str) -> None:
    (tmp_path / "in").write_bytes(b"1")
    uses: list[Callable[[], object]] = [
        lambda: store.get(key),
        lambda: store.put(key, b"1"),
        lambda: store.put_if_absent(key, b"1"),
        lambda: store.put_if_match(key, b"1", "0"),
        lambda: store.put_file(key, tmp_path / "in"),
        lambda: store.exists(key),
        lambda: store.delete(key),
    ]
    for use in uses:
        with pytest.raises(InternalError, match="refused"):
            use()


@pytest.mark.parametrize("url", ["", "gs://bucket/prefix", "s3://", "http://host/x"])
def test_a_url_of_no_store_is_a_setting_error(url: str) -> None:
    with pytest.raises(SettingError, match="expected"):
        open_store(url)


def test_a_store_opened_twice_is_one_store(store: Store, store_url: str) -> None:
    store.put("key", b"1")
    assert open_store(store_url).get("key") == b"1"
