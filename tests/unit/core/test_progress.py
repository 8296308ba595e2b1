"""Progress is at most a line a second where no terminal looks on."""

import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from reelspace.core.log import log
from reelspace.core.progress import Lines, progress

WORK = """
from reelspace.core.progress import progress
with progress(3, "frames") as bar:
    for loss in (3.0, 2.0, 1.0):
        bar.advance(loss=loss)
"""


def test_lines_come_at_most_once_a_second() -> None:
    now_s = [0.0]
    lines: list[dict[str, object]] = []
    bar = Lines(100, "steps", clock=lambda: now_s[0], write=lines.append)
    for step in range(100):
        now_s[0] += 0.125
        bar.advance(loss=float(step))
    bar.close()
    assert [line["done"] for line in lines] == [8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 100]
    assert lines[-1] == {"what": "steps", "done": 100, "total": 100, "seconds": 12.5, "loss": 99.0}


def test_the_time_left_goes_by_the_pace_of_this_run_and_not_by_what_was_done_before() -> None:
    now_s = [0.0]
    lines: list[dict[str, object]] = []
    bar = Lines(100, "steps", clock=lambda: now_s[0], write=lines.append, done=60)
    for _ in range(10):
        now_s[0] += 0.5
        bar.advance()
    assert [(line["done"], line["left_s"]) for line in lines] == [(62, 19.0), (64, 18.0), (66, 17.0), (68, 16.0), (70, 15.0)]


def test_without_a_terminal_the_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2, "videos") as bar:
        bar.advance()
        bar.advance(rate=3)
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["event"], found["what"], found["done"], found["total"], found["rate"]) == ("progress", "videos", 2, 2, 3)


def shown_on_a_terminal(program: str, num_columns: int) -> str:
    """What a program writes to a terminal on stderr, without the terminal's own codes."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(num_columns)}
    with subprocess.Popen([sys.executable, "-c", program], stderr=follower, env=environment) as work:
        os.close(follower)
        shown = b""
        while True:
            try:
                chunk = os.read(leader, 4096)
            except OSError:  # the terminal's last writer is gone
                break
            if not chunk:
                break
            shown += chunk
    os.close(leader)
    assert work.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def test_on_a_terminal_there_is_a_bar() -> None:
    shown = shown_on_a_terminal(WORK, 120)
    assert "frames" in shown
    assert "3/3" in shown
    assert "loss 1" in shown
    assert '"event"' not in shown


def test_many_figures_leave_the_bar_its_place_on_a_narrow_terminal() -> None:
    figures = {f"loss_number_{number}": 0.5 for number in range(20)}
    shown = shown_on_a_terminal(WORK.replace("loss=loss", f"**{figures}"), 80)
    assert re.search(r"frames ━+ 3/3 .*left 0:00:00", shown)
    assert all(f"{name} 0.5" in shown for name in figures)


def test_an_error_inside_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), progress(2, "videos"):
        raise ZeroDivisionError
    assert "done" not in capsys.readouterr().err


def test_a_log_line_is_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log("thing happened", text="two\nlines", path=os, number=1.5, words="标签")
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["event"], found["text"], found["number"], found["words"]) == ("thing happened", "two\nlines", 1.5, "标签")
    assert found["at"].endswith("+00:00")
