"""Train the multimodal teacher on media and the crowd's labels."""

import json
from collections.abc import Mapping
from pathlib import Path

from reelspace.core.artifacts import open_artifact
from reelspace.core.settings import read
from reelspace.core.steps import StepRun, run_step
from reelspace.model.presets import preset
from reelspace.steps.training import CODE_ROOTS, run_training
from reelspace.train.job import TrainJob
from reelspace.train.public_encoders import checkpoint_digests
from reelspace.train.settings import TrainSettings


def run(shards: str, labels: str, teacher: str, settings: str) -> None:
    """Write model.safetensors, model.json, tokenizer.json, labels.parquet, space.json, train_log.jsonl and summary.json."""
    parsed = read(TrainSettings, settings)
    run_step(
        "pretrain",
        __name__,
        settings=parsed,
        inputs={"shards": shards, "labels": labels},
        outputs={"teacher": teacher},
        code_roots=CODE_ROOTS,
        body=lambda step: _pretrain(step, parsed),
        extra_parents=[*checkpoint_digests(parsed), *([parsed.previous] if parsed.previous else [])],
    )


def _pretrain(step: StepRun, settings: TrainSettings) -> Mapping[str, object]:
    if settings.encoder is not None and settings.encoder_role == "teacher":
        return _adopt(step, Path(settings.encoder), settings)
    job = TrainJob(
        kind="pretrain",
        store=step.store.url,
        shards=step.inputs["shards"].id,
        labels=step.inputs["labels"].fetch(step.scratch / "labels"),
        previous=open_artifact(step.store, settings.previous).fetch(step.scratch / "previous") if settings.previous else None,
        out=step.output("teacher"),
        pretrain=settings,
    )
    return run_training(step, job)


def _adopt(step: StepRun, encoder: Path, settings: TrainSettings) -> Mapping[str, object]:
    """Take a public checkpoint as the teacher."""
    # Delays the optional dependency transformers.
    from reelspace.model.clip_checkpoint import write_clip_teacher

    out = step.output("teacher")
    write_clip_teacher(encoder, out, preset(settings.model))
    return dict(json.loads((out / "summary.json").read_text()))
