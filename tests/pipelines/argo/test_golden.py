"""Every shape becomes the WorkflowTemplate beside it, which Argo's own models and its linter accept."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import daily_update, finetune_head, train_and_publish
from pipelines.argo import ArgoOptions, CronOptions, Variable, to_cron_workflow, to_workflow_template, to_yaml
from tests.pipelines.shapes.compiled import NAMES, compile_documents, golden, shape_template

VERSION = "v3.7.18"
OWN = {"train-and-publish": train_and_publish.train_and_publish, "daily-update": daily_update.daily_update}
OWN |= {"finetune-head": finetune_head.finetune_head}
NIGHTLY = CronOptions(
    schedule="30 2 * * *",
    arguments=(
        Variable(name="tables_uri", value="s3://data/tables"),
        Variable(name="media_root", value="s3://data/media"),
        Variable(name="student_id", value="0" * 64),
    ),
)


@cache
def own_template(name: str) -> dict[str, Any]:
    return to_workflow_template(*compile_documents(OWN[name]), ArgoOptions(retries=2))


@pytest.mark.parametrize("name", NAMES)
def test_a_shape_becomes_its_golden_workflow_template(name: str):
    assert to_yaml(shape_template(name)) == golden(name).read_text(), "if it is meant: python -m tests.pipelines.shapes.compiled"


def test_there_is_a_golden_file_for_every_shape_and_no_other():
    modules = {path.stem for path in golden("x").parent.glob("*.py") if "EXPECTED = " in path.read_text()}
    assert modules == set(NAMES) == {path.stem for path in golden("x").parent.glob("*.yaml")}


@pytest.mark.parametrize("name", OWN)
def test_a_pipeline_of_ours_runs_every_step_once_and_after_the_steps_it_needs(name: str):
    spec, _ = compile_documents(OWN[name])
    tasks = spec["root"]["dag"]["tasks"]
    dag = own_template(name)["spec"]["templates"][0]["dag"]["tasks"]
    assert {task["name"]: set(task.get("depends", "").split(" && ")) - {""} for task in dag} == {
        key: set(task.get("dependentTasks", [])) for key, task in tasks.items()
    }
    pods = {row["name"]: row for row in own_template(name)["spec"]["templates"] if "container" in row}
    images = {key.removeprefix("exec-"): executor["container"]["image"] for key, executor in spec["deploymentSpec"]["executors"].items()}
    assert {key: row["container"]["image"] for key, row in pods.items()} == images
    assert all(row["container"]["resources"]["limits"]["memory"] for row in pods.values())


def test_every_container_is_restricted_and_the_user_is_set_for_argos_own_ones_too():
    for template in (*map(shape_template, NAMES), *map(own_template, OWN)):
        pod = template["spec"]["securityContext"]
        assert (pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"], pod["runAsNonRoot"]) == (65532, 65532, 65532, True)
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        for row in template["spec"]["templates"]:
            if "container" in row:
                security = row["container"]["securityContext"]
                assert security["readOnlyRootFilesystem"]
                assert security["allowPrivilegeEscalation"] is False
                assert security["capabilities"] == {"drop": ["ALL"]}
                assert not {"hostPath", "privileged"} & set(re.findall(r"\w+", str(row)))


def test_the_day_is_scheduled_with_all_that_it_must_be_given():
    cron = to_cron_workflow(own_template("daily-update"), NIGHTLY)
    assert cron["spec"]["schedules"] == ["30 2 * * *"]
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert cron["spec"]["workflowSpec"]["workflowTemplateRef"] == {"name": "daily-update"}
    given = {row["name"]: row["value"] for row in cron["spec"]["workflowSpec"]["arguments"]["parameters"]}
    declared = own_template("daily-update")["spec"]["arguments"]["parameters"]
    assert {row["name"] for row in declared if "value" not in row} == set(given)


@pytest.mark.parametrize("name", [*NAMES, *OWN])
def test_argos_models_accept_a_template(name: str):
    hera = hera_models()
    template = shape_template(name) if name in NAMES else own_template(name)
    _nothing_unknown(template, hera.WorkflowTemplate.model_validate(template).model_dump(by_alias=True, exclude_none=True))


def test_argos_models_accept_the_schedule():
    hera = hera_models()
    cron = to_cron_workflow(own_template("daily-update"), NIGHTLY)
    _nothing_unknown(cron, hera.CronWorkflow.model_validate(cron).model_dump(by_alias=True, exclude_none=True))


def hera_models() -> Any:
    """Import hera's models, and take back what the import does to the texts that everybody writes as YAML."""
    models = pytest.importorskip("hera.workflows.models", reason="hera is not installed (hera[yaml]==7.1.0)")
    for dumper in (yaml.Dumper, yaml.representer.SafeRepresenter):
        dumper.add_representer(str, yaml.representer.SafeRepresenter.represent_str)
    return models


def _nothing_unknown(ours: Any, read: Any, path: str = "") -> None:
    """The models skip fields that they do not know: what they read must hold all that we wrote."""
    if isinstance(ours, Mapping):
        assert set(ours) <= set(read), f"{path}: {sorted(set(ours) - set(read))} unknown to Argo"
        for key, value in ours.items():
            _nothing_unknown(value, read[key], f"{path}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(read), path
        for i, value in enumerate(ours):
            _nothing_unknown(value, read[i], f"{path}[{i}]")


@cache
def argo_binary() -> str:
    """Give the linter, or skip: REELSPACE_CLUSTER_BIN names its folder."""
    folder = os.environ.get("REELSPACE_CLUSTER_BIN") or Path.home() / ".cache" / "reelspace-cluster" / "bin"
    path = shutil.which("argo", path=str(folder))
    if path is None:
        pytest.skip(f"no argo binary in {folder}: set REELSPACE_CLUSTER_BIN")
    told = subprocess.run([path, "version", "--short"], capture_output=True, text=True, timeout=60, check=True).stdout
    if VERSION not in told:
        pytest.skip(f"{path} is {told.strip()}, not {VERSION}")
    return path


def lint(folder: Path, objects: Mapping[str, Mapping[str, Any]]) -> "subprocess.CompletedProcess[str]":
    for name, document in objects.items():
        (folder / f"{name}.yaml").write_text(to_yaml(document))
    command = [argo_binary(), "lint", "--offline", "--strict=true", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={"HOME": str(folder), "PATH": ""})


def test_argos_linter_accepts_every_golden_file_and_our_pipelines(tmp_path: Path):
    objects = {name: yaml.safe_load(golden(name).read_text()) for name in NAMES} | {name: own_template(name) for name in OWN}
    objects["cron"] = to_cron_workflow(own_template("daily-update"), NIGHTLY)
    told = lint(tmp_path, objects)
    assert told.returncode == 0, told.stdout + told.stderr


def test_argos_linter_would_name_a_reference_that_leads_nowhere(tmp_path: Path):
    template = shape_template("artifacts")
    text = to_yaml(template).replace("{{tasks.write.outputs.artifacts.manifest}}", "{{tasks.write.outputs.artifacts.manifesto}}")
    told = lint(tmp_path, {"artifacts": yaml.safe_load(text)})
    assert told.returncode != 0
    assert "manifesto" in told.stdout + told.stderr
