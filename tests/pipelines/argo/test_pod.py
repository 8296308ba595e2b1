"""The program of a pod runs the component: what Argo fills in arrives whole, and outputs and exit codes are where Argo looks."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.argo.runner import INPUTS, OUTPUTS
from tests.pipelines.shapes.compiled import shape_template

NASTY = 'say "hi" it\'s\n\\n \\" {"a": "b"} $(id) ü'


def pod(shape: str, name: str) -> Mapping[str, Any]:
    return next(row for row in shape_template(shape)["spec"]["templates"] if row["name"] == name)


def run(template: Mapping[str, Any], folder: Path, values: Mapping[str, str], **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a container's program as Argo would start it, with its fixed directories moved into `folder`."""

    def filled(word: str) -> str:
        word = re.sub(r"\{\{=toJson\(inputs\.parameters\['(\w+)'\]\)\}\}", lambda match: json.dumps(values[match[1]]), word)
        word = re.sub(r"\{\{inputs\.parameters\.(\w+)\}\}", lambda match: values[match[1]], word)
        assert "{{" not in word
        return word.replace(OUTPUTS, f"{folder}/outputs").replace(INPUTS, f"{folder}/inputs")

    container = template["container"]
    (folder / "tmp").mkdir()
    command = [filled(word) for word in (*container["command"], *container["args"])]
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TMPDIR": f"{folder}/tmp", **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_values_of_every_type_arrive_as_they_were_given(tmp_path: Path):
    values = {"text": NASTY, "tree": '{"a": [1, 2]}', "truth": "false", "number": "3", "share": "0.5", "letter": "ß"}
    told = run(pod("parameters", "check"), tmp_path, values)
    assert told.returncode == 0, told.stderr
    written = (tmp_path / "outputs/parameters/Output").read_text()
    assert written == f'{NASTY} {{"a": [1, 2]}} False 3 0.5 ß'


def test_a_list_is_given_as_json_and_an_artifact_as_a_file(tmp_path: Path):
    template = pod("loop_output", "split")
    told = run(template, tmp_path, {"num_parts": "3"})
    assert told.returncode == 0, told.stderr
    paths = [row["valueFrom"]["path"] for row in template["outputs"]["parameters"]]
    assert [json.loads((tmp_path / "outputs" / Path(path).relative_to(OUTPUTS)).read_text()) for path in paths] == [[0, 1, 2]]
    (artifact,) = template["outputs"]["artifacts"]
    assert (tmp_path / "outputs" / Path(artifact["path"]).relative_to(OUTPUTS)).read_text() == "shared"


def test_an_artifact_is_read_from_where_argo_lays_it(tmp_path: Path):
    template = pod("artifacts", "copy")
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs/manifest").write_text("the manifest")
    told = run(template, tmp_path, {})
    assert told.returncode == 0, told.stderr
    assert [row["path"] for row in template["inputs"]["artifacts"]] == [f"{INPUTS}/manifest"]
    assert (tmp_path / "outputs/artifacts/copied").read_text() == "the manifest"


@pytest.mark.parametrize(
    ("shape", "task", "variables", "code"),
    [
        ("retries", "hasty", {}, 2),
        ("retries", "patient", {"NODE": "run.patient(0)"}, 75),
        ("retries", "patient", {"NODE": "run.patient(1)"}, 0),
        ("exit_handler", "fail", {}, 1),
    ],
)
def test_the_exit_code_of_an_error_is_the_exit_code_of_the_pod(tmp_path: Path, shape: str, task: str, variables: dict[str, str], code: int):
    told = run(pod(shape, task), tmp_path, {}, **variables)
    assert told.returncode == code, told.stderr


def test_a_step_of_ours_ends_a_pod_with_the_code_of_its_error(tmp_path: Path):
    from kfp import dsl

    from pipelines.argo import ArgoOptions, to_workflow_template
    from tests.pipelines.shapes.compiled import compile_documents

    @dsl.component(base_image="none", install_kfp_package=False)
    def full() -> None:
        """Meet a full disk."""
        from reelspace.core.errors import DiskFull

        raise DiskFull("no space")

    @dsl.pipeline(name="one")
    def one() -> None:
        full().set_caching_options(False)

    template = to_workflow_template(*compile_documents(one), ArgoOptions())["spec"]["templates"][1]
    told = run(template, tmp_path, {}, PYTHONPATH=str(Path(__file__).resolve().parents[3]))
    assert told.returncode == 75, told.stderr


def test_the_exit_task_reads_the_state_that_argo_fills_in(tmp_path: Path):
    hook = shape_template("exit_handler")["spec"]["hooks"]["exit"]
    status = next(row["value"] for row in hook["arguments"]["parameters"] if row["name"] == "status")
    status = re.sub(r"\{\{=[^}]*\}\}", "FAILED", status).replace("{{workflow.name}}", "run")
    told = run(pod("exit_handler", hook["template"]), tmp_path, {"word": 'tidy "all"', "status": status})
    assert told.returncode == 0, told.stderr
