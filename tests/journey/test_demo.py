"""The demo as a user meets it: figures under their names, children that end with it, bad input in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from reelspace.core.artifacts import open_artifact
from reelspace.core.locks import locked_directory
from reelspace.core.rng import rng
from reelspace.core.store import open_store
from tests.processes import is_running

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "demo-out"


def reelspace(*args: str, cwd: Path = ROOT, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reelspace.cli", *args], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


def one_line_error(result: subprocess.CompletedProcess[str], code: int) -> str:
    assert result.returncode == code, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.journey
def test_report_of_make_demo_holds_every_figure_and_fits_its_schema() -> None:
    if not (OUT / "report.json").is_file():
        pytest.skip("no demo-out/report.json: run `make demo` first")
    report = json.loads((OUT / "report.json").read_text())
    jsonschema.validate(report, json.loads((ROOT / "docs/reference/report.schema.json").read_text()))
    assert report["media"]["in"] == report["media"]["out"] + report["media"]["quarantined"]
    assert report["media"]["quarantined"] == 3
    assert report["answers_equal_offline"] is True
    assert report["num_queries_answered"] == 20
    assert report["teacher"]["video_to_topic_p10"] >= 0.80
    assert report["teacher"]["background_swap_share"] >= 0.75
    assert report["teacher"]["text_to_topic_p10_seen"] >= 0.85
    assert report["teacher"]["text_to_topic_p10_unseen"] >= 0.70
    assert report["student"]["num_parameters"] <= 0.3 * report["teacher"]["num_parameters"]
    assert report["student"]["video_to_topic_p10"] >= 0.80 * report["teacher"]["video_to_topic_p10"]
    assert report["student"]["cross_space_p10_ratio"] >= 0.75
    assert report["export"]["max_abs_difference"] <= 1e-3
    assert report["search"]["recall_at_10"] >= 0.95
    assert report["search_generated"]["rows"] == 50_000
    assert report["search_generated"]["recall_at_10"] >= 0.95
    gap = report["teacher"]["video_to_topic_p10"] - report["teacher_without_crowd"]["video_to_topic_p10"]
    assert gap >= 0.30


@pytest.mark.journey
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_servers_end_with_the_command_that_started_them(number: signal.Signals) -> None:
    if not (OUT / "report.json").is_file():
        pytest.skip("no demo-out: run `make demo` first")
    process = subprocess.Popen(
        [sys.executable, "-m", "reelspace.cli", "demo", "serve", "--out", str(OUT)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "gateway http://127.0.0.1:" in process.stdout.readline()
    family = descendants(process.pid)
    assert len(family) >= 2
    os.kill(process.pid, number)
    process.wait(60)
    deadline = time.monotonic() + 30
    while (left := [pid for pid in family if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    if number != signal.SIGKILL:
        assert process.returncode == 0


def descendants(pid: int) -> list[int]:
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return children + [deeper for child in children for deeper in descendants(child)]


@pytest.mark.journey
def test_missing_table_is_one_line_with_exit_code_2(tmp_path: Path) -> None:
    result = reelspace("run", "--videos", str(tmp_path / "none.parquet"), "--out", str(tmp_path / "out"))
    assert "none.parquet" in one_line_error(result, 2)


@pytest.mark.journey
def test_foreign_output_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    videos = tmp_path / "mine.txt"
    assert "holds files" in one_line_error(reelspace("run", "--videos", str(videos), "--out", str(tmp_path)), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt"]


@pytest.mark.journey
def test_two_copies_on_one_directory_are_told_apart(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".reelspace").touch()
    (tmp_path / "videos.jsonl").write_text("")
    with locked_directory(out):
        result = reelspace("run", "--videos", str(tmp_path / "videos.jsonl"), "--out", str(out))
    assert f"pid {os.getpid()}" in one_line_error(result, 2)


@pytest.mark.journey
def test_no_decodable_media_is_one_line_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    row = {"video_id": 1, "uri": str(tmp_path / "bad.mp4"), "caption": "#cats cats", "created_at": "2025-01-01T00:00:00Z"}
    (tmp_path / "videos.jsonl").write_text(json.dumps(row) + "\n")
    result = reelspace("run", "--videos", str(tmp_path / "videos.jsonl"), "--out", str(tmp_path / "out"))
    assert "preprocess_media" in one_line_error(result, 2)


@pytest.mark.journey
def test_full_disk_is_temporary_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        photo = tmp_path / "noise.jpg"
        rows = []
        for number in range(60):
            pixels = rng(0, "noise", number).integers(0, 255, size=(256, 256, 3)).astype("uint8")
            photo = tmp_path / f"noise{number}.jpg"
            Image.fromarray(pixels).save(photo, quality=95)
            rows.append({"video_id": number, "uri": str(photo), "caption": "noise", "created_at": "2025-01-01T00:00:00Z"})
        (tmp_path / "videos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        filler = place / "filler"
        filler.write_bytes(b"x" * 1_500_000)
        result = reelspace("run", "--videos", str(tmp_path / "videos.jsonl"), "--out", str(place / "out"))
        one_line_error(result, 75)
        manifests = list((place / "out" / "store" / "artifacts").glob("*/manifest.json")) if (place / "out" / "store").exists() else []
        for manifest in manifests:
            open_artifact(open_store(str(place / "out" / "store")), manifest.parent.name).verify()
    finally:
        subprocess.run(["umount", str(place)], check=True)
