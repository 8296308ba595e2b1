"""Lines too long to be rows are passed over, never read into memory."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from tests.steps.import_world import ROWS, World, comments, csv_text, jsonl

MEASURE = """
import json, os, resource, sys
from reelspace.steps import import_tables
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
root, out, limit = sys.argv[1:]
run = lambda name: import_tables.run(f"{root}/{name}", f"{out}/tables", f"{out}/media", json.dumps({"max_line_bytes": int(limit)}))
run("small")
before = peak()
run("large")
print((peak() - before) * 1024)
"""


@pytest.mark.parametrize("ending", ["jsonl", "csv", "csv.gz"])
def test_a_line_of_64_mb_is_passed_over_in_little_memory(tmp_path: Path, ending: str) -> None:
    rows = comments(100)
    text = jsonl(rows) if ending == "jsonl" else csv_text(rows)
    for name in ("small", "large"):
        place = World(tmp_path / name, tmp_path / "out")
        place.parquet("videos", ROWS["videos"])
        opened = gzip.open if ending.endswith("gz") else open
        with opened(place.root / "tables" / f"comments.{ending}", "wb") as file:
            file.write(text.encode())
            if name == "large":
                file.write(b'"')
                for _ in range(64):
                    file.write(b"x" * (1 << 20))
                file.write(b"\n")
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(tmp_path / "out"), str(1 << 16)]
    environment = {"REELSPACE_STORE": str(tmp_path / "out/store"), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 16 << 20
