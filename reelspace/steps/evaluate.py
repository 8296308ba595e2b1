"""Measure teacher and student and decide the gate. The only step that reads the truth of a generated world."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field

from reelspace.core.rng import rng
from reelspace.core.settings import Settings, read
from reelspace.core.steps import StepRun, run_step
from reelspace.evaluate.agreement import agreement_figures
from reelspace.evaluate.gate import gate_rows
from reelspace.evaluate.hashtags import hashtag_figures, read_kept
from reelspace.evaluate.ranking import bootstrap_interval
from reelspace.evaluate.texts import embed_texts
from reelspace.evaluate.topics import TopicTask, text_figures, topic_task, video_figures, video_precision_Q
from reelspace.evaluate.truth import read_queries, read_tag_uses, read_works
from reelspace.evaluate.vectors import Vectors, read_vectors

Figures = dict[str, object]


class EvaluateSettings(Settings):
    """What is measured and which figures the gate asks for."""

    cutoff: AwareDatetime | None = Field(None, description="Works uploaded from here on are queries; None: no truth is measured.")
    min_training_works: int = Field(12, ge=1, description="Works before the cut-off from which on a topic counts as trained.")
    thresholds: dict[str, float] = Field(default_factory=dict, description="Least value per figure (`group.figure`) that passes the gate.")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")


def run(teacher: str, student: str, vectors: str, labels: str, evaluation: str, truth_uri: str, settings: str) -> None:
    """Write evaluation.json and gate.json; `truth_uri` is the root of a generated world, or empty."""
    parsed = read(EvaluateSettings, settings)
    run_step(
        "evaluate",
        __name__,
        settings=parsed,
        inputs={"teacher": teacher, "student": student, "vectors": vectors, "labels": labels},
        outputs={"evaluation": evaluation},
        body=lambda run: _evaluate(run, parsed, Path(truth_uri) if truth_uri else None),
        extra_parents=[_truth_digest(Path(truth_uri))] if truth_uri else [],
    )


def _truth_digest(root: Path) -> str:
    files = [root / "queries.parquet", *sorted((root / "truth").glob("*.parquet"))]
    return sha256(b"".join(sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def _evaluate(run: StepRun, settings: EvaluateSettings, truth_root: Path | None) -> Mapping[str, object]:
    vectors = read_vectors(run.inputs["vectors"].fetch(run.scratch / "vectors") / "vectors.parquet")
    summaries = {name: orjson.loads(run.inputs[name].read("summary.json")) for name in ("teacher", "student")}
    figures: dict[str, Figures] = {
        "teacher": {"num_parameters": summaries["teacher"]["num_parameters"]},
        "student": {"num_parameters": summaries["student"]["num_parameters"]},
    }
    figures["student"] |= agreement_figures(vectors.by_name["vector"], vectors.by_name["student"])
    if truth_root is not None and settings.cutoff is not None:
        _measure_truth(run, vectors, truth_root, settings.cutoff, settings, figures)
    rows = gate_rows(figures, settings.thresholds)  # type: ignore[arg-type]
    out = run.output("evaluation")
    _write(out / "evaluation.json", figures)
    _write(out / "gate.json", {"passed": all(row.passed for row in rows), "rows": [asdict(row) | {"passed": row.passed} for row in rows]})
    return figures


def _measure_truth(
    run: StepRun, vectors: Vectors, root: Path, cutoff: datetime, settings: EvaluateSettings, figures: dict[str, Figures]
) -> None:
    task = topic_task(read_works(root, vectors.video_ids_N), vectors.created_at_N, cutoff, settings.min_training_works)
    teacher_ND, picture_ND, student_ND = (vectors.by_name[name] for name in ("vector", "picture", "student"))
    texts = read_queries(root)
    queries_QD = embed_texts(run.inputs["teacher"], run.scratch / "teacher", [query.text for query in texts])
    figures["teacher"] |= video_figures(task, teacher_ND, teacher_ND) | text_figures(task, texts, queries_QD, teacher_ND)
    figures["teacher"]["video_to_topic_p10_interval"] = _interval(task, teacher_ND, settings.seed)
    figures["picture_tower"] = dict(video_figures(task, picture_ND, picture_ND))
    figures["student"] |= video_figures(task, student_ND, student_ND)
    cross = video_figures(task, student_ND, teacher_ND)["video_to_topic_p10"]
    own = figures["teacher"]["video_to_topic_p10"]
    figures["student"]["cross_space_p10"] = cross
    figures["student"]["cross_space_p10_ratio"] = cross / own if cross is not None and isinstance(own, float) and own > 0 else None
    labels = run.inputs["labels"].fetch(run.scratch / "labels")
    figures["hashtags"] = hashtag_figures(
        read_tag_uses(root), read_kept(labels / "tag_uses.parquet"), rng(settings.seed, "bootstrap", "hashtags")
    )


def _interval(task: TopicTask, vectors_ND: NDArray[np.float32], seed: int) -> tuple[float, float]:
    precision = video_precision_Q(task, vectors_ND, vectors_ND)
    return bootstrap_interval(precision[task.trained_N[task.query_rows_Q]], rng(seed, "bootstrap", "video"))


def _write(path: Path, value: object) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
