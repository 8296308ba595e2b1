"""Who trains where, and what a training's end is called."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reelspace.core.errors import DiskFull, InternalError, TemporaryError, UserError
from reelspace.train.roster import Ending, Roster


def test_the_first_process_to_fail_names_the_cause(tmp_path: Path):
    roster = Roster(tmp_path)
    roster.leave("1", DiskFull("full"))
    time.sleep(0.01)
    roster.leave("0", InternalError("connection closed by peer"))
    verdict = roster.verdict(1, 2)
    assert (verdict.exit_code, verdict.error, verdict.message) == (75, "DiskFull", "full")
    with pytest.raises(DiskFull, match="full"):
        verdict.raise_error()


def test_a_process_that_left_no_word_was_killed_and_the_other_lost_it(tmp_path: Path):
    roster = Roster(tmp_path)
    roster.leave("0", InternalError("connection closed by peer"))
    assert roster.verdict(1, 2).exit_code == 75
    assert roster.verdict(1, 1).exit_code == 70


def test_a_wrong_setting_counts_even_if_the_others_were_killed_for_it(tmp_path: Path):
    roster = Roster(tmp_path)
    roster.leave("1", UserError("too few works"))
    assert roster.verdict(1, 2).exit_code == 2


def test_no_word_at_all_is_success_only_if_the_starter_says_so(tmp_path: Path):
    roster = Roster(tmp_path)
    assert roster.verdict(0, 1) == Ending(0)
    assert roster.verdict(1, 1).exit_code == 75
    roster.verdict(0, 1).raise_error()


def test_an_ending_of_an_unknown_name_is_raised_by_its_code():
    with pytest.raises(TemporaryError, match="later"):
        Ending(75, "NoSuchError", "later").raise_error()
    with pytest.raises(InternalError):
        Ending(70, "ValueError", "bug").raise_error()


def test_ending_all_kills_a_stopped_process_but_nobody_who_took_over_its_number(tmp_path: Path):
    ours, other = (subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2))
    try:
        roster = Roster(tmp_path)
        roster.enter("0", ours.pid)
        roster.enter("1", other.pid)
        entry = tmp_path / "process-1.json"
        entry.write_text(entry.read_text().replace('"started": ', '"started": 1'))
        ours.send_signal(signal.SIGSTOP)
        roster.end_all()
        assert ours.wait(5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
