"""A copy of the checkout, in which a test adds steps and pipelines of its own as a user would, and runs commands."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("reelspace", "pipelines", "components", "kfp_compile.py", "images.lock", "requirements")


def copy_checkout(root: Path, added: Mapping[str, str]) -> Path:
    """Make what pipelines need of the checkout in a folder, with more files: their text by path; skips the test without git.

    Copies, not links: a test that compares runs must not see a source change between them.
    """
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *COPIED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("the checkout has no git to tell its files")
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    for name, text in added.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def probe_files() -> dict[str, str]:
    """Give the text of every file of the pipeline `probe`, whose one step tells what it sees, by path."""
    places = {"step": "reelspace/steps/probe.py", "component": "components/probe/component.py", "pipeline": "pipelines/probe.py"}
    texts = {place: (ROOT / f"tests/containers/probe/{name}.py").read_text() for name, place in places.items()}
    return {**texts, "components/probe/__init__.py": ""}


def do(checkout: Path, line: str, **given: str) -> str:
    """Run a line of a guide with its capital words filled in; gives what it printed."""
    for word, value in given.items():
        line = line.replace(word, value)
    done = run_in(checkout, line)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_in(checkout: Path, line: str) -> "subprocess.CompletedProcess[str]":
    """Run a command line of `reelspace` or `python` in a copy of the checkout."""
    program, *arguments = shlex.split(line)
    command = [sys.executable, "-m", "reelspace.cli"] if program == "reelspace" else [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    return subprocess.run([*command, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, timeout=120, check=False)
