"""Starts and kills the processes of doomed.py."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Fork:
    """A process, and the file that it tells things to."""

    pid: int
    told: Path

    @property
    def lines(self) -> list[str]:
        """Whole lines that it told so far."""
        return self.told.read_text().rpartition("\n")[0].splitlines() if self.told.exists() else []

    @property
    def url(self) -> str:
        """Address of a gateway, once it answers."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := [line for line in self.lines if line.startswith('{"event":"ready"')]):
            assert self.is_alive, "\n".join(self.lines)
            assert time.monotonic() < deadline_s, "not ready"
            time.sleep(0.01)
        return str(json.loads(found[0])["url"])

    @property
    def is_alive(self) -> bool:
        """Tell whether it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """End it at once, and return when it is gone."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self, patience_s: float = PATIENCE_S) -> bool:
        """Tell whether it ended in time."""
        deadline_s = time.monotonic() + patience_s
        while self.is_alive and time.monotonic() < deadline_s:
            time.sleep(0.005)
        return not self.is_alive


class Forks:
    """Forks from one process that has loaded everything."""

    def __init__(self, source: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._source, self._folder = source, folder

    def start(self, role: str, root: Path, doom: str = "", **what: object) -> Fork:
        """Start a process over a store; see doomed.py."""
        told = self._folder / f"{role}-{secrets.token_hex(4)}"
        assert self._source.stdin is not None
        assert self._source.stdout is not None
        self._source.stdin.write(json.dumps({"role": role, "root": str(root), "doom": doom, "told": str(told), **what}).encode() + b"\n")
        self._source.stdin.flush()
        return Fork(int(self._source.stdout.readline()), told)


@contextmanager
def forks(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Forks]:
    """Load everything once; what was forked ends with the context.

    Args:
        environment: all of it; None: this process's own.
    """
    environment = {**(environment or os.environ), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (folder / "errors").open("wb") as errors:
        command = [sys.executable, str(Path(__file__).with_name("doomed.py"))]
        source = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        assert source.stdin is not None
        try:
            yield Forks(source, folder)
        finally:
            source.stdin.close()  # it ends, and the kernel ends what it forked
            source.wait()
