"""Checkov in an environment of its own, since it pins half a hundred packages: `python -m tests.charts.checkov` installs it.

It lies in `~/.cache/reelspace-checkov`, or REELSPACE_CHECKOV, and reads no network when it runs.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from .environment import Environment
from .workloads import Json

CHECKOV = Environment("checkov")
_LIMIT_S = 240.0


def findings(scenarios: Mapping[str, Sequence[Json]], folder: Path) -> list[tuple[str, str, str]]:
    """What Checkov has against rendered objects; skips the test where it is not installed.

    Args:
        scenarios: objects by `chart/scenario`.
        folder: for files of them.

    Returns:
        scenario, identifier of the check, and the object with what the check wants.
    """
    if not CHECKOV.is_installed():
        pytest.skip(f"Checkov is not in {CHECKOV.folder}: .venv/bin/python -m tests.charts.checkov puts it there")
    for name, objects in scenarios.items():
        # In a namespace, as installing puts them there; of the default one Checkov disapproves.
        placed = [{**one, "metadata": {"namespace": "ns", **one["metadata"]}} for one in objects]
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text("\n---\n".join(json.dumps(one, indent=1) for one in placed))
    ended = subprocess.run(
        [
            CHECKOV.programs / "checkov",
            "--directory",
            folder,
            "--framework",
            "kubernetes",
            "--skip-download",
            "--quiet",
            "--compact",
            "--output",
            "json",
        ],
        env=os.environ | {"LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stderr
    return _read(json.loads(ended.stdout))


def _read(report: Json | list[Json]) -> list[tuple[str, str, str]]:
    found = []
    for part in report if isinstance(report, list) else [report]:
        results = part.get("results", {})  # absent when nothing was there to check
        assert not results.get("parsing_errors"), results["parsing_errors"]
        for one in results.get("failed_checks", ()):
            kind, _, name = one["resource"].split(".", 2)
            scenario = one["file_path"].strip("/").removesuffix(".yaml")
            found.append((scenario, one["check_id"], f"{kind}/{name}: {one['check_name']}"))
    return found


if __name__ == "__main__":
    CHECKOV.install()
