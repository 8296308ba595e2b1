"""Train the multimodal teacher on media and the crowd's labels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.core.steps import StepRun, run_step
from reelspace.model.presets import preset
from reelspace.steps.training import CODE_ROOTS, run_training
from reelspace.train.job import TrainJob
from reelspace.train.public_encoders import checkpoint_digests
from reelspace.train.settings import ReplaySettings, TrainSettings
from reelspace.train.windows import Window, windows_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def run(shards: str, labels: str, teacher: str, settings: str, task: "DataclassInstance | None" = None) -> None:
    """Write model.safetensors, model.json, tokenizer.json, labels.parquet, space.json, train_log.jsonl and summary.json.

    Args:
        task: kfp's `dsl.TaskConfig`, what the platform says of this task; for the pods of a TrainJob.
    """
    parsed = read(TrainSettings, settings)
    run_step(
        "pretrain",
        __name__,
        settings=parsed,
        inputs={"shards": shards, "labels": labels},
        outputs={"teacher": teacher},
        code_roots=CODE_ROOTS,
        body=lambda step: _pretrain(step, parsed, task),
        extra_parents=[*checkpoint_digests(parsed), *_earlier_teachers(parsed)],
    )


def _earlier_teachers(settings: TrainSettings) -> list[str]:
    start = settings.replay.teacher if settings.replay else None
    return [teacher for teacher in (settings.previous, start) if teacher]


def _pretrain(step: StepRun, settings: TrainSettings, task: "DataclassInstance | None") -> Mapping[str, object]:
    if settings.encoder is not None and settings.encoder_role == "teacher":
        return _adopt(step, Path(settings.encoder), settings)
    job = TrainJob(
        kind="pretrain",
        store=step.store.url,
        shards=step.inputs["shards"].id,
        labels=step.inputs["labels"].fetch(step.scratch / "labels"),
        previous=open_artifact(step.store, settings.previous).fetch(step.scratch / "previous") if settings.previous else None,
        start=_start(step, settings.replay) if settings.replay else None,
        out=step.output("teacher"),
        pretrain=settings,
    )
    return run_training(step, job, task=task)


def _start(step: StepRun, replay: ReplaySettings) -> Path:
    """Bring the teacher that training goes on from.

    Raises:
        UserError: it trained on other works than the settings say.
    """
    teacher = open_artifact(step.store, replay.teacher)
    trained = windows_of(teacher.manifest.settings)
    if teacher.manifest.kind != "teacher" or trained is None:
        raise UserError(f"replay.teacher is {replay.teacher[:12]}, of kind {teacher.manifest.kind}: expected a teacher that we trained")
    if trained != replay.seen:
        raise UserError(f"replay.seen is {_shown(replay.seen)}, the teacher {teacher.id[:12]} trained on {_shown(trained)}: give these")
    return teacher.fetch(step.scratch / "start")


def _shown(windows: Sequence[Window]) -> str:
    return json.dumps([window.model_dump(mode="json") for window in windows])


def _adopt(step: StepRun, encoder: Path, settings: TrainSettings) -> Mapping[str, object]:
    """Take a public checkpoint as the teacher."""
    # Delays the optional dependency transformers.
    from reelspace.model.clip_checkpoint import write_clip_teacher

    out = step.output("teacher")
    write_clip_teacher(encoder, out, preset(settings.model))
    return dict(json.loads((out / "summary.json").read_text()))
