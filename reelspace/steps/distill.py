"""Train the light student in the teacher's vector space."""

from reelspace.core.settings import read
from reelspace.core.steps import run_step
from reelspace.steps.training import CODE_ROOTS, run_training
from reelspace.train.job import TrainJob
from reelspace.train.settings import DistillSettings


def run(teacher: str, shards: str, labels: str, student: str, settings: str) -> None:
    """Write the files of a model as the teacher's step does; the student keeps the teacher's space id."""
    parsed = read(DistillSettings, settings)
    run_step(
        "distill",
        __name__,
        settings=parsed,
        inputs={"teacher": teacher, "shards": shards, "labels": labels},
        outputs={"student": student},
        code_roots=CODE_ROOTS,
        body=lambda step: run_training(
            step,
            TrainJob(
                kind="distill",
                store=step.store.url,
                shards=step.inputs["shards"].id,
                labels=step.inputs["labels"].fetch(step.scratch / "labels"),
                teacher=step.inputs["teacher"].fetch(step.scratch / "teacher"),
                out=step.output("student"),
                distill=parsed,
            ),
        ),
    )
