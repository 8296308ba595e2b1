"""Children never outlive the process that started them."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from reelspace.core.processes import child, listens, stop

SLEEPER = [sys.executable, "-c", "import time; time.sleep(120)"]
PARENT = """
import sys, time
from reelspace.core.processes import child
print(child([sys.executable, "-c", "import time; time.sleep(120)"]).pid, flush=True)
time.sleep(120)
"""
FOLLOWER = """
import sys, time
from reelspace.core.processes import die_with
die_with(int(sys.argv[1]))
print("following", flush=True)
time.sleep(120)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(120)"


def ended(pid: int, within_s: float = 15.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_child_ends_when_its_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert ended(pid)


def test_a_follower_ends_with_the_process_it_follows_though_it_is_no_child_of_it():
    followed = subprocess.Popen(SLEEPER)
    follower = subprocess.Popen([sys.executable, "-c", FOLLOWER, str(followed.pid)], stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "following\n"
    os.kill(followed.pid, signal.SIGKILL)
    followed.wait()
    assert follower.wait(15) == -signal.SIGTERM


def test_stop_ends_a_child_that_ignores_sigterm():
    process = child([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert stop(process, grace_s=0.5) == -signal.SIGKILL
    process.stdout.close()


def test_stop_of_an_ended_child_gives_its_code():
    process = child([sys.executable, "-c", "raise SystemExit(7)"])
    process.wait()
    assert stop(process) == 7


def test_a_port_is_known_to_be_listened_on_by_a_process_or_its_children_only():
    code = (
        "import socket, subprocess, sys, time\n"
        'inner = \'import socket, sys, time; s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); '
        "print(s.getsockname()[1], flush=True); time.sleep(60)'\n"
        "subprocess.run([sys.executable, '-c', inner])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert listens(process.pid, port)
        with socket.socket() as mine:
            mine.bind(("127.0.0.1", 0))
            assert not listens(os.getpid(), mine.getsockname()[1])
            mine.listen()
            assert listens(os.getpid(), mine.getsockname()[1])
            assert not listens(process.pid, mine.getsockname()[1])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not listens(process.pid, port)
