"""Charts as the objects that `helm template` makes of them, without a cluster and without anything of the user's Helm."""

import functools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are not in the lock

from tests.cluster.tools import KUBERNETES, binary, need_tools

Json = dict[str, Any]

CHARTS = Path(__file__).resolve().parents[2] / "charts"
OPERATORS = (
    "monitoring.coreos.com/v1",
    "cert-manager.io/v1",
    "argoproj.io/v1alpha1",
    "trainer.kubeflow.org/v1alpha1",
    "kueue.x-k8s.io/v1beta1",
)
_RENDER_LIMIT_S = 60.0


def scenarios() -> list[tuple[Path, Path]]:
    """Every chart with each of the settings under which it must hold: `charts/<chart>/ci/<scenario>-values.yaml`."""
    return [(values.parents[1], values) for values in sorted(CHARTS.glob("*/ci/*-values.yaml"))]


def name_of(chart: Path, values: Path) -> str:
    """A scenario as exemptions and reports name it: `chart/scenario`."""
    return f"{chart.name}/{values.name.removesuffix('-values.yaml')}"


def render(
    chart: Path,
    *values_files: Path,
    sets: Mapping[str, object] | None = None,
    api_versions: Sequence[str] = OPERATORS,
    kube_version: str = KUBERNETES,
    release: str = "r",
    namespace: str = "ns",
) -> list[Json]:
    """All objects of a release, hooks and definitions included; skips the test where helm is not built.

    Args:
        values_files: later ones win.
        sets: single values by their path, such as `{"gateway.replicas": 3}`; they win over files.
        api_versions: what the cluster is said to serve beside Kubernetes itself.
    """
    command = _command(chart, values_files, sets or {}, (*api_versions,), kube_version, release, namespace)
    ended = _ended(command)
    assert ended.returncode == 0, f"{' '.join(command)}: {ended.stderr}"
    # libyaml, since pure Python takes a second for a big chart.
    return [one for one in yaml.load_all(ended.stdout, yaml.CSafeLoader) if one]


def refusal(
    chart: Path,
    *values_files: Path,
    sets: Mapping[str, object] | None = None,
    api_versions: Sequence[str] = OPERATORS,
    kube_version: str = KUBERNETES,
    release: str = "r",
    namespace: str = "ns",
) -> str:
    """What helm says of values that the chart must refuse; arguments as of `render`."""
    command = _command(chart, values_files, sets or {}, (*api_versions,), kube_version, release, namespace)
    ended = _ended(command)
    assert ended.returncode != 0, f"{' '.join(command)} was not refused"
    return ended.stderr


def _command(
    chart: Path, values_files: Sequence[Path], sets: Mapping[str, object], api_versions: Sequence[str], *release: str
) -> tuple[str, ...]:
    kube_version, name, namespace = release
    return (
        "template",
        name,
        str(chart),
        "--include-crds",
        f"--namespace={namespace}",
        f"--kube-version={kube_version}",
        *(f"--api-versions={one}" for one in api_versions),
        *(f"--values={one}" for one in values_files),
        *(f"--set-json={path}={json.dumps(value)}" for path, value in sets.items()),
    )


def _ended(command: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    need_tools("helm")
    return _ran(command)


@functools.cache  # charts do not change while tests run, and many tests look at the same scenario
def _ran(command: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    with TemporaryDirectory() as folder:
        own = {f"HELM_{name}_HOME": f"{folder}/{name.lower()}" for name in ("CACHE", "CONFIG", "DATA")}
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        return subprocess.run(
            [str(binary("helm")), *command],
            env=surroundings | own | {"KUBECONFIG": f"{folder}/none"},
            capture_output=True,
            text=True,
            timeout=_RENDER_LIMIT_S,
            check=False,
        )
