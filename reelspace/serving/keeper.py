"""A small process that keeps one server: it ends the server with its owner, then removes what the server leaves behind.

The owner may be killed without a chance to clean up, so the watching is done outside of it. Ctrl-C in a terminal does not
reach the keeper (it has a session of its own); the owner stops it in its own order.
"""

import argparse
import os
import select
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from reelspace.core.processes import child, stop

SHARED_MEMORY = Path("/dev/shm")


def keeper_command(*, owner: int, grace_s: float, directory: Path, shared_memory: str, server: Sequence[str]) -> list[str]:
    """Give the command line of a keeper.

    Args:
        owner: process id whose end ends the server.
        grace_s: seconds between SIGTERM and SIGKILL.
        directory: private directory, removed at the end.
        shared_memory: prefix of the server's names in /dev/shm; what is left of them is removed at the end.
        server: the server's own command line.
    """
    own = ["--owner", str(owner), "--grace-s", str(grace_s), "--directory", str(directory), "--shared-memory", shared_memory]
    return [sys.executable, "-m", "reelspace.serving.keeper", *own, "--", *server]


def main(arguments: Sequence[str]) -> int:
    """Run the server until it ends by itself, the owner ends, or SIGTERM comes; give the server's exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--owner", type=int, required=True)
    parser.add_argument("--grace-s", type=float, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--shared-memory", required=True)
    parser.add_argument("server", nargs="+")
    settings = parser.parse_args(arguments)
    if not settings.shared_memory:
        parser.error("--shared-memory is empty: every region of the machine would match")
    try:
        return keep(settings.server, settings.owner, settings.grace_s)
    finally:
        for region in SHARED_MEMORY.glob(settings.shared_memory + "*"):
            region.unlink(missing_ok=True)
        shutil.rmtree(settings.directory, ignore_errors=True)


def keep(command: Sequence[str], owner: int, grace_s: float) -> int:
    """Start the server and wait for the first of: its end, the owner's end, SIGTERM."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        owner_fd = os.pidfd_open(owner)
    except ProcessLookupError:
        return 0
    server = child(command)
    server_fd = os.pidfd_open(server.pid)
    select.select([read_fd, owner_fd, server_fd], [], [])
    # Also when the server ended by itself: its helpers may still run.
    return stop(server, grace_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
