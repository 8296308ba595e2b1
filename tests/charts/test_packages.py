"""Packages of charts repeat byte by byte and install what the folder does; values by digest name every image by digest."""

import hashlib
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from reelspace.core.errors import UserError
from supply import digests, packages
from tests.cluster.tools import binary, need_tools

from .helm import CHARTS, render
from .workloads import workloads

NAMES = [chart.name for chart in packages.charts()]
SEARCH, SERVING, TRAIN = (f"sha256:{digit * 64}" for digit in "123")
LOCK = f"""
registry = "registry.example:5000/video"
[images]
"reelspace/python-search:0.1.0" = "{SEARCH}"
"reelspace/python-serving:0.1.0" = "mirror.example/serving/python@{SERVING}"
"reelspace/python-train:0.1.0" = "reelspace/train@{TRAIN}"
"""
PULLED = {
    "inference": {f"registry.example:5000/video/reelspace/python-search@{SEARCH}", f"mirror.example/serving/python@{SERVING}"},
    "pipelines": {f"reelspace/train@{TRAIN}"},
    "vector-search": {f"registry.example:5000/video/reelspace/python-search@{SEARCH}", f"mirror.example/serving/python@{SERVING}"},
}
each_chart = pytest.mark.parametrize("name", NAMES)


def pack(chart: Path, out: Path) -> Path:
    need_tools("helm")
    return packages.package(chart, out, str(binary("helm")))


@each_chart
def test_a_package_is_the_same_whoever_packs_it_and_when(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack(CHARTS / name, tmp_path / "one")
    elsewhere = Path(shutil.copytree(CHARTS / name, tmp_path / "elsewhere" / name, copy_function=shutil.copyfile))
    for path in elsewhere.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("HELM_DEBUG", "true")
    before = os.umask(0o077)
    try:
        second = pack(elsewhere, tmp_path / "two")
    finally:
        os.umask(before)
    assert hashlib.sha256(first.read_bytes()).hexdigest() == hashlib.sha256(second.read_bytes()).hexdigest()


@each_chart
def test_a_package_holds_what_installs_and_no_settings_of_tests(name: str, tmp_path: Path) -> None:
    made = pack(CHARTS / name, tmp_path)
    with tarfile.open(made) as archive:
        members = archive.getmembers()
    held = {member.name.removeprefix(f"{name}/") for member in members}
    source = {str(path.relative_to(CHARTS / name)) for path in (CHARTS / name).rglob("*") if path.is_file()}
    assert made.name == f"{name}-{yaml.safe_load((CHARTS / name / 'Chart.yaml').read_text())['version']}.tgz"
    assert held == {path for path in source if not path.startswith("ci/")}
    assert "values.schema.json" in held
    assert {(member.uid, member.gid, member.mode, member.mtime) for member in members} == {(0, 0, 0o644, packages.TIME_S)}


@each_chart
def test_a_package_installs_what_the_folder_does(name: str, tmp_path: Path) -> None:
    values = sorted((CHARTS / name / "ci").glob("[fh]*-values.yaml"))[-1]  # full or ha, where everything is on
    assert render(pack(CHARTS / name, tmp_path), values) == render(CHARTS / name, values)


def test_a_helm_that_writes_the_time_of_day_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "helm"
    old.write_text('#!/bin/sh\nmkdir -p "${3#--destination=}"\ntouch "$2/Chart.yaml"\ntar -czf "${3#--destination=}/a.tgz" -C "$2" .\n')
    old.chmod(0o755)
    with pytest.raises(UserError, match="expected Helm 4"):
        packages.package(CHARTS / NAMES[0], tmp_path / "out", str(old))
    assert not (tmp_path / "out").exists()


def test_no_helm_and_an_unknown_chart_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found no nowhere/helm"):
        packages.package(CHARTS / NAMES[0], tmp_path, "nowhere/helm")
    with pytest.raises(UserError, match=f"no chart serach.*{', '.join(NAMES)}"):
        packages.charts(["serach"])


def locked(tmp_path: Path, text: str) -> Path:
    lock = tmp_path / "prod.lock"
    lock.write_text(text)
    return lock


@each_chart
def test_values_by_digest_leave_no_tag_in_any_pod(name: str, tmp_path: Path) -> None:
    digests.main([f"--images={locked(tmp_path, LOCK)}", f"--out={tmp_path}"])
    values = CHARTS / name / "ci" / "minimal-values.yaml"
    sets = {"trainingRuntime.enabled": True} if name == "pipelines" else {}
    objects = render(CHARTS / name, values, tmp_path / f"{name}-digests.yaml", sets=sets)
    assert {one["image"] for pod in workloads(objects) for one in pod.containers} == PULLED[name]


def test_a_mirror_takes_the_place_of_the_registry_of_the_lock(tmp_path: Path) -> None:
    digests.main(["inference", f"--images={locked(tmp_path, LOCK)}", f"--out={tmp_path}"])
    assert [path.name for path in tmp_path.glob("*.yaml")] == ["inference-digests.yaml"]
    chart = CHARTS / "inference"
    objects = render(chart, chart / "ci" / "airgap-values.yaml", tmp_path / "inference-digests.yaml")
    pulled = {one["image"] for pod in workloads(objects) for one in pod.containers}
    mirror = "mirror.internal:5000/reelspace"
    assert pulled == {f"{mirror}/reelspace/python-search@{SEARCH}", f"{mirror}/serving/python@{SERVING}"}


def test_what_has_no_digest_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    lock = locked(tmp_path, f'[images]\n"reelspace/python-search:0.1.0" = "{SEARCH}"\n"reelspace/python-train:0.1.0" = "unknown"\n')
    with pytest.raises(UserError) as told:
        digests.main([f"--images={lock}", f"--out={tmp_path / 'out'}"])
    assert re.findall(r"(\S+) (\S+): (\S+) (is [a-z ]+)", str(told.value)) == [
        ("inference", "triton.image", "reelspace/python-serving:0.1.0", "is not listed"),
        ("pipelines", "trainingRuntime.image", "reelspace/python-train:0.1.0", "is unknown"),
        ("vector-search", "shards.image", "reelspace/python-serving:0.1.0", "is not listed"),
    ]
    assert not (tmp_path / "out").exists()


def test_every_image_of_a_chart_is_one_of_the_dockerfile() -> None:
    named: list[tuple[str, dict[str, Any]]] = [
        one for chart in packages.charts() for one in digests.images_of(yaml.safe_load((chart / "values.yaml").read_text()))
    ]
    targets = re.findall(r"^FROM base AS (\w+)", (CHARTS.parent / "Dockerfile").read_text(), re.MULTILINE)
    assert {image["repository"] for _, image in named} <= {f"reelspace/python-{target}" for target in targets}
