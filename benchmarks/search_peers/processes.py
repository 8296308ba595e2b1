"""Processor time and memory of a process with its children, and servers that are started and ended. Linux only: it reads /proc."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.search_peers.absence import NotHere

_START_S: Final = 60.0
_STOP_S: Final = 30.0
_TAIL_CHARACTERS: Final = 600
_PROC: Final = Path("/proc")
MIB: Final = 1 << 20


def family(pid: int) -> list[int]:
    """Give a process and all that descend from it."""
    parents = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            parents[int(folder.name)] = int(fields[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_s(pid: int) -> float:
    """Give the processor seconds of a process and its children, of ended ones too where they were waited for."""
    return sum(sum(map(int, fields[11:15])) for one in family(pid) if (fields := _stat(one))) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """Give the proportional share of memory (PSS) of a process and its children: pages that several map count once in all."""
    total = 0
    for one in family(pid):
        try:
            text = (_PROC / str(one) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))
    return total


def peak_bytes() -> int:
    """Give the most memory that this process had resident since `forget_peak`."""
    return next(int(line.split()[1]) << 10 for line in (_PROC / "self/status").read_text().splitlines() if line.startswith("VmHWM:"))


def forget_peak() -> None:
    """Count the peak from now on."""
    (_PROC / "self/clear_refs").write_text("5")


def disk_bytes(folder: Path) -> int:
    """Give what the files below a folder occupy."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def free_ports(num: int) -> list[int]:
    """Give ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(num)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where clients find it, and what starts a client so that it can reach it."""

    process: "subprocess.Popen[bytes]"
    log: Path
    place: Mapping[str, Any]
    folder: Path
    reach: tuple[str, ...] = ()
    """Words before the client's command."""

    def stop(self) -> None:
        """End it: first by asking."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_server(
    command: Sequence[str], server_folder: Path, place: Mapping[str, Any], *, ready: Callable[[int], bool], **options: Any
) -> Server:
    """Start a server and wait until it answers.

    Args:
        options: for `subprocess.Popen`.

    Raises:
        NotHere: it ended, or did not answer within a minute; with the end of its log.
    """
    log = server_folder / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, **options)
    server = Server(process, log, place, server_folder)
    until_s = time.monotonic() + _START_S
    while not ready(process.pid):
        if process.poll() is not None or time.monotonic() > until_s:
            if process.poll() is None:
                server.stop()
            raise NotHere(f"{Path(command[0]).name} does not start: {tail(log)}")
        time.sleep(0.1)
    return server


def listens(port: int) -> bool:
    """Say whether somebody answers on this port of 127.0.0.1."""
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0


def tail(log: Path) -> str:
    """Give the end of a log on one line."""
    return " | ".join(log.read_text(errors="replace")[-_TAIL_CHARACTERS:].split("\n")).strip(" |")


def _stat(pid: int) -> list[str] | None:
    try:
        return (_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
