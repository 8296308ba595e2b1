"""Train the multimodal teacher on media and the crowd's labels."""

from reelspace.core.settings import read
from reelspace.core.steps import run_step
from reelspace.steps.training import CODE_ROOTS, run_training
from reelspace.train.job import TrainJob
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
        body=lambda step: run_training(
            step,
            TrainJob(
                kind="pretrain",
                store=step.store.url,
                shards=step.inputs["shards"].id,
                labels=step.inputs["labels"].fetch(step.scratch / "labels"),
                out=step.output("teacher"),
                pretrain=parsed,
            ),
        ),
    )
