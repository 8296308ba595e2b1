import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reelspace.serving.keeper import SHARED_MEMORY, keeper_command
from tests.processes import is_running

SERVER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
STUBBORN = "import os, signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


class Kept:
    def __init__(self, tmp_path: Path, program: str, owner: int) -> None:
        self.directory = tmp_path / "private"
        self.directory.mkdir()
        self.region = SHARED_MEMORY / f"reelspace-test-{os.getpid()}-{tmp_path.name}"
        self.region.touch()
        self.pid_file = tmp_path / "pid"
        server = [sys.executable, "-c", program, str(self.pid_file)]
        command = keeper_command(owner=owner, grace_s=0.5, directory=self.directory, shared_memory=self.region.name, server=server)
        self.keeper = subprocess.Popen(command, start_new_session=True)

    def server_pid(self) -> int:
        assert until(lambda: self.pid_file.exists() and self.pid_file.read_text() != "")
        return int(self.pid_file.read_text())

    def assert_nothing_left(self, pid: int) -> None:
        self.keeper.wait(10)
        assert not is_running(pid)
        assert not self.directory.exists()
        assert not self.region.exists()


@pytest.fixture
def owner() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("program", [SERVER, STUBBORN])
def test_server_ends_and_nothing_is_left_when_the_owner_is_killed(tmp_path: Path, owner: "subprocess.Popen[bytes]", program: str) -> None:
    kept = Kept(tmp_path, program, owner.pid)
    pid = kept.server_pid()
    owner.kill()
    owner.wait()
    kept.assert_nothing_left(pid)


def test_server_ends_when_the_keeper_is_told_to(tmp_path: Path, owner: "subprocess.Popen[bytes]") -> None:
    kept = Kept(tmp_path, SERVER, owner.pid)
    pid = kept.server_pid()
    kept.keeper.terminate()
    kept.assert_nothing_left(pid)


def test_server_ends_when_the_keeper_itself_is_killed(tmp_path: Path, owner: "subprocess.Popen[bytes]") -> None:
    kept = Kept(tmp_path, SERVER, owner.pid)
    pid = kept.server_pid()
    kept.keeper.kill()
    kept.keeper.wait()
    kept.region.unlink()
    assert until(lambda: not is_running(pid))


def test_keeper_ends_with_the_code_of_a_server_that_ends_by_itself(tmp_path: Path, owner: "subprocess.Popen[bytes]") -> None:
    kept = Kept(tmp_path, "import sys; open(sys.argv[1], 'w').write('1'); sys.exit(7)", owner.pid)
    assert kept.keeper.wait(10) == 7
    assert not kept.directory.exists()


def test_nothing_is_started_for_an_owner_that_has_ended(tmp_path: Path, owner: "subprocess.Popen[bytes]") -> None:
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    kept = Kept(tmp_path, SERVER, owner.pid)
    assert kept.keeper.wait(10) == 0
    assert not kept.pid_file.exists()
    assert not kept.directory.exists()
