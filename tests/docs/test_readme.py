"""What the README says holds."""

import re
import subprocess
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_every_path_named_in_readme_and_contributing_exists():
    text = README + (ROOT / "CONTRIBUTING.md").read_text()
    names = re.findall(
        r"`((?:reelspace|components|pipelines|docs|benchmarks|tests|backends|charts|model_repository|examples)/[\w./-]*)`", text
    )
    missing = sorted({name for name in names if "<" not in name and "NNNN" not in name and not (ROOT / name).exists()})
    assert names
    assert missing == []


def test_every_make_target_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert named <= targets


def test_every_committed_result_names_its_machine_versions_and_seed():
    paths = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    for path in paths:
        result = orjson.loads(path.read_bytes())
        for key in ("figure", "machine", "versions", "commit", "seed", "date"):
            assert key in result, f"{path.name} lacks {key}"


def test_no_tracked_file_names_a_package_registry_or_a_place_on_this_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    hosts = re.compile("pypi" + r"\.org|files\.pythonhosted|registry\.npm" + "js")
    found = [name for name in tracked if (ROOT / name).is_file() and hosts.search((ROOT / name).read_text(errors="ignore"))]
    assert found == []
