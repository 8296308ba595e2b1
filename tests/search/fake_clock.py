"""The wall clock of single processes, moved while they run; their monotonic clocks go on, as they do when a real one is set.

libfaketime does that. Its clock_nanosleep takes moments of a monotonic clock for ones of the wall clock, and refuses them: a library of
four lines before it leaves those calls to the kernel.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_SLEEP = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    return syscall(SYS_clock_nanosleep, clock, flags, until, left) == 0 ? 0 : errno;
}
"""


class FakeClock:
    """A clock of some processes: those that are started with its environment, and their children."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        compiler = shutil.which("cc")
        if not found or compiler is None:
            pytest.skip("no libfaketime, or no C compiler: install faketime and gcc")
        folder.mkdir()
        (folder / "sleep.c").write_text(_SLEEP)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "sleep.so", folder / "sleep.c"], check=True)
        self._file = folder / "offset"
        self._libraries = f"{folder / 'sleep.so'} {found[0]}"
        self.move(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """Give this process's environment with the clock in it."""
        own = {
            "LD_PRELOAD": self._libraries,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",  # the kernel dates files
        }
        return {**os.environ, **own}

    def move(self, offset_s: float) -> None:
        """Let it differ from this machine's by so many seconds from now on."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{offset_s:+.3f}\n")
        os.replace(beside, self._file)
