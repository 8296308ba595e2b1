"""The journey on real clips, photos and sounds that nobody generated."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_CLIPS, NUM_IMAGES, NUM_SOUNDS = 15, 1149, 50


def tables(real_data: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, str(ROOT / "examples" / "real_data.py"), str(real_data), str(out), *options]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return out / "videos.parquet"


def test_the_example_makes_a_row_of_every_real_file(real_data: Path, tmp_path: Path) -> None:
    rows = pq.read_table(tables(real_data, tmp_path)).to_pylist()
    kinds = [row["kind"] for row in rows]
    assert (kinds.count("video"), kinds.count("image"), kinds.count("sound")) == (NUM_CLIPS, NUM_IMAGES, NUM_SOUNDS)
    assert all(Path(row["uri"]).is_file() and Path(row["uri"]).is_absolute() for row in rows)
    captions = {Path(row["uri"]).name: row["caption"] for row in rows}
    assert captions["dog_fetch.mp4"] == "Playing fetch with my dog 和狗狗玩接球 #宠物 #狗狗 #dog #fetch #outdoor"
    assert captions["Mango_001.jpg"] == "Mango #fruit #mango"
    assert tables(real_data, tmp_path / "again").read_bytes() == (tmp_path / "videos.parquet").read_bytes()


@pytest.mark.journey
@pytest.mark.timeout(1200)
def test_real_clips_photos_and_sounds_become_answered_searches(real_data: Path, tmp_path: Path) -> None:
    videos = tables(real_data, tmp_path / "tables")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "reelspace.cli", "run", "--videos", str(videos), "--out", str(out), "--preset", "tiny"]
    # Fewer steps than the preset's: what is shown is the way through, not what a model learns from 1,214 works.
    command += ["--set", "pretrain.steps=60", "--set", "distill.steps=40"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    report = json.loads((out / "report.json").read_text())
    num_works = NUM_CLIPS + NUM_IMAGES + NUM_SOUNDS
    assert report["media"] == {"in": num_works, "out": num_works, "quarantined": 0}
    assert report["num_queries_answered"] == 20
    assert report["answers_equal_offline"] is True
    assert report["search"]["rows"] == num_works
    assert report["search"]["recall_at_10"] >= 0.95
    assert report["export"]["max_abs_difference"] <= 1e-3
