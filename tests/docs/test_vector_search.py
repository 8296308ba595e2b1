"""What the guide of vector search shows runs."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from reelspace.cli.main import app
from reelspace.core.local_store import LocalStore
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector

from ..unit.search.access.serving import serving

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "vector-search.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_example_of_the_engine_finds_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = EXAMPLES[0].replace("\n    works.search", "\n    found = works.search")
    names: dict[str, object] = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "vector-search.md", "exec"), names)  # noqa: S102 - it is our own guide
    assert [(hit.id, hit.payload) for hit in names["found"]] == [(1, {"kind": "video"})]  # type: ignore[attr-defined]


def test_every_command_of_the_guide_has_its_options() -> None:
    root = typer.main.get_command(app)
    lines = [line.partition("  ")[0] for line in re.findall(r"^(?:\| `)?(reelspace search [^`\n]+)", GUIDE, re.MULTILINE)]
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line)[1:]
        command: Any = root
        while words and hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_example_of_the_client_finds_its_point(tmp_path: Path) -> None:
    example = EXAMPLES[1]
    store = LocalStore(tmp_path)
    names: dict[str, object] = {}
    with serving(store, connector(GatewaySettings(store=store.url, backend="local"), store)) as url:
        code = example.replace("http://127.0.0.1:6333", url).replace("\nclient.query_points", "\nfound = client.query_points")
        exec(compile(code, "vector-search.md", "exec"), names)  # noqa: S102 - it is our own guide
        names["client"].close()  # type: ignore[attr-defined]
    assert [(point.id, point.payload) for point in names["found"].points] == [(1, {"kind": "video"})]  # type: ignore[attr-defined]
