"""The builder, with a program in place of Go that writes what it was asked to compile; no tool is needed."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster import build as builder

from .tools import MODS, TOOLS, Tool, binary

pytestmark = pytest.mark.cluster

TOOL = Tool("tiny", "example.org/tiny/cmd/tiny", "example.org/tiny", "v1.0.0", "tiny")
GO = """#!/bin/sh
[ "$1" = build ] || exit 9
while [ "$1" != -o ]; do shift; done
sleep 0.2
echo compiled >> "$CALLS"
[ ! -e "$CALLS.refused" ] || { echo "$2" > "$2"; echo 'no such module' >&2; exit 1; }
echo compiled > "$2"
"""


@pytest.fixture
def num_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """An empty folder for binaries, one tool with pins, and the number of times that it was compiled."""
    programs, pins, calls = tmp_path / "programs", tmp_path / "mods" / "tiny", tmp_path / "calls"
    for folder in (programs, pins):
        folder.mkdir(parents=True)
    (programs / "go").write_text(GO)
    (programs / "go").chmod(0o755)
    (pins / "go.mod").write_text("module reelspace.test/tiny\n")
    (pins / "go.sum").write_text("")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("REELSPACE_CLUSTER_BIN", str(tmp_path / "home" / "bin"))
    monkeypatch.setattr(builder, "MODS", tmp_path / "mods")
    return lambda: len(calls.read_text().split()) if calls.exists() else 0


def test_a_built_tool_is_left_alone_until_its_pins_change(num_compiled: Callable[[], int], tmp_path: Path) -> None:
    assert [builder.build(TOOL), builder.build(TOOL), num_compiled()] == [True, False, 1]
    (tmp_path / "mods" / "tiny" / "go.sum").write_text("another sum\n")
    assert [builder.build(TOOL), num_compiled()] == [True, 2]
    binary("tiny").unlink()
    assert [builder.build(TOOL), num_compiled()] == [True, 3]


def test_a_tool_of_ours_is_built_anew_when_its_source_changes(num_compiled: Callable[[], int], tmp_path: Path) -> None:
    builder.build(TOOL)
    (tmp_path / "mods" / "tiny" / "main.go").write_text("package main\n")
    assert [builder.build(TOOL), num_compiled()] == [True, 2]


def test_two_builders_at_once_build_once(num_compiled: Callable[[], int]) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(builder.build, [TOOL, TOOL])) == [False, True]
    assert num_compiled() == 1


def test_a_failed_build_leaves_no_binary_and_says_what_go_said(num_compiled: Callable[[], int], tmp_path: Path) -> None:
    (tmp_path / "calls.refused").touch()
    with pytest.raises(builder.BuildFailed, match="no such module"):
        builder.build(TOOL)
    assert not binary("tiny").exists()
    assert not builder.is_built(TOOL)


def test_without_go_the_builder_names_it(num_compiled: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(builder.BuildFailed, match="no program `go`"):
        builder.build(TOOL)


def test_an_unknown_tool_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert builder.main(["kubctl"]) == 2
    assert "kubectl" in capsys.readouterr().err


@pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.name)
def test_pins_require_the_version_of_the_table(tool: Tool) -> None:
    required = re.findall(rf"^\s*(?:require )?{re.escape(tool.module)} (\S+)", (MODS / tool.pins / "go.mod").read_text(), re.MULTILINE)
    assert required == [tool.version]


def test_every_folder_of_pins_belongs_to_a_tool_and_names_modules_only() -> None:
    assert {folder.name for folder in MODS.iterdir()} == {tool.pins for tool in TOOLS.values()}
    for path in MODS.glob("*/go.*"):
        assert "://" not in path.read_text(), path
