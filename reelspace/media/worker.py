"""A worker process of the pool: `python -m reelspace.media.worker TASK MEMORY_BYTES PARENT_PID`, its connection on stdin.

TASK is `module:function`, a Task. The worker ends with its parent, by the kernel's hand.
"""

import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reelspace.core.processes import PR_SET_PDEATHSIG
from reelspace.media.messages import Inbox, Tag, send

Task = Callable[[bytes, Callable[[], None]], bytes]
"""From a payload to an answer; calls its second argument when everything is fetched and the time limit begins to count."""

_FIRST_TO_DIE: Final = "1000"


def main() -> None:
    """Confine this process, then serve payloads until the parent hangs up."""
    task, memory_bytes, parent_pid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _confine(memory_bytes, parent_pid)
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(2, 1)  # what a library prints must not reach the connection
    module, _, name = task.partition(":")
    _serve(connection, getattr(importlib.import_module(module), name))


def _serve(connection: socket.socket, task: Task) -> None:
    inbox = Inbox()
    send(connection, Tag.READY)
    while inbox.receive(connection):
        message = inbox.next()
        if message is None:
            continue
        try:
            answer = task(message[1], lambda: send(connection, Tag.BEGUN))
        except MemoryError as error:
            send(connection, Tag.NO_MEMORY, str(error).encode(errors="replace"))
            return
        except Exception as error:  # noqa: BLE001  the outermost frame of an item: whatever a decoder raises costs that item alone
            send(connection, Tag.FAILED, f"{type(error).__name__}: {error}".encode(errors="replace"))
        else:
            send(connection, Tag.DONE, answer)


def _confine(memory_bytes: int, parent_pid: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(1)  # the parent ended before the line above
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_DIE)


if __name__ == "__main__":
    main()
