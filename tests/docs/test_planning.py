"""The guide to planning: its commands run, its files are there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guides" / "planning.md").read_text()
COMMANDS = re.findall(r"^reelspace (plan train .*)$", GUIDE, re.MULTILINE)
SEARCHES = re.findall(r"^reelspace (plan search .*)$", GUIDE, re.MULTILINE)
# Those of large models take a minute each; the files they read are planned in the tests of the plan.
QUICK = [command for command in COMMANDS if "--preset base" in command]


def run(command: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "reelspace.cli", *shlex.split(command)]
    return subprocess.run(words, cwd=ROOT, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", QUICK)
def test_command_of_the_guide_runs_and_shows_the_parts_that_the_guide_names(command: str):
    result = run(command)
    assert result.returncode == 0, result.stderr
    for part in ("weights", "gradients", "optimizer", "reduce buffer", "batch", "activations", "contrast", "workspace", "margin", "a step"):
        assert re.search(rf"^{part} ", result.stdout, re.MULTILINE), part


def test_searches_of_the_guide_run_and_print_the_lines_that_it_quotes():
    printed = ""
    for command in SEARCHES:
        result = run(command)
        assert result.returncode == 0, result.stderr
        printed += result.stdout
    (quoted,) = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)
    assert [line for line in quoted.splitlines() if line not in printed.splitlines()] == []


def test_every_option_and_file_that_the_guide_names_exists():
    assert len(COMMANDS) >= 4
    assert len(SEARCHES) >= 2
    for kind, commands in (("train", COMMANDS), ("search", SEARCHES)):
        shown = run(f"plan {kind} --help").stdout
        named = {option for command in commands for option in re.findall(r"--[a-z-]+", command)}
        assert sorted(option for option in named if option not in shown) == []
    assert all((ROOT / name).exists() for name in re.findall(r"`((?:examples|tests|benchmarks)/[\w./-]+)`", GUIDE))
