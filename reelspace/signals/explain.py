"""Explanation: why a work has its labels and why its other hashtags gave none, rule by rule, read from the files of a `labels` artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelspace.core.errors import UserError
from reelspace.signals.noise_rules import RULES

_SUSPICIONS = "suspicions"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one rule said of a use: suspicion 0 to 1, whether that alone flags it, and what it added to the score's logit."""

    rule: str
    says: str
    suspicion: float
    flags: bool
    adds: float


@dataclass(frozen=True, slots=True)
class UseExplained:
    """One use of a hashtag; `opinions` in the order of the rules, those without an opinion left out, None where they were not written."""

    tag: str
    normal: str
    kept: bool
    score: float
    reason: str
    opinions: tuple[Opinion, ...] | None


@dataclass(frozen=True, slots=True)
class LabelExplained:
    """One label of the work: its weight, and all further evidence by kind (`queries` with people, `tags` with score)."""

    label_id: int
    text: str
    weight: float
    evidence: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All about one work."""

    video_id: int
    threshold: float
    bias: float
    labels: tuple[LabelExplained, ...]
    uses: tuple[UseExplained, ...]


def explain(labels: Path, video_id: int) -> Explanation:
    """Explain the labels of one work.

    Args:
        labels: a directory with the files of a `labels` artifact.

    Raises:
        UserError: a file is missing, or no such work.
    """
    if not _rows(labels, "texts", video_id):
        raise UserError(f"work {video_id} is not in {labels}/texts.parquet: expected the id of a work that labels were made of")
    report = orjson.loads(_file(labels, "report.json").read_bytes())
    weights = {rule["name"]: float(rule["weight"]) for rule in report["rules"]}
    found = _rows(labels, "video_labels", video_id)
    texts = _texts(labels, [row["label_id"] for row in found])
    return Explanation(
        video_id=video_id,
        threshold=float(report["hashtags"]["threshold"]),
        bias=float(report["hashtags"]["bias"]),
        labels=tuple(
            LabelExplained(row["label_id"], texts[row["label_id"]], float(row["weight"]), orjson.loads(row["evidence"])) for row in found
        ),
        uses=tuple(_use(row, weights) for row in _rows(labels, "tag_uses", video_id)),
    )


def lines_of(explanation: Explanation) -> list[str]:
    """Tell an explanation in lines of text."""
    lines = [
        f"work {explanation.video_id}: {len(explanation.labels)} labels from {len(explanation.uses)} uses of hashtags and from searches"
    ]
    for label in explanation.labels:
        lines.append(f"label {label.label_id} {label.text!r}, weight {label.weight:.2f}")
        for kind, found in label.evidence.items():
            lines += [f"    {_because(kind, text, value)}" for text, value in found.items()]
    for use in explanation.uses:
        state = "kept" if use.kept else f"removed by {use.reason}"
        lines.append(f"#{use.tag} (as {use.normal!r}): {state}, score {use.score:.3f}, threshold {explanation.threshold:.3f}")
        if use.opinions is None:
            lines.append("    what each rule said was not written by this version: run the signals again")
            continue
        lines.append(f"    {explanation.bias:+6.2f}  start")
        lines += [
            f"    {opinion.adds:+6.2f}  {opinion.rule} {opinion.suspicion:.2f}{' flags' if opinion.flags else ''}: {opinion.says}"
            for opinion in use.opinions
        ]
    return lines


def _because(kind: str, text: str, value: float) -> str:
    if kind == "queries":
        return f"{value:g} people searched {text!r} and were satisfied by the work"
    return f"hashtag #{text}, score {value:.3f}" if kind == "tags" else f"{kind} {text!r}: {value}"


def _use(row: Mapping[str, Any], weights: Mapping[str, float]) -> UseExplained:
    suspicions = row.get(_SUSPICIONS)
    opinions = None if suspicions is None else tuple(_opinions(suspicions, weights))
    return UseExplained(row["tag"], row["normal"], row["kept"], float(row["score"]), row["reason"], opinions)


def _opinions(suspicions: Sequence[float | None], weights: Mapping[str, float]) -> list[Opinion]:
    if len(suspicions) != len(RULES):
        raise UserError(f"tag_uses.parquet: expected {len(RULES)} suspicions per use, got {len(suspicions)}; run the signals again")
    out = []
    for rule, suspicion in zip(RULES, suspicions, strict=True):
        if suspicion is None or suspicion != suspicion:  # nan: the rule has no opinion
            continue
        says = (rule.suspicion.__doc__ or "").splitlines()[0]
        adds = weights.get(rule.name, 0.0) * (rule.neutral - suspicion)
        out.append(Opinion(rule.name, says, float(suspicion), round(suspicion, 6) >= rule.flags_from, adds))
    return out


def _texts(labels: Path, label_ids: Sequence[int]) -> dict[int, str]:
    rows = pq.read_table(_file(labels, "vocabulary.parquet"), columns=["label_id", "text"], filters=pc.field("label_id").isin(label_ids))
    return dict(zip(rows["label_id"].to_pylist(), rows["text"].to_pylist(), strict=True))


def _rows(labels: Path, table: str, video_id: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(_file(labels, f"{table}.parquet"), filters=pc.field("video_id") == video_id).to_pylist()
    return rows


def _file(labels: Path, name: str) -> Path:
    path = labels / name
    if not path.is_file():
        raise UserError(f"{path} is missing: expected a directory with the files of a `labels` artifact, as `reelspace signals run` writes")
    return path
