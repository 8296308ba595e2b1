"""Child processes that never outlive the process that started them (Linux)."""

import contextlib
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
_LISTEN = "0A"  # a socket's state in /proc/net/tcp


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


def listens(pid: int, port: int) -> bool:
    """Tell whether a process, or one that it started, listens on a TCP port over IPv4, by the kernel's own tables."""
    table = Path(f"/proc/{pid}/net/tcp")
    rows = [line.split() for line in table.read_text().splitlines()[1:]] if table.exists() else []
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}
    return bool(sockets) and any(sockets & _open_files(member) for member in _family(pid))


def _family(pid: int) -> list[int]:
    family = [pid]
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child_pid in (task / "children").read_text().split():
                family += _family(int(child_pid))
    return family


def _open_files(pid: int) -> set[str]:
    found = set()
    # Processes and their files come and go while they are listed.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(link))
    return found
