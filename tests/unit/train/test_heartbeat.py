"""Signs of life, by a clock that the test sets."""

import os
import time
from pathlib import Path

from reelspace.core.processes import GRACE_S
from reelspace.train.heartbeat import SILENT_S, START_S, Watch, beat, beating


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_process_is_silent_after_its_last_sign_or_when_it_never_gave_one(tmp_path: Path):
    clock = Clock()
    watch = Watch(tmp_path, 2, 60.0, clock)
    beat(tmp_path, 0)
    assert watch.silent_ranks() == ()
    clock.now_s += 59
    assert watch.silent_ranks() == ()
    clock.now_s += 2
    assert watch.silent_ranks() == (0,)
    clock.now_s += START_S
    assert set(watch.silent_ranks()) == {0, 1}


def test_the_complaint_tells_those_that_never_started_from_those_that_fell_silent(tmp_path: Path):
    clock = Clock()
    watch = Watch(tmp_path, 3, 5.0, clock)
    for rank in (0, 2):
        beat(tmp_path, rank)
    assert watch.silent_ranks() == ()
    clock.now_s += 6
    assert watch.complaint(watch.silent_ranks()) == "process 0 and 2 gave no sign of life for 5 s"
    clock.now_s += START_S
    assert watch.complaint(watch.silent_ranks()) == "process 1 did not start within 300 s, process 0 and 2 gave no sign of life for 5 s"


def test_a_process_that_freezes_is_noticed_early_enough_to_end_the_training_within_a_minute():
    # Noticing takes a look every 0.1 s, killing and leaving a few seconds.
    assert SILENT_S + GRACE_S < 60


def test_a_sign_ends_the_silence_even_if_the_wall_clock_jumped_back(tmp_path: Path):
    clock = Clock()
    watch = Watch(tmp_path, 1, 60.0, clock)
    beat(tmp_path, 0)
    assert watch.silent_ranks() == ()
    clock.now_s += 100
    os.utime(tmp_path / "heartbeat-0", (10, 10))
    assert watch.silent_ranks() == ()


def test_a_long_block_keeps_giving_signs_until_its_limit(tmp_path: Path):
    with beating(tmp_path, 0, 0.2):
        first = (tmp_path / "heartbeat-0").stat().st_mtime_ns if _appears(tmp_path / "heartbeat-0") else 0
        assert first
        (tmp_path / "heartbeat-0").unlink()
        time.sleep(0.4)
    assert not (tmp_path / "heartbeat-0").exists()


def _appears(path: Path) -> bool:
    deadline_s = time.monotonic() + 5
    while not path.exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return path.exists()
