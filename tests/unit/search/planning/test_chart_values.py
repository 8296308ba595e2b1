"""Values of the chart vector-search made of plans: taken by its schema, as large as the plan says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from reelspace.cli.main import app
from reelspace.core.errors import UserError

CHART = Path(__file__).resolve().parents[4] / "charts" / "vector-search"
SCHEMA = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
GIB = 2**30


def planned(path: Path, *words: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["plan", "search", *words, "--values", str(path)])
    assert result.exception is None, result.exception
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    nested = {
        key: merged(values[key], one) if isinstance(one, dict) and isinstance(values.get(key), dict) else one for key, one in over.items()
    }
    return values | nested


@pytest.mark.parametrize(
    "words",
    [
        ["--rows", "1e6", "--rate", "50", "--replicas", "2", "--memory", "8GiB"],
        ["--rows", "2e9", "--rate", "2000", "--replicas", "3", "--memory", "128GiB"],
        ["--rows", "1e3"],
    ],
)
def test_plans_are_values_that_the_chart_takes(tmp_path: Path, words: list[str]) -> None:
    values = planned(tmp_path / "plan.json", *words)
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert not list(SCHEMA.iter_errors(merged(defaults, values)))


def test_servers_and_their_memory_are_those_of_the_plan(tmp_path: Path) -> None:
    words = ["--rows", "2e9", "--dimension", "128", "--rate", "100", "--replicas", "2", "--memory", "64GiB"]
    values = planned(tmp_path / "plan.json", *words)["shards"]
    plan = json.loads(CliRunner().invoke(app, ["plan", "search", *words, "--json"]).stdout)
    clusters = [one["cluster"] for one in plan["choices"]]
    (best,) = [one for one in clusters if {key: one[key] for key in plan["best"]} == plan["best"]]
    assert len(values["groups"]) == best["machines_per_copy"] > 1
    assert values["replicas"] == best["num_copies"]
    assert values["replicas"] >= 2
    assert 1 < int(values["resources"]["limits"]["memory"].removesuffix("Gi")) <= 64


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("mine")
    result = CliRunner().invoke(app, ["plan", "search", "--rows", "1e6", "--values", str(path)])
    assert isinstance(result.exception, UserError)
    assert path.read_text() == "mine"
