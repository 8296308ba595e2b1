"""`reelspace signals` as a user runs it: processes, keys on a pipe, a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reelspace.signals.labelling import Log

NUM_USES = 12
COMMAND = (sys.executable, "-m", "reelspace.cli", "signals")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Twelve uses of hashtags under as many works, in the layout of a journey."""
    directory = tmp_path / "platform" / "tables"
    directory.mkdir(parents=True)
    rows = [
        {
            "video_id": number,
            "uri": f"{number}.mp4",
            "caption": f"my {('camera', 'guitar')[number % 2]} @xiaoming_88 #{('camera', 'guitar')[number % 2]}",
            "created_at": "2025-01-01T00:00:00Z",
            "creator_id": number,
            "categories": ["things"],
        }
        for number in range(NUM_USES)
    ]
    (directory / "videos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory.parent


def _signals(*arguments: object, keys: str = "") -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, input=keys, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def killed(tables: Path, tmp_path: Path) -> Path:
    """Judgements of a rater who was killed while the sixth question was on the screen."""
    out = tmp_path / "judgements.parquet"
    process = subprocess.Popen(
        [*COMMAND, "label", "--tables", str(tables), "--out", str(out), "--seed", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"ynxsu" + b"syn")  # x is no key; the first s is taken back
    process.stdin.flush()
    seen = b""
    while b"[6 of 12]" not in seen or not seen.endswith(b"uit\n"):
        seen += os.read(process.stdout.fileno(), 1 << 16)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    process.stdin.close()
    process.stdout.close()
    assert b"press y, n, s, u or q" in seen
    assert b"xiaoming" not in seen
    return out


def test_a_killed_session_goes_on_exactly_there(killed: Path, tables: Path) -> None:
    log = killed.with_name("judgements.parquet.log.jsonl")
    assert Log(log).sessions["one"].verdicts == ("yes", "no", "skip", "yes", "no")
    assert pq.read_metadata(killed).num_rows == 4
    with log.open("ab") as file:
        file.write(b'{"rater":"one","answ')  # what a kill in the middle of a write leaves
    result = _signals("label", "--tables", tables, "--out", killed, keys="y" * 7)
    assert result.returncode == 0, result.stderr
    assert "[6 of 12]" in result.stdout
    assert "[5 of 12]" not in result.stdout
    assert "12 of 12 answered by one" in result.stdout
    session = Log(log).sessions["one"]
    assert session.verdicts == ("yes", "no", "skip", "yes", "no", *["yes"] * 7)
    rows = {(row["video_id"], row["tag"]): row["relevant"] for row in pq.read_table(killed).to_pylist()}
    assert rows == session.judged()


def test_a_second_pass_and_its_agreement(tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "judgements.parquet"
    label = ("label", "--tables", tables, "--out", out)
    assert _signals(*label, "--count", 10, keys="y" * 10).returncode == 0
    refused = _signals(*label, "--rater", "two", keys="y")
    assert refused.returncode == 2
    assert "say --again" in refused.stderr
    assert _signals(*label, "--rater", "two", "--again", keys="yyyyynnnnnq").returncode == 0
    result = _signals("agreement", out)
    assert result.returncode == 0, result.stderr
    # one says yes to all: chance alone agrees as often as they do
    assert "one and two: kappa 0.000, the same on 0.500 of 10 (95 %: 0.237 to 0.763)" in result.stdout
    assert "relevant, one: 1.000 of 10 (95 %: 0.722 to 1.000)" in result.stdout
    other = _signals(*label, "--seed", 5)
    assert other.returncode == 2
    assert "drawn with seed 0" in other.stderr


def test_run_writes_labels_that_explain_tells_about(tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = _signals("run", "--tables", tables, "--out", out, "--set", "searches.min_users=2")
    assert result.returncode == 0, result.stderr
    funnel = {line[12:].strip(): line[:12].strip() for line in result.stdout.splitlines() if line[:1] == " "}
    assert funnel["works"] == funnel["uses of hashtags"] == "12"
    report = out / "labels" / "report.html"
    assert str(report) in result.stdout
    assert report.is_file()
    told = _signals("explain", "--labels", out / "labels", "--video", 3)
    assert told.returncode == 0, told.stderr
    assert "#guitar (as 'guitar')" in told.stdout


def test_wrong_input_is_one_line_and_exit_2_before_any_work(tables: Path, tmp_path: Path) -> None:
    for arguments, told in (
        (("run", "--tables", tmp_path / "nothing", "--out", tmp_path / "out"), "table videos is missing"),
        (("run", "--tables", tables, "--out", tmp_path / "out", "--set", "searches.min_user=2"), "min_users"),
        (("label", "--tables", tmp_path / "nothing", "--out", tmp_path / "j.parquet"), "table videos is missing"),
        (("agreement", tmp_path / "j.parquet"), "j.parquet is missing"),
        (("explain", "--labels", tmp_path, "--video", 1), "texts.parquet is missing"),
    ):
        result = _signals(*arguments)
        assert result.returncode == 2, arguments
        assert told in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "j.parquet").exists()
