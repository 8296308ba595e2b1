"""Child processes that never outlive the process that started them (Linux)."""

import ctypes
import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
GRACE_S = 10.0


def _follow_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def child(
    args: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process group of its own whose leader gets SIGTERM when the calling thread's process ends.

    A process group of its own: Ctrl-C in a terminal reaches the parent only, which then stops its children in order.
    Start children from the main thread: the kernel ties the signal to the thread that forked.
    """
    return subprocess.Popen(
        list(args),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=_follow_parent,
    )


def stop(process: "subprocess.Popen[bytes]", grace_s: float = GRACE_S) -> int:
    """End a child's whole process group: SIGTERM, then SIGKILL after `grace_s` seconds. Gives the child's return code."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    return process.wait()


def die_with(pid: int) -> None:
    """End this process (SIGTERM, then SIGKILL after the grace time) as soon as the process `pid` ends."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGTERM)
        return

    def watch() -> None:
        select.select([pidfd], [], [])
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name=f"die-with-{pid}").start()
