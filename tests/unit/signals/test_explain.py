"""Explanations add up to the score that was given."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.errors import UserError
from reelspace.signals.explain import explain, lines_of
from reelspace.signals.noise_rules import RULES

WEIGHTS = {rule.name: round(rule.weight * 1.25, 3) for rule in RULES}
BIAS = 0.75
SUSPICIONS = [None if place % 3 == 1 else round(0.1 * (place % 11), 2) for place in range(len(RULES))]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of two works, written by hand; the score of the use follows from weights and suspicions."""
    logit = BIAS + sum(
        WEIGHTS[rule.name] * (rule.neutral - suspicion) for rule, suspicion in zip(RULES, SUSPICIONS, strict=True) if suspicion is not None
    )
    report = {
        "rules": [{"name": name, "weight": weight} for name, weight in WEIGHTS.items()],
        "hashtags": {"bias": BIAS, "threshold": 0.5},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    evidence = json.dumps({"queries": {"camera test": 7}, "tags": {"Camera": 0.91}})
    _write(tmp_path, "texts", {"video_id": [1, 2]})
    _write(tmp_path, "vocabulary", {"label_id": [0, 4], "text": ["guitar", "camera"]})
    _write(tmp_path, "video_labels", {"video_id": [1, 2], "label_id": [4, 0], "weight": [0.8, 0.4], "evidence": [evidence, "{}"]})
    uses = {
        "video_id": [1, 2],
        "tag": ["Camera", "guitar"],
        "normal": ["camera", "guitar"],
        "label_id": [4, 0],
        "score": [1 / (1 + math.exp(-logit)), 0.2],
        "kept": [True, False],
        "reason": ["kept", RULES[0].name],
        "suspicions": [SUSPICIONS, SUSPICIONS],
    }
    _write(tmp_path, "tag_uses", uses)
    return tmp_path


def _write(directory: Path, name: str, columns: dict[str, list[object]]) -> None:
    pq.write_table(pa.table(columns), directory / f"{name}.parquet")


def test_what_the_rules_add_gives_the_score(labels: Path) -> None:
    found = explain(labels, 1)
    (use,) = found.uses
    assert use.opinions is not None
    assert [opinion.rule for opinion in use.opinions] == [
        rule.name for rule, suspicion in zip(RULES, SUSPICIONS, strict=True) if suspicion is not None
    ]
    logit = found.bias + sum(opinion.adds for opinion in use.opinions)
    assert 1 / (1 + math.exp(-logit)) == pytest.approx(use.score, abs=1e-6)
    flags_from = {rule.name: rule.flags_from for rule in RULES}
    assert all(opinion.flags == (opinion.suspicion >= flags_from[opinion.rule]) for opinion in use.opinions)


def test_a_label_tells_its_queries_and_tags(labels: Path) -> None:
    (label,) = explain(labels, 1).labels
    assert (label.label_id, label.text) == (4, "camera")
    text = "\n".join(lines_of(explain(labels, 1)))
    assert "label 4 'camera', weight 0.80" in text
    assert "7 people searched 'camera test'" in text
    assert "hashtag #Camera, score 0.910" in text
    assert "#Camera (as 'camera'): kept" in text
    assert f"removed by {RULES[0].name}, score 0.200" in "\n".join(lines_of(explain(labels, 2)))


def test_labels_without_suspicions_say_so(labels: Path) -> None:
    table = pq.read_table(labels / "tag_uses.parquet").drop_columns(["suspicions"])
    pq.write_table(table, labels / "tag_uses.parquet")
    assert explain(labels, 1).uses[0].opinions is None
    assert any("run the signals again" in line for line in lines_of(explain(labels, 1)))


def test_an_unknown_work_and_another_directory_are_one_line(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="work 77 is not in"):
        explain(labels, 77)
    with pytest.raises(UserError, match=r"texts\.parquet is missing"):
        explain(tmp_path / "nothing", 1)
    table = pq.read_table(labels / "tag_uses.parquet").to_pylist()
    short = [row | {"suspicions": [0.0]} for row in table]
    pq.write_table(pa.Table.from_pylist(short), labels / "tag_uses.parquet")
    with pytest.raises(UserError, match=f"expected {len(RULES)} suspicions"):
        explain(labels, 1)
