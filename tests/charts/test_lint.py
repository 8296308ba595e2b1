"""Every chart before Helm's own linter and before chart-testing, as `charts/ct.yaml` has it; both call a warning an error."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster.tools import binary, need_programs, need_tools

from . import ct
from .helm import CHARTS, name_of, scenarios

WITHOUT_YAML = ("--validate-yaml=false", "--validate-chart-schema=false")


@pytest.mark.parametrize(("chart", "values"), [pytest.param(*one, id=name_of(*one)) for one in scenarios()])
def test_helm_has_nothing_against_a_chart_in_any_scenario(chart: Path, values: Path, tmp_path: Path) -> None:
    need_tools("helm")
    own = {f"HELM_{name}_HOME": str(tmp_path / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    words = [str(binary("helm")), "lint", "--strict", "--quiet", str(chart), f"--values={values}"]
    ended = subprocess.run(words, env=own, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stdout + ended.stderr


def test_ct_has_nothing_against_any_chart_in_any_scenario(tmp_path: Path) -> None:
    need_programs({"git": "git"})
    words, programs = ((), [ct.LINTERS.programs]) if ct.LINTERS.is_installed() else (WITHOUT_YAML, [])
    ended = ct.lint("--all", *words, folder=tmp_path, programs=programs)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    linted = re.findall(r"Linting chart with values file \"(?:\S*/)?charts/(\S+)/ci/(\S+)\"", ended.stdout)
    assert sorted(linted) == sorted((chart.name, values.name) for chart, values in scenarios()), ended.stdout
    ct.need_linters()  # the rest has passed by now


@pytest.mark.parametrize(
    ("file", "spoil", "told"),
    [
        ("values.yaml", ("", "nameOverride: 7\n"), "nameOverride"),
        ("values.yaml", ("", "new:   1\n"), "too many spaces after colon"),
        ("Chart.yaml", ("type: application", "type: library"), "library"),
    ],
)
def test_ct_finds_what_is_spoiled(file: str, spoil: tuple[str, str], told: str, tmp_path: Path) -> None:
    need_programs({"git": "git"})
    ct.need_linters()
    chart, programs = tmp_path / "charts" / "pipelines", tmp_path / "programs"
    shutil.copytree(CHARTS / "pipelines", chart)
    programs.mkdir()
    text = (chart / file).read_text()
    (chart / file).write_text(text.replace(*spoil) if spoil[0] else text + spoil[1])
    ended = ct.lint(f"--charts={chart}", folder=programs, programs=[ct.LINTERS.programs])
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert told in ended.stdout + ended.stderr
