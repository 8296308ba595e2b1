"""The benchmark's end of a worker: starts it in the right environment, sends messages, reads answers."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.record import ROOT
from benchmarks.search_peers.absence import NotHere
from benchmarks.search_peers.processes import tail
from benchmarks.search_peers.system import Ints, Knob, Rows
from benchmarks.search_peers.wire import read_message, write_message

Answer = tuple[dict[str, Any], dict[str, NDArray[Any]]]


class Child:
    """A worker process.

    Args:
        log: file for what its libraries print.
        reach: words before the command, as of `Server.reach`.
    """

    def __init__(self, python: Path, module: str, place: Mapping[str, Any], log: Path, reach: Sequence[str] = ()) -> None:
        command = [*reach, str(python), "-m", "benchmarks.search_peers.worker", module, orjson.dumps(place).decode()]
        self._name, self._log = module, log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def send(self, do: str, arrays: Mapping[str, NDArray[Any]] | None = None, **values: Any) -> None:
        """Send a message; `receive` gives its answer."""
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, {"do": do, **values}, arrays)
        except BrokenPipeError as error:
            raise NotHere(self._why()) from error

    def receive(self) -> Answer:
        """Wait for the answer to the oldest message without one.

        Raises:
            NotHere: the worker ended; with the end of its log.
        """
        assert self._process.stdout is not None
        try:
            return read_message(self._process.stdout)
        except EOFError as error:
            raise NotHere(self._why()) from error

    def ask(self, do: str, arrays: Mapping[str, NDArray[Any]] | None = None, **values: Any) -> Answer:
        """Send and receive."""
        self.send(do, arrays, **values)
        return self.receive()

    def ladders(self, key: str) -> list[list[Knob]]:
        """Give the settings to try."""
        ladders: list[list[Knob]] = self.ask("ladders", key=key)[0]["ladders"]
        return ladders

    def answers(self, key: str, num: int) -> Ints:
        """Give the ids found for the first queries."""
        return self.ask("answers", key=key, num=num)[1]["ids"].astype(np.int64, copy=False)

    def close(self) -> None:
        """Let it close what it holds, and end it."""
        with suppress(NotHere):
            if self._process.poll() is None:
                self.ask("close")
        self._end()

    def _why(self) -> str:
        self._end()
        return f"its worker {self._name} ended with {self._process.returncode}: {tail(self._log)}"

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def arrays_of(rows: Rows) -> dict[str, NDArray[Any]]:
    """Give the arrays of a message that carries rows."""
    return {"ids": rows.ids_N, "vectors": rows.vectors_ND, **rows.payload}
