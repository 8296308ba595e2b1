"""Every component is the same thin adapter over a step, and the compiled pipeline is what the source says."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.daily_update import daily_update
from pipelines.steps import steps_of
from pipelines.train_and_publish import train_and_publish

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = (*dict.fromkeys((*steps_of(train_and_publish), *steps_of(daily_update))), "find_artifact", "import_labelled", "finetune")


def body_of(name: str) -> list[ast.stmt]:
    tree = ast.parse((ROOT / "components" / name / "component.py").read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    return function.body[1:]


def test_every_step_has_a_component_folder_with_the_same_files():
    folders = {
        path.parent.name: {file.name for file in path.parent.iterdir() if file.is_file()}
        for path in (ROOT / "components").glob("*/component.py")
    }
    assert set(folders) == set(COMPONENTS)
    assert all(files == {"component.py", "README.md", "__init__.py"} for files in folders.values())


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_only_calls_its_step_with_all_arguments_in_order(name: str):
    imported, call = body_of(name)
    assert isinstance(imported, ast.ImportFrom)
    assert imported.module == "reelspace.steps"
    assert [alias.name for alias in imported.names] == [name]
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    given = [ast.unparse(argument).removesuffix(".path") for argument in call.value.args]
    parameters = list(inspect.signature(importlib.import_module(f"reelspace.steps.{name}").run).parameters)
    assert given == parameters


def test_compiled_files_are_current():
    result = subprocess.run([sys.executable, "kfp_compile.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("pipeline", "num_tasks"),
    [("train_and_publish", len(steps_of(train_and_publish))), ("daily_update", len(steps_of(daily_update)) + 1), ("finetune_head", 4)],
)
def test_compiled_pipeline_installs_nothing_and_limits_every_task(pipeline: str, num_tasks: int):
    spec = yaml.safe_load((ROOT / f"pipelines/compiled/{pipeline}.yaml").read_text())
    executors = spec["deploymentSpec"]["executors"]
    assert len(executors) == num_tasks
    for executor in executors.values():
        container = executor["container"]
        assert not any("pip install" in part for part in container["command"])
        assert "resourceMemoryLimit" in container["resources"] or "memoryLimit" in container["resources"]
    assert all(not task.get("cachingOptions", {}).get("enableCache") for task in spec["root"]["dag"]["tasks"].values())


def test_only_evaluate_names_the_truth():
    named = {path.stem for path in (ROOT / "reelspace/steps").glob("*.py") if "truth" in path.read_text()}
    assert named == {"evaluate"}
