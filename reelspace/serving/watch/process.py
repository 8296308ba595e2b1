"""A watcher as a process of its own, for as long as a block runs: what it watches must not be able to hold it up."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from reelspace.core.errors import ServerUnavailable
from reelspace.core.processes import child, stop


@contextmanager
def watching(triton_url: str, models: Sequence[str], log_path: Path, *words: str) -> Iterator[int | None]:
    """Watch models of a Triton; gives the port of the watcher's page, None where `words` ask for none.

    Args:
        log_path: where the watcher's lines go.
        words: further words of its command line.

    Raises:
        ServerUnavailable: it did not start; names its log.
    """
    command = [sys.executable, "-m", "reelspace.serving.watch", "--triton", triton_url, "--models", ",".join(models), *words]
    with log_path.open("wb") as log:
        process = child(command, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None, "it is a pipe"
    with process.stdout as told:
        try:
            line = told.readline()
            if not line:
                raise ServerUnavailable(f"the watcher of {', '.join(models)} did not start; its log is {log_path}")
            yield orjson.loads(line)["port"]
        finally:
            stop(process)
