"""How charts are rendered, shown on a small one."""

from pathlib import Path

import pytest

from tests.cluster.tools import bin_folder

from .helm import CHARTS, refusal, render, scenarios
from .samples import write_chart

TOLD = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
data:
  kubernetes: {{ .Capabilities.KubeVersion.Version }}
  serves: {{ .Capabilities.APIVersions.Has "example.org/v1" | quote }}
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart of one ConfigMap that tells what it was rendered with."""
    chart = write_chart(tmp_path / "chart", [])
    (chart / "templates" / "told.yaml").write_text(TOLD)
    return chart


def test_a_chart_is_rendered_with_what_is_asked(chart: Path) -> None:
    (told,) = render(chart, kube_version="1.34.0", api_versions=["example.org/v1"], release="one", namespace="place")
    assert told["metadata"] == {"name": "one", "namespace": "place"}
    assert told["data"] == {"kubernetes": "v1.34.0", "serves": "true"}
    assert render(chart)[0]["data"] == {"kubernetes": "v1.35.4", "serves": "false"}


def test_single_values_win_over_files_and_keep_their_type(chart: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("objects: [{kind: FromFile}]")
    assert {"kind": "FromFile"} in render(chart, values)
    assert {"kind": "Set", "port": 80} in render(chart, values, sets={"objects": [{"kind": "Set", "port": 80}]})


def test_what_the_chart_refuses_is_told(chart: Path) -> None:
    assert "objcets" in refusal(chart, sets={"objcets": []})


def test_a_chart_that_renders_is_not_called_refused(chart: Path) -> None:
    with pytest.raises(AssertionError, match="was not refused"):
        refusal(chart)


def test_nothing_of_the_users_helm_is_read(chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(tmp_path.rglob("*"))
    monkeypatch.setenv("HELM_NAMESPACE", "mine")
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("REELSPACE_CLUSTER_BIN", str(bin_folder()))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert render(chart, namespace="place")[0]["metadata"]["namespace"] == "place"
    assert set(tmp_path.rglob("*")) == before


def test_every_scenario_belongs_to_a_chart() -> None:
    assert all((chart / "Chart.yaml").is_file() and chart.parent == CHARTS for chart, _ in scenarios())
