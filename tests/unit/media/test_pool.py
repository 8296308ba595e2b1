"""The pool of worker processes: what crashes, hangs or swells costs only itself, and order never changes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reelspace.core.errors import InternalError, StoreUnavailable
from reelspace.media.bad_media import Reason
from reelspace.media.pool import Done, Lost, PoolSettings, WorkerPool
from tests.processes import is_running

TASKS = """
import ctypes, os, signal, sys, time
from pathlib import Path

def poison(payload: bytes, begin) -> bytes:
    what, _, rest = payload.decode().partition(" ")
    if what == "fetch":
        time.sleep(float(rest))
    begin()
    if what == "segfault":
        ctypes.string_at(0)
    elif what == "hang":
        time.sleep(1000)
    elif what == "spin":
        while True:
            pass
    elif what == "swell":
        return bytes(1 << 32)
    elif what == "exit":
        os._exit(3)
    elif what == "raise":
        raise RuntimeError("boom \\udcff")
    elif what == "once":
        marker = Path(rest)
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    elif what == "print":
        print("x" * 100_000, flush=True)
    elif what == "late":
        time.sleep(float(rest))
    elif what == "large":
        return bytes(int(rest))
    elif what == "pid":
        return str(os.getpid()).encode()
    return payload[::-1]
"""


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "poison_tasks.py").write_text(TASKS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return "poison_tasks:poison"


def settings(num_workers: int = 2, time_limit_s: float = 20.0) -> PoolSettings:
    return PoolSettings(num_workers=num_workers, time_limit_s=time_limit_s, memory_limit_mib=1024)


def outcomes(task: str, payloads: list[bytes], pool_settings: PoolSettings) -> list[Done | Lost]:
    with WorkerPool(task, pool_settings) as pool:
        return list(pool.map(payloads))


@pytest.mark.parametrize("num_workers", [1, 3])
def test_answers_come_in_the_order_of_the_payloads(task: str, num_workers: int) -> None:
    payloads = [f"late {0.02 * (7 - number % 8)}" if number % 3 == 0 else f"quick {number}" for number in range(60)]
    found = outcomes(task, [payload.encode() for payload in payloads], settings(num_workers))
    assert found == [Done(payload.encode()[::-1]) for payload in payloads]


def test_no_payloads_give_no_answers(task: str) -> None:
    assert outcomes(task, [], settings()) == []


def test_every_poison_costs_only_itself(task: str) -> None:
    poisons = {
        "segfault": (Reason.DECODER_CRASH, "SIGSEGV"),
        "exit": (Reason.DECODER_CRASH, "exit code 3"),
        "raise": (Reason.DECODER_CRASH, "RuntimeError: boom"),
        "swell": (Reason.OUT_OF_MEMORY, "1024 MiB"),
        "hang": (Reason.DECODE_TIMEOUT, "1.5 s"),
        "spin": (Reason.DECODE_TIMEOUT, "1.5 s"),
    }
    payloads = [word for poison in poisons for word in ("before", poison, "after")]
    found = outcomes(task, [payload.encode() for payload in payloads], settings(time_limit_s=1.5))
    for payload, outcome in zip(payloads, found, strict=True):
        if payload in poisons:
            assert isinstance(outcome, Lost)
            assert outcome.reason == poisons[payload][0]
            assert poisons[payload][1] in outcome.detail
        else:
            assert outcome == Done(payload.encode()[::-1])


def test_the_time_limit_counts_from_the_arrival_of_the_bytes(task: str) -> None:
    slow = b"fetch 1.5"
    assert outcomes(task, [slow], settings(1, time_limit_s=0.5)) == [Done(slow[::-1])]


def test_bytes_that_never_come_are_a_temporary_error_and_no_bad_item(task: str) -> None:
    never = PoolSettings(num_workers=1, fetch_limit_s=1.0)
    with pytest.raises(StoreUnavailable, match="did not come within 1 s"):
        outcomes(task, [b"fetch 60"], never)


def test_a_worker_killed_once_from_outside_costs_nothing(task: str, tmp_path: Path) -> None:
    payload = f"once {tmp_path / 'marker'}".encode()
    assert outcomes(task, [b"a", payload, b"b"], settings()) == [Done(b"a"), Done(payload[::-1]), Done(b"b")]
    assert (tmp_path / "marker").exists()


def test_idle_workers_killed_from_outside_are_replaced(task: str) -> None:
    with WorkerPool(task, settings()) as pool:
        assert list(pool.map([b"a", b"b"])) == [Done(b"a"), Done(b"b")]
        before = pool.pids
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        # A signal is only sent: one that still runs may take a payload, and die with it.
        while any(map(is_running, before)):
            time.sleep(0.001)
        assert list(pool.map([b"c"] * 6)) == [Done(b"c")] * 6
        assert not set(before) & set(pool.pids)


def test_what_a_worker_prints_does_not_reach_its_answers(task: str) -> None:
    assert outcomes(task, [b"print me"], settings(1)) == [Done(b"em tnirp")]


def test_large_payloads_and_answers_arrive_whole(task: str) -> None:
    found = outcomes(task, [b"pid\xc3\xa9", b"large 20000000", b"x" + b"y" * 3_000_000], settings())
    assert found[1] == Done(bytes(20_000_000))
    assert found[2] == Done(b"y" * 3_000_000 + b"x")


def test_payloads_are_taken_only_a_little_ahead(task: str) -> None:
    num_taken = 0

    def payloads() -> Iterator[bytes]:
        nonlocal num_taken
        for _ in range(1000):
            num_taken += 1
            yield b"x"

    with WorkerPool(task, settings(1)) as pool:
        next(pool.map(payloads()))
        assert num_taken <= 40


def test_a_task_that_cannot_be_imported_is_an_error_that_says_why() -> None:
    with pytest.raises(InternalError, match=r"no worker for no_such_module:task can start: .*No module named 'no_such_module'"):
        outcomes("no_such_module:task", [b"x"], settings())


def test_leaving_early_ends_every_worker(task: str) -> None:
    with WorkerPool(task, settings()) as pool:
        answers = pool.map([b"pid", b"hang", b"hang"])
        assert isinstance(next(answers), Done)
        pids = pool.pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_workers_end_with_a_parent_that_is_killed(task: str, tmp_path: Path) -> None:
    script = (
        "from reelspace.media.pool import PoolSettings, WorkerPool\n"
        "with WorkerPool('poison_tasks:poison', PoolSettings(num_workers=2)) as pool:\n"
        "    for answer in pool.map([b'pid'] * 4 + [b'spin'] * 2):\n"
        "        print(*pool.pids, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = [parent.stdout.readline() for _ in range(4)]
    pids = [int(pid) for pid in lines[-1].split()]
    parent.kill()
    parent.wait()
    deadline_s = time.monotonic() + 10
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)
