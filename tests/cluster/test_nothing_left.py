"""What tests of a cluster start is gone afterwards, also when the tests are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .control_plane import control_plane
from .isolation import refusal
from .tools import CONTROL_PLANE, need_programs, need_tools

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
NUM_PROGRAMS = 4
END_LIMIT_S = 60.0
KILLED = """
import sys, time
from pathlib import Path
from tests.cluster.control_plane import control_plane
with control_plane(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""
LITTERER = """
mount -t tmpfs tmpfs /mnt
ip link add left0 type veth peer name left1
echo 1 > /proc/sys/vm/overcommit_memory
for one in /sys/fs/cgroup/*/; do [ -e $one/kubepods ] || mkdir -p $one/kubepods/pod; done
setsid sleep 98765 &
exit 3
"""


def programs_of(word: str) -> set[int]:
    """The processes whose command lines have a word."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if word.encode() in words and int(folder.name) != os.getpid():
            found.add(int(folder.name))
    return found


def test_a_control_plane_leaves_no_process(tmp_path: Path) -> None:
    need_tools(*CONTROL_PLANE)
    need_programs({"openssl": "openssl"})
    folder = tmp_path / "cluster"
    with control_plane(folder):
        assert len(programs_of(str(folder))) == NUM_PROGRAMS
    assert not programs_of(str(folder))
    assert not (folder / "etcd").exists()


def test_killed_tests_take_their_programs_along(tmp_path: Path) -> None:
    need_tools(*CONTROL_PLANE)
    need_programs({"openssl": "openssl"})
    folder = tmp_path / "cluster"
    tests = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert tests.stdout is not None
        assert tests.stdout.readline() == b"up\n"
        assert len(programs_of(str(folder))) == NUM_PROGRAMS + 1
    finally:
        tests.send_signal(signal.SIGKILL)
        tests.communicate()
    deadline_s = time.monotonic() + END_LIMIT_S
    while left := programs_of(str(folder)):
        assert time.monotonic() < deadline_s, left
        time.sleep(0.1)


def test_what_ran_isolated_leaves_neither_processes_nor_mounts_nor_settings() -> None:
    if reason := refusal():
        pytest.skip(f"cannot isolate: {reason}")
    before = traces()
    command = [sys.executable, "-m", "tests.cluster.isolation", "sh", "-c", LITTERER]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert traces() == before
    assert not programs_of("98765")


def traces() -> dict[str, object]:
    """What a run may leave on a machine."""
    return {
        "mounts": sorted(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/kubepods")),
        "settings": Path("/proc/sys/vm/overcommit_memory").read_text(),
        "folders": [Path(name).exists() for name in ("/opt/cni", "/opt/containerd")],
    }
