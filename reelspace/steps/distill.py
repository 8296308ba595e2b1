"""Train the light student in the teacher's vector space, on what the teacher answered once."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reelspace.core.errors import UserError
from reelspace.core.settings import read
from reelspace.core.steps import StepRun, run_step
from reelspace.steps.teacher_outputs import answered
from reelspace.steps.training import CODE_ROOTS, run_training
from reelspace.train.job import TrainJob
from reelspace.train.settings import DistillSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def run(teacher: str, shards: str, labels: str, student: str, settings: str, task: "DataclassInstance | None" = None) -> None:
    """Write the files of a model as the teacher's step does; the student keeps the teacher's space id, labels and label head.

    Args:
        task: kfp's `dsl.TaskConfig`, what the platform says of this task; for the pods of a TrainJob.

    Raises:
        UserError: the student would be written over an input; or as the inner step `teacher_outputs` and the training end.
    """
    parsed = read(DistillSettings, settings)
    inputs = {"teacher": teacher, "shards": shards, "labels": labels}
    for name, path in inputs.items():
        if Path(path).resolve() == Path(student).resolve():
            raise UserError(f"the manifest of the student is to be written to {student}, which is the {name}'s: choose another path")
    run_step(
        "distill",
        __name__,
        settings=parsed,
        inputs=inputs,
        outputs={"student": student},
        code_roots=CODE_ROOTS,
        body=lambda step: _distill(step, inputs, parsed, task),
    )


def _distill(
    run: StepRun, manifests: Mapping[str, str], settings: DistillSettings, task: "DataclassInstance | None"
) -> Mapping[str, object]:
    outputs = answered(run, manifests, settings)
    job = TrainJob(
        kind="distill",
        store=run.store.url,
        shards=run.inputs["shards"].id,
        labels=run.inputs["labels"].fetch(run.scratch / "labels"),
        teacher=run.inputs["teacher"].fetch(run.scratch / "teacher"),
        teacher_outputs=outputs.fetch(run.scratch / "teacher_outputs"),
        out=run.output("student"),
        distill=settings,
    )
    return {**run_training(run, job, outputs.id, task), "teacher_outputs": outputs.id}
