"""The blocks of the Argo guide run, one after the other, and print what it says."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/guides/argo.md").read_text()


def test_the_blocks_of_the_guide_give_a_template_and_its_schedule(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    kinds = []
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(block, names)  # noqa: S102 (our own guide)
        document = yaml.safe_load(capsys.readouterr().out)
        kinds.append((document["kind"], document["metadata"]["name"]))
    assert kinds == [("WorkflowTemplate", "train-and-publish"), ("CronWorkflow", "train-and-publish")]
