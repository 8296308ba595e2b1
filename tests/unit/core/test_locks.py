"""A directory is one process's at a time."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reelspace.core.errors import OutputOccupied
from reelspace.core.locks import locked_directory

HOLDER = """
import sys, time
from pathlib import Path
from reelspace.core.locks import locked_directory
with locked_directory(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputOccupied, match=rf"works in {tmp_path} \(pid {holder.pid}\)"), locked_directory(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with locked_directory(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_process_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER.replace("60", "0.5"), str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputOccupied), locked_directory(tmp_path, 0.1):
            pass
        with locked_directory(tmp_path, 10.0):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_is_free_again_after_the_block_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked_directory(tmp_path / "new/deep"):
        raise ZeroDivisionError
    with locked_directory(tmp_path / "new/deep"), pytest.raises(OutputOccupied), locked_directory(tmp_path / "new/deep"):
        pass


def test_a_directory_that_its_holder_removes_can_be_locked_anew(tmp_path: Path) -> None:
    for _ in range(3):
        with locked_directory(tmp_path / "work"):
            shutil.rmtree(tmp_path / "work")
            with locked_directory(tmp_path / "work"), pytest.raises(OutputOccupied), locked_directory(tmp_path / "work"):
                pass
