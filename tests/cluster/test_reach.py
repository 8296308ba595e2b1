"""Who can reach the programs of a test cluster."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .argo import Argo
from .control_plane import Cluster

pytestmark = pytest.mark.cluster

LISTENS = "0A"
# 127.0.0.1 and ::1, also when mapped, as the kernel writes them
LOOPBACKS = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


def listeners(pid: int) -> Iterator[tuple[str, int]]:
    """Addresses (in hexadecimal digits, as the kernel writes them) and ports on which a process listens over TCP."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(os.readlink(link))
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = row.split()
            if words[3] == LISTENS and f"socket:[{words[9]}]" in sockets:
                address, _, port = words[1].partition(":")
                yield address, int(port, 16)


def test_every_program_on_the_fake_nodes_listens_on_loopback_alone(argo: Argo, operators: Cluster) -> None:
    assert argo.cluster.processes is operators.processes
    pids = operators.processes.pids()
    assert {"etcd", "kube-apiserver", "kwok", "workflow-controller", "jobset", "trainer"} <= set(pids)
    found = {name: list(listeners(pid)) for name, pid in pids.items()}
    assert found["kube-apiserver"]
    assert found["jobset"]
    outside = {name: rows for name, rows in found.items() if any(address not in LOOPBACKS for address, _ in rows)}
    assert not outside
