"""Who trains in a run directory, and how each process ended: torchrun itself answers 1 to every failure.

process-<name>.json {pid, started}     written by a process when it starts
exit-<name>.json {exit_code, error, message, at_s}     written by a process that ends in an error

A process is named by its rank on this machine.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from reelspace.core import errors
from reelspace.core.errors import InternalError, ReelspaceError, TemporaryError, UserError

_BY_CODE: dict[int, type[ReelspaceError]] = {2: UserError, 75: TemporaryError}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process or a whole training ended; `at_s` orders the endings on one machine."""

    exit_code: int
    error: str = ""
    message: str = ""
    at_s: float = 0.0

    @classmethod
    def of(cls, error: ReelspaceError) -> "Ending":
        """Describe an error, now."""
        return cls(error.exit_code, type(error).__name__, str(error), time.monotonic())

    @classmethod
    def read(cls, path: Path) -> "Ending":
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_bytes()))

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(asdict(self), ensure_ascii=False))
        partial.replace(path)

    def raise_error(self) -> None:
        """Raise the error it tells of, if it does."""
        if self.exit_code:
            raise self._error_class()(self.message)

    def _error_class(self) -> type[ReelspaceError]:
        kind = getattr(errors, self.error, None)
        if isinstance(kind, type) and issubclass(kind, ReelspaceError) and kind.exit_code == self.exit_code:
            return kind
        return _BY_CODE.get(self.exit_code, InternalError)


@dataclass(frozen=True, slots=True)
class Roster:
    """The records of the processes on one machine."""

    directory: Path

    def enter(self, name: str, pid: int) -> None:
        """Note a running process."""
        facts = {"pid": pid, "started": _started(pid)}
        partial = self.directory / f"process-{name}.json.partial"
        partial.write_text(json.dumps(facts))
        partial.replace(self.directory / f"process-{name}.json")

    def leave(self, name: str, error: ReelspaceError) -> None:
        """Note the error a process ends in."""
        Ending.of(error).write(self.directory / f"exit-{name}.json")

    def send(self, number: int) -> int:
        """Send a signal to every noted process that still runs; gives how many there were."""
        running = list(self._running())
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(running)

    def end_all(self) -> None:
        """Kill every noted process, also a stopped one, and wait until it is gone."""
        while self.send(signal.SIGKILL):
            time.sleep(0.02)

    def clear(self) -> None:
        """Forget an earlier launch."""
        for pattern in ("process-*", "exit-*", "heartbeat-*"):
            for path in self.directory.glob(pattern):
                path.unlink()

    def verdict(self, returncode: int, num_processes: int) -> Ending:
        """Say how the training ended, given what its starter answered.

        The first process to fail names the cause: the others then fail because they lost it. A process that left no word was
        killed from outside; what another calls a bug of ours is then most likely the lost connection.
        """
        told = sorted((Ending.read(path) for path in self.directory.glob("exit-*.json")), key=lambda ending: ending.at_s)
        if returncode == 0 and not told:
            return Ending(0)
        if told and (told[0].exit_code != InternalError.exit_code or len(told) == num_processes):
            return told[0]
        return Ending.of(TemporaryError("a training process was ended from outside; run again to go on from the last checkpoint"))

    def _running(self) -> Iterator[int]:
        for path in self.directory.glob("process-*.json"):
            facts = json.loads(path.read_bytes())
            if facts["started"] is not None and _started(facts["pid"]) == facts["started"]:
                yield facts["pid"]


def cause(ending: Ending, run: Path) -> Ending:
    """Give the error of another machine's input or settings that explains why the training failed here, if there is one.

    Args:
        run: directory of all machines' records, `machine-<rank>` each.
    """
    if ending.exit_code != TemporaryError.exit_code:
        return ending
    told = [Ending.read(path) for path in sorted(run.glob("machine-*/exit-*.json"))]
    return next((other for other in told if other.exit_code == UserError.exit_code), ending)


def _started(pid: int) -> int | None:
    """Give the start time of a process that runs, which tells it from a later one of the same number."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(fields[18])
