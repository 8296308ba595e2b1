"""A limit of memory for processes that have begun, as a container has one: what takes more is killed by the kernel."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GROUPS = Path("/sys/fs/cgroup/memory")
PATIENCE_S = 10.0


class MemoryLimit:
    """A group of processes; `num_failed` times they wanted more than there was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, pid: int) -> None:
        """Count what a process takes from now on."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    @property
    def most_bytes(self) -> int:
        """Give the most that they had."""
        return int((self._folder / "memory.max_usage_in_bytes").read_text())

    @property
    def num_failed(self) -> int:
        """Give how often they were refused more."""
        return int((self._folder / "memory.failcnt").read_text())


@contextmanager
def memory_limit(num_bytes: int) -> Iterator[MemoryLimit]:
    """Make a group that is removed with the context, when its processes are gone."""
    if os.geteuid() != 0 or not (GROUPS / "memory.limit_in_bytes").exists():
        pytest.skip("no memory controller of cgroup v1 that may be used: needs root")
    folder = GROUPS / f"reelspace-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(num_bytes))
        yield MemoryLimit(folder)
    finally:
        deadline_s = time.monotonic() + PATIENCE_S
        while (folder / "cgroup.procs").read_text() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        folder.rmdir()
