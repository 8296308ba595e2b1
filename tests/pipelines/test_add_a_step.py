"""The guide for newcomers, done word by word in a copy of the checkout."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from reelspace.core.artifacts import open_artifact, write_artifact
from reelspace.core.local_store import LocalStore
from reelspace.core.step_records import read_journal
from reelspace.runs.record import find_record

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/guides/add-a-step.md").read_text()
COPIED = ("reelspace", "pipelines", "components", "kfp_compile.py", "images.lock", "requirements")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the files of the guide."""
    root = tmp_path_factory.mktemp("checkout")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *COPIED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("the checkout has no git to tell its files")
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(ROOT / name, root / name) if os.stat(ROOT).st_dev == os.stat(root).st_dev else (root / name).write_bytes(
                (ROOT / name).read_bytes()
            )
    named = re.findall(r"^`([\w/]+\.py)`:$", GUIDE, flags=re.MULTILINE)
    for name, text in zip(named, blocks("python"), strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "components/count_labels/__init__.py").touch()
    return root


def do(checkout: Path, line: str, **given: str) -> str:
    """Run a line of the guide with its capital words filled in."""
    for word, value in given.items():
        line = line.replace(word, value)
    program, *arguments = shlex.split(line)
    command = [sys.executable, "-m", "reelspace.cli"] if program == "reelspace" else [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run([*command, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_newcomers_step_is_compiled_for_kubeflow_and_argo_and_runs(checkout: Path, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "labels").mkdir()
    rows = {"video_id": [1, 2, 3, 3, 4], "label_id": [7, 7, 7, 8, 9]}
    pq.write_table(pa.table(rows), tmp_path / "labels" / "video_labels.parquet")
    labels = write_artifact(store, "labels", tmp_path / "labels", parents=(), code="", settings={})
    places = {"STORE": str(tmp_path / "store"), "WORK": str(tmp_path / "work"), "LABELS": labels.id}
    told = [do(checkout, line, **places) for block in blocks("bash") for line in block.strip().splitlines()]
    ir = next(yaml.safe_load_all((checkout / "pipelines/compiled/label_counts.yaml").read_text()))
    assert set(ir["root"]["dag"]["tasks"]) == {"find-artifact", "count-labels"}
    argo = yaml.safe_load((checkout / "deploy/label_counts.argo.yaml").read_text())
    assert argo["kind"] == "WorkflowTemplate"
    assert "count_labels  done" in told[-1]
    record = find_record(store, "last")
    (entry,) = read_journal(store, record.run_id).values()
    counts = pq.read_table(pa.BufferReader(open_artifact(store, entry.outputs["counts"]).read("counts.parquet"))).to_pydict()
    assert counts == {"label_id": [7, 8, 9], "num_works": [3, 1, 1]}
    (tmp_path / "settings.json").write_text(json.dumps({"count_labels": {"min_works": 2}}))
    again = [do(checkout, f"{line} --settings {tmp_path / 'settings.json'}", **places) for line in blocks("bash")[1].splitlines()[:1]]
    assert again
    assert read_journal(store, find_record(store, "last").run_id)["count_labels"].outputs["counts"] != entry.outputs["counts"]
