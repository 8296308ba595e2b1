"""What a directory store promises beyond the protocol: nothing half-written is seen, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reelspace.core.errors import SettingError
from reelspace.core.local_store import LocalStore

WRITER = """
import sys
from pathlib import Path
from reelspace.core.local_store import LocalStore
store = LocalStore(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(1_000_000):
    data = bytes([number % 251]) * 200_000
    store.put("same", data)
    store.put_if_absent(f"new/{sys.argv[2]}-{number}", data)
"""


def test_a_temporary_file_is_never_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b", b"1")
    (tmp_path / ".reelspace/temporary/half").write_bytes(b"half")
    assert list(store.list("")) == ["a/b"]
    assert list(LocalStore(tmp_path).list("")) == ["a/b"]


def test_a_killed_writer_leaves_whole_objects_only(tmp_path: Path) -> None:
    for turn in range(10):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.01 + 0.007 * turn)
            writer.send_signal(signal.SIGKILL)
        store = LocalStore(tmp_path)
        for key in store.list(""):
            data = store.get(key)
            assert data == data[:1] * 200_000, f"{key} is half-written after kill {turn}"
    assert len(list(store.list("new/"))) > 0


def test_litter_of_a_killed_writer_is_swept_after_a_day(tmp_path: Path) -> None:
    LocalStore(tmp_path)
    old, young = (tmp_path / ".reelspace/temporary" / name for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    LocalStore(tmp_path)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_root_that_is_a_file_is_a_setting_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SettingError, match="expected a directory"):
            LocalStore(root)


def test_a_relative_root_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalStore(Path("store"))
    store.put("key", b"1")
    monkeypatch.chdir("/")
    assert store.get("key") == b"1"
    assert store.root == tmp_path / "store"
