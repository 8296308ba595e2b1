"""`kfp_compile.py`: the files it writes, and what it says when it writes none."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, dsl
from kfp.compiler.compiler_utils import KubernetesManifestOptions

import kfp_compile
from components import images
from components.import_tables.component import import_tables
from pipelines import finetune_head, resources
from pipelines.compiling import definitions
from pipelines.compiling.definitions import pipeline_names
from pipelines.compiling.images_lock import ImagesLock, read_images_lock
from pipelines.compiling.lint import RULES
from pipelines.resources import PROFILES, Size, on

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "0a" * 32
GUIDE = (ROOT / "docs" / "guides" / "compiling.md").read_text()
TAGS = 'images = {{ "{}" = "unknown", "{}" = "unknown", "{}" = "unknown" }}'.format(*(images.SIGNALS, images.TRAIN, images.SEARCH))
BROKEN = '''"""A pipeline without limits, with an image that changes."""
from kfp import dsl


@dsl.component(base_image="python:latest", install_kfp_package=False)
def step() -> None:
    pass


@dsl.pipeline(name="broken")
def broken() -> None:
    step()
'''
TYPED = '''"""Parameters of every type."""
from kfp import dsl

from pipelines.resources import Size, on


@dsl.component(base_image="IMAGE", install_kfp_package=False)
def step(count: int, rate: float, dry: bool, names: list, options: dict) -> None:
    pass


@dsl.pipeline(name="typed")
def typed(count: int, rate: float, dry: bool, names: list, options: dict) -> None:
    on(step(count=count, rate=rate, dry=dry, names=names, options=options), Size.SMALL)
'''


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """An images.lock without digests, whatever the committed one knows by now."""
    path = tmp_path / "tags.lock"
    path.write_text(TAGS)
    return path


def kfps_own(target: Path, **options: Any) -> str:
    compiler.Compiler().compile(finetune_head.finetune_head, str(target), **options)
    return target.read_text()


def compiled(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert kfp_compile.main([*arguments, "--out", "-"]) == 0
    return list(yaml.load_all(capsys.readouterr().out, yaml.CSafeLoader))


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name.removeprefix("exec-"): executor["container"] for name, executor in spec["deploymentSpec"]["executors"].items()}


def test_ir_is_what_kfp_writes_itself(tmp_path: Path, lock: Path):
    assert kfp_compile.main(["finetune_head", "--images", str(lock), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "finetune_head.yaml").read_text() == kfps_own(tmp_path / "kfp.yaml")


def test_another_process_with_other_hashes_in_another_folder_writes_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    command = [sys.executable, str(ROOT / "kfp_compile.py"), "finetune_head", "--profile", "gpu8", "--format", "k8s", "--out", "-"]
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    other = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert kfp_compile.main(command[2:]) == 0
    assert capsys.readouterr().out == other


def test_kubernetes_objects_are_those_of_kfp_and_a_version_is_named_by_its_content(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, lock: Path
):
    ours = compiled(capsys, "finetune_head", "--images", str(lock), "--format", "k8s")
    version = ours[1]["metadata"]["name"]
    options = KubernetesManifestOptions(pipeline_version_name=version, include_pipeline_manifest=True)
    text = kfps_own(tmp_path / "kfp.yaml", kubernetes_manifest_format=True, kubernetes_manifest_options=options)
    assert ours == list(yaml.load_all(text, yaml.CSafeLoader))
    again = compiled(capsys, "finetune_head", "--images", str(lock), "--format", "k8s")
    changed = compiled(capsys, "finetune_head", "--images", str(lock), "--format", "k8s", "--set", "model_id=abc")
    assert again[1]["metadata"]["name"] == version
    assert changed[1]["metadata"]["name"] != version


def test_argo_gives_one_workflow_template_with_every_task(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("pipelines.argo", reason="the converter to Argo is not there")
    (template,) = compiled(capsys, "finetune_head", "--format", "argo")
    assert template["kind"] == "WorkflowTemplate"
    text = yaml.safe_dump(template)
    assert all(task in text for task in ("find-artifact", "find-artifact-2", "import-labelled", "finetune"))


@pytest.mark.parametrize(("profile", "num_gpus"), [("cpu", 0), ("gpu1", 1), ("gpu8", 8)])
def test_a_profile_gives_gpus_to_the_steps_that_train_and_requests_to_all(capsys: pytest.CaptureFixture[str], profile: str, num_gpus: int):
    spec, *platforms = compiled(capsys, "train_and_publish", "--profile", profile)
    training = {"pretrain", "distill"}
    for name, container in containers(spec).items():
        resources = container["resources"]
        assert {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"} <= set(resources)
        accelerator = resources.get("accelerator", {})
        expected = num_gpus if name in training else 0
        assert int(accelerator.get("resourceCount", 0)) == expected
        assert accelerator.get("resourceType", "nvidia.com/gpu") == "nvidia.com/gpu"
    on_nodes = platforms[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platforms else {}
    assert set(on_nodes) == ({f"exec-{name}" for name in training} if num_gpus else set())
    for settings in on_nodes.values():
        assert settings["tolerations"] == [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}]
        (shared,) = settings["emptyDirMounts"]
        assert (shared["mountPath"], shared["medium"]) == ("/dev/shm", "Memory")


def test_shared_memory_and_cpu_requests_fit_their_limits():
    for sizes in PROFILES.values():
        for asked in sizes.values():
            assert quantity(asked.cpu_request) <= quantity(asked.cpu_limit)
            assert quantity(asked.shared_memory or "0") < quantity(asked.memory)


def quantity(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(m|Gi)?", text).groups()  # type: ignore[union-attr]
    return float(number) * {None: 1, "m": 0.001, "Gi": 2**30}[unit]


def memory_of_a_training_step() -> str:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        on(import_tables(tables_uri="a", settings="{}"), Size.TRAIN)

    (container,) = containers(json_format.MessageToDict(pipeline.pipeline_spec)).values()
    return str(container["resources"]["resourceMemoryLimit"])


def test_a_profile_ends_with_its_block_even_by_an_error():
    with contextlib.suppress(KeyError), resources.profile("gpu8"):
        assert memory_of_a_training_step() == "512Gi"
        raise KeyError
    assert memory_of_a_training_step() == "16Gi"


def test_set_changes_a_default_and_nothing_else(capsys: pytest.CaptureFixture[str]):
    (plain,) = compiled(capsys, "finetune_head")
    (changed,) = compiled(capsys, "finetune_head", "--set", "model_id=a=b", "--set", 'finetune_settings={"steps": 3}')
    parameters = changed["root"]["inputDefinitions"]["parameters"]
    assert parameters["model_id"].pop("defaultValue") == "a=b"
    assert parameters["model_id"].pop("isOptional")
    assert parameters["finetune_settings"]["defaultValue"] == '{"steps": 3}'
    parameters["finetune_settings"]["defaultValue"] = "{}"
    assert changed == plain


def test_images_are_named_by_their_digests_under_the_registry(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    path = tmp_path / "images.lock"
    mirrored = f"mirror.example:5000/other@{DIGEST}"
    path.write_text(f'registry = "registry.example/video"\nimages = {{ "{images.SIGNALS}" = "{DIGEST}", "{images.TRAIN}" = "{mirrored}" }}')
    (spec,) = compiled(capsys, "finetune_head", "--images", str(path), "--strict")
    named = {name: container["image"] for name, container in containers(spec).items()}
    assert named["import-labelled"] == f"registry.example/video/reelspace/python-signals@{DIGEST}"
    assert named["finetune"] == mirrored


def test_a_port_of_a_registry_is_no_tag():
    lock = ImagesLock(images={"localhost:5000/python": DIGEST, "localhost:5000/python:3": DIGEST}, registry=None)
    assert {lock.reference(name) for name in lock.images} == {f"localhost:5000/python@{DIGEST}"}


def test_the_lock_lists_every_image_of_the_components():
    assert set(read_images_lock(ROOT / "images.lock").images) == {value for name, value in vars(images).items() if name.isupper()}


def test_strict_refuses_images_without_digests_and_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, lock: Path):
    out = tmp_path / "out"
    assert kfp_compile.main(["finetune_head", "--images", str(lock), "--out", str(out)]) == 0
    assert "warning: tag-only-image: finetune-head/finetune: " in capsys.readouterr().err
    (out / "finetune_head.yaml").unlink()
    assert kfp_compile.main(["finetune_head", "--images", str(lock), "--out", str(out), "--strict"]) == 1
    assert list(out.iterdir()) == []


def test_all_findings_of_a_broken_pipeline_are_listed_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.setattr(definitions, "FOLDER", tmp_path)
    assert kfp_compile.main(["--out", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["latest-image", "missing-resources", "not compiled"]
    assert not (tmp_path / "out").exists()


def test_check_names_files_that_are_changed_missing_or_of_no_pipeline(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sources, out = tmp_path / "sources", tmp_path / "out"
    sources.mkdir()
    for name in ("one", "two"):
        (sources / f"{name}.py").write_text(TYPED.replace("IMAGE", images.TRAIN).replace("typed", name))
    monkeypatch.setattr(definitions, "FOLDER", sources)
    monkeypatch.setattr(kfp_compile, "COMMITTED", out)
    assert kfp_compile.main([]) == 0
    assert {path.name for path in out.iterdir()} == {"one.yaml", "two.yaml"}
    assert kfp_compile.main(["--check"]) == 0
    (out / "two.yaml").write_text("changed")
    (out / "one.yaml").rename(out / "gone.yaml")
    capsys.readouterr()
    assert kfp_compile.main(["--check"]) == 1
    assert "not current: one.yaml, two.yaml, gone.yaml; run `make compile`" in capsys.readouterr().err
    assert (out / "two.yaml").read_text() == "changed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune-haed"], "did you mean finetune_head?"),
        (["list", "finetune_head"], "no pipeline 'list'"),
        (["finetune_head", "--profile", "gpu8"], "--profile makes other files than the committed ones: expected --out DIR"),
        (["finetune_head", "--set", "modelid=a", "--out", "-"], "did you mean model_id?"),
        (["finetune_head", "--set", "model_id", "--out", "-"], "expected NAME=VALUE"),
        (["--check", "--out", "-"], "expected a folder in --out"),
        (["--images", "/nowhere/images.lock", "--out", "-"], "no file /nowhere/images.lock"),
    ],
)
def test_wrong_arguments_end_with_2_and_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str):
    assert kfp_compile.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    "text", ['images = { "a:1" = "sha256:abc" }', 'images = { "a:1" = "a:2" }', "image = {}", 'registry = "a/"\nimages = {}', "images"]
)
def test_a_lock_that_says_nothing_certain_is_refused_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str):
    path = tmp_path / "bad.lock"
    path.write_text(text)
    assert kfp_compile.main(["finetune_head", "--images", str(path), "--out", "-"]) == 2
    assert str(path) in capsys.readouterr().err


def test_set_takes_values_of_the_parameters_type_and_refuses_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "typed.py").write_text(TYPED.replace("IMAGE", images.TRAIN))
    monkeypatch.setattr(definitions, "FOLDER", tmp_path)
    right = {"count": "3", "rate": "0.5", "dry": "true", "names": '["a"]', "options": '{"a": 1}'}
    (spec,) = compiled(capsys, *[word for name, value in right.items() for word in ("--set", f"{name}={value}")])
    defaults = {name: definition["defaultValue"] for name, definition in spec["root"]["inputDefinitions"]["parameters"].items()}
    assert defaults == {"count": 3, "rate": 0.5, "dry": True, "names": ["a"], "options": {"a": 1}}
    for name, value in {"count": "0.5", "rate": "half", "dry": "1", "names": "{}", "options": "a"}.items():
        assert kfp_compile.main(["--set", f"{name}={value}", "--out", "-"]) == 2
        assert f"--set {name}: expected a " in capsys.readouterr().err
    assert kfp_compile.main(["--set", "count=true", "--out", "-"]) == 2


def test_list_shows_every_pipeline_with_its_parameters(capsys: pytest.CaptureFixture[str]):
    assert kfp_compile.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert tuple(line.split()[0] for line in lines if not line.startswith(" ")) == pipeline_names()
    assert "finetune_head  4 tasks  Fine-tune a task head of a trained model on a labelled table." in lines
    assert "    model_id: STRING" in lines
    assert "    finetune_settings: STRING = '{}'" in lines


def test_every_command_of_the_guide_is_understood_and_every_rule_explained():
    commands = re.findall(r"^python kfp_compile\.py(.*?)(?:\s+#.*)?$", GUIDE, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        kfp_compile.parse(shlex.split(command.partition("|")[0]))
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", GUIDE.partition("## Lint")[2], re.MULTILINE)) == sorted(RULES)
