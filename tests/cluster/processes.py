"""Programs of a test cluster: started with their logs in one folder, ended together, never outliving the tests."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from reelspace.core.processes import child, stop

from .tools import SYSTEM_FOLDERS, binary

Found = TypeVar("Found")
_GRACE_S = 2.0  # the data is thrown away: nothing is worth a slow end
_PAUSE_S = 0.1
_TOLD_CHARACTERS = 2000


class Processes:
    """Running programs of one cluster; a context that ends them, the newest first."""

    def __init__(self, folder: Path) -> None:
        """Logs go to `folder`, which is made."""
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End every program: all are asked at once, so that none waits for another."""
        newest_first = list(reversed(self._running.values()))
        for process in newest_first:
            process.terminate()
        for process in newest_first:
            stop(process, _GRACE_S)
        self._running.clear()

    def start(self, program: str | Path, *flags: str | Path, env: Mapping[str, str] | None = None) -> int:
        """Start one of the built tools, or a program by its path, which runs until the end; gives its process id."""
        path = program if isinstance(program, Path) else binary(program)
        surroundings = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}"} | dict(env or {})
        with self._log(path.name).open("wb") as log:
            process = child([str(path), *map(str, flags)], env=surroundings, stdout=log, stderr=log)
        self._running[path.name] = process
        return process.pid

    def pids(self) -> dict[str, int]:
        """The process ids of what was started, by the names of the programs."""
        return {name: process.pid for name, process in self._running.items()}

    def log_of(self, name: str) -> str:
        """What a program has written so far."""
        return self._log(name).read_text(errors="replace")

    def wait_until(self, look: Callable[[], Found | None], what: str, limit_s: float = 60.0) -> Found:
        """Look again and again until there is something to see (a value that is true), and give it.

        Raises:
            AssertionError: a program of the cluster ended meanwhile; the end of its log is in the message.
            TimeoutError: nothing came within `limit_s` seconds; `what` names it.
        """
        deadline_s = time.monotonic() + limit_s
        while not (found := look()):
            for name, process in self._running.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}: {self.log_of(name)[-_TOLD_CHARACTERS:]}"
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no {what} within {limit_s:g} s; the logs are in {self.folder}")
            time.sleep(_PAUSE_S)
        return found

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"
