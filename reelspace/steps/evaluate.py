"""Measure teacher and student and decide the gate. The only step that reads the truth of a generated world."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import orjson
import torch
from pydantic import AwareDatetime, Field

from reelspace.core.errors import UserError
from reelspace.core.rng import rng
from reelspace.core.settings import read
from reelspace.core.steps import StepRun, run_step
from reelspace.evaluate.agreement import agreement_figures
from reelspace.evaluate.examples import confusion, examples
from reelspace.evaluate.figures import Figures, with_intervals
from reelspace.evaluate.gate import gate_rows
from reelspace.evaluate.hashtags import hashtag_figures, read_kept
from reelspace.evaluate.page import Found, Thumbnail, middle_frame, no_thumbnail, render_page
from reelspace.evaluate.probe import TopicSettings, embedding_values
from reelspace.evaluate.slices import slice_figures, slice_masks
from reelspace.evaluate.student import found_figures, label_figures, size_figures, speed_figures
from reelspace.evaluate.texts import embed_texts
from reelspace.evaluate.topics import TopicTask, text_values, topic_task, video_rows_QK, video_values
from reelspace.evaluate.truth import read_facts, read_queries, read_tag_uses, read_topic_names, read_works
from reelspace.evaluate.update import UpdateTask, update_values
from reelspace.evaluate.vectors import Vectors, read_vectors
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import load_model
from reelspace.steps.embed import embed_works
from reelspace.train.teacher_outputs import read_labels
from reelspace.train.windows import Window, inside_N, trains_N, windows_of

AT_ONCE = 32


class EvaluateSettings(TopicSettings):
    """What is measured and which figures the gate asks for."""

    cutoff: AwareDatetime | None = Field(None, description="Works uploaded from here on are queries; None: no truth is measured.")
    thresholds: dict[str, float] = Field(default_factory=dict, description="Least value per figure (`group.figure`) that passes the gate.")
    latency_pairs: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Works that teacher and student are timed on in turns, on one thread of this machine; None: they are not timed.",
    )
    num_examples: int = Field(12, ge=0, le=1000, description="Queries that the page shows with their neighbours.")


@dataclass(frozen=True, slots=True)
class _World:
    """The truth of a generated world about the works of the vectors."""

    root: Path
    cutoff: datetime
    task: TopicTask
    vectors: Vectors

    @classmethod
    def read(cls, root: Path, cutoff: datetime, vectors: Vectors, min_training_works: int, windows: Sequence[Window]) -> "_World":
        trained_N = trains_N(windows, vectors.created_at_N, vectors.video_ids_N)
        task = topic_task(read_works(root, vectors.video_ids_N), vectors.created_at_N, cutoff, min_training_works, trained_N)
        return cls(root, cutoff, task, vectors)


def run(
    teacher: str, student: str, vectors: str, labels: str, evaluation: str, truth_uri: str, settings: str, shards: str | None = None
) -> None:
    """Write evaluation.json, gate.json and evaluation.html.

    Args:
        truth_uri: the root of a generated world, or empty.
        shards: where the page takes its thumbnails from; None shows the neighbours without pictures.
    """
    parsed = read(EvaluateSettings, settings)
    inputs = {"teacher": teacher, "student": student, "vectors": vectors, "labels": labels}
    run_step(
        "evaluate",
        __name__,
        settings=parsed,
        inputs=inputs | ({"shards": shards} if shards else {}),
        outputs={"evaluation": evaluation},
        body=lambda run: _evaluate(run, parsed, Path(truth_uri) if truth_uri else None),
        extra_parents=[_truth_digest(Path(truth_uri))] if truth_uri else [],
    )


def _truth_digest(root: Path) -> str:
    files = [root / "queries.parquet", *sorted((root / "truth").glob("*.parquet"))]
    return sha256(b"".join(sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def _evaluate(run: StepRun, settings: EvaluateSettings, truth_root: Path | None) -> Mapping[str, object]:
    if settings.cutoff is not None:
        for name in ("teacher", "student"):
            check_held_out(name, run.inputs[name].manifest.settings, settings.cutoff)
    vectors = read_vectors(run.inputs["vectors"].fetch(run.scratch / "vectors") / "vectors.parquet")
    summaries = {name: orjson.loads(run.inputs[name].read("summary.json")) for name in ("teacher", "student")}
    figures: dict[str, Figures] = {
        "teacher": {"num_parameters": summaries["teacher"]["num_parameters"]},
        "student": size_figures(summaries["teacher"]["num_parameters"], summaries["student"]["num_parameters"]),
    }
    figures["student"] |= agreement_figures(vectors.by_name["vector"], vectors.by_name["student"])
    figures["student"] |= _labels_and_speed(run, vectors, settings)
    found = None
    if truth_root is not None and settings.cutoff is not None:
        world = _World.read(truth_root, settings.cutoff, vectors, settings.min_training_works, _trained_on(run))
        _measure(run, world, settings, figures)
        if run.inputs["teacher"].manifest.settings.get("replay"):
            figures["update"] = _update_figures(run, world, settings)
        found = _found(world, settings)
    rows = gate_rows(figures, settings.thresholds)
    out = run.output("evaluation")
    _write(out / "evaluation.json", figures)
    _write(out / "gate.json", {"passed": all(row.passed for row in rows), "rows": [asdict(row) | {"passed": row.passed} for row in rows]})
    (out / "evaluation.html").write_text(render_page(figures, rows, found, _thumbnail(run)), encoding="utf-8")
    return figures


def _measure(run: StepRun, world: _World, settings: EvaluateSettings, figures: dict[str, Figures]) -> None:
    task, vectors, seed = world.task, world.vectors, settings.seed
    facts = read_facts(world.root, vectors.video_ids_N)
    teacher_ND, picture_ND, student_ND = (vectors.by_name[name] for name in ("vector", "picture", "student"))
    texts = read_queries(world.root)
    queries_QD = embed_texts(run.inputs["teacher"], run.scratch / "teacher", [query.text for query in texts])
    own = embedding_values(task, facts, teacher_ND, settings.prefixes)
    figures["teacher"] |= with_intervals(own | text_values(task, texts, queries_QD, teacher_ND), seed, "teacher")
    figures["picture_tower"] = with_intervals(video_values(task, picture_ND, picture_ND), seed, "picture_tower")
    figures["student"] |= found_figures(task, teacher_ND, student_ND, seed)
    masks = slice_masks(task, facts, vectors.created_at_N, world.cutoff, settings.slices)
    figures["slices"] = slice_figures(own["video_to_topic_p10_all"], masks, seed)
    labels = run.inputs["labels"].fetch(run.scratch / "labels")
    kept = read_kept(labels / "tag_uses.parquet")
    figures["hashtags"] = hashtag_figures(read_tag_uses(world.root), kept, rng(seed, "bootstrap", "hashtags"))


def _trained_on(run: StepRun) -> list[Window]:
    """Give what teacher and student trained on together."""
    return [window for name in ("teacher", "student") for window in windows_of(run.inputs[name].manifest.settings) or ()]


def _update_figures(run: StepRun, world: _World, settings: EvaluateSettings) -> Figures:
    """Measure a teacher that went on from an earlier one, whose vectors of old works the index holds."""
    teacher, vectors = run.inputs["teacher"], world.vectors
    if "shards" not in run.inputs:
        raise UserError("a teacher that replay made is asked for its vectors of old works: give the evaluation their shards")
    *_, new = windows_of(teacher.manifest.settings) or ()
    update = UpdateTask(world.task, inside_N(new, vectors.created_at_N))
    ids = vectors.video_ids_N[update.old_rows_Q].tolist()
    again = embed_works(teacher, run.scratch / "teacher-again", ShardReader(run.inputs["shards"]), ids, AT_ONCE)["fused"]
    found = with_intervals(update_values(update, vectors.by_name["vector"], again), settings.seed, "update")
    return {"num_old_queries": len(ids), "num_new_queries": len(update.new_rows_Q), **found}


def _labels_and_speed(run: StepRun, vectors: Vectors, settings: EvaluateSettings) -> Figures:
    """What needs the models themselves, not only their vectors: their label head, and their speed if it is asked for."""
    directories = [run.inputs[name].fetch(run.scratch / f"files-{name}") for name in ("teacher", "student")]
    figures: Figures = {}
    labels = read_labels(directories[0], vectors.by_name["vector"].shape[1])
    if labels is not None:
        teacher_NK, student_NK = (labels.logits_BK(torch.tensor(vectors.by_name[name])).numpy() for name in ("vector", "student"))
        figures |= label_figures(teacher_NK, student_NK, settings.seed)
    if settings.latency_pairs is not None:
        teacher, student = (load_model(directory)[0] for directory in directories)
        figures |= speed_figures(teacher, student, settings.latency_pairs, settings.seed)
    return figures


def check_held_out(name: str, trained_with: Mapping[str, object], cutoff: datetime) -> None:
    """Refuse a model that has seen works of the evaluation.

    Args:
        trained_with: settings in the manifest of the model; nothing is known where they do not speak of what it trained on.

    Raises:
        UserError: its first training was on works uploaded at the cut-off or later; what it replayed and learned since is asked less.
    """
    windows = windows_of(trained_with)
    if windows is None:
        return
    until = windows[0].until
    if until is None or until > cutoff:
        raise UserError(
            f"the {name} trained on works {'of all times' if until is None else f'until {until}'}, the evaluation asks those from "
            f"{cutoff.isoformat()} on: train with train_until = {cutoff.isoformat()}, or evaluate with a later cutoff"
        )


def _found(world: _World, settings: EvaluateSettings) -> Found:
    teacher_ND = world.vectors.by_name["vector"]
    return Found(
        examples=examples(world.task, world.vectors.video_ids_N, teacher_ND, settings.num_examples, settings.seed),
        confusion=confusion(world.task, video_rows_QK(world.task, teacher_ND, teacher_ND)),
        topic_names=read_topic_names(world.root),
    )


def _thumbnail(run: StepRun) -> Thumbnail:
    if "shards" not in run.inputs:
        return no_thumbnail
    reader = ShardReader(run.inputs["shards"])
    return lambda video_id: middle_frame(reader.read(video_id).frames_FHWC)


def _write(path: Path, value: object) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
