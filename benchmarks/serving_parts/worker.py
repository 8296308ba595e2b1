"""A process of the benchmark's own: it reads lines of JSON, does what each says, and answers with a line."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from benchmarks.record import ROOT
from benchmarks.search_peers.processes import tail

Figures = dict[str, Any]


class Worker:
    """The benchmark's end of it.

    Args:
        module: beside this one; its `main` calls `answer_lines`.
        log: file for what it complains of.
    """

    def __init__(self, module: str, log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"benchmarks.serving_parts.{module}"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def ask(self, do: str, **values: Any) -> Figures:
        """Have something done and wait for it; RuntimeError, with the end of the log, if the process ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps({"do": do} | values) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended: {tail(self._log)}")
        found: Figures = orjson.loads(line)
        return found

    def close(self) -> None:
        """End it: it ends with its input."""
        self._process.communicate()


def answer_lines(methods: Mapping[str, Callable[..., Figures]]) -> None:
    """Answer until the input ends."""
    for line in sys.stdin.buffer:
        asked = orjson.loads(line)
        answer = methods[asked.pop("do")](**asked)
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()
