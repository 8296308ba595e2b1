"""What the steps pretrain and distill share: a training as a child process that is resumed after a kill."""

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from reelspace.core.errors import TemporaryError
from reelspace.core.processes import child, stop
from reelspace.core.steps import StepRun
from reelspace.steps.stored_checkpoints import StoredCheckpoints
from reelspace.steps.train_job import run_train_job
from reelspace.train.cluster.settings import cluster_settings
from reelspace.train.job import TrainJob, check_job
from reelspace.train.launcher import EXIT_FILE, SAVE_GRACE_S
from reelspace.train.roster import Ending

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CODE_ROOTS = ("reelspace.train.__main__", "reelspace.train.agent", "reelspace.train.worker")


def run_training(
    run: StepRun, job: TrainJob, teacher_outputs: str | None = None, task: "DataclassInstance | None" = None
) -> Mapping[str, object]:
    """Launch a training, keep its checkpoints where the next try finds them, and give its summary.

    Checkpoints go to the store while the training goes on. One that cannot be stored does not stop it: that is told, and the next one
    tried. Where the environment gives a cluster (see `cluster_settings`), a TrainJob trains in its pods; fine-tuning stays here.

    Args:
        teacher_outputs: id of the artifact that was fetched into the job's directory of that name.
        task: what kfp says of the step's task, for the pods of a TrainJob.

    Raises:
        UserError, TemporaryError, InternalError: as the training ended. Where it did not finish and its last checkpoint could not be
            stored, the TemporaryError says so.
    """
    check_job(job)
    cluster = cluster_settings(os.environ, task) if job.kind != "finetune" else None
    if cluster is not None:
        return run_train_job(run, job, cluster, teacher_outputs)
    config = run.scratch / "job.json"
    config.write_text(job.model_copy(update={"unfinished": run.scratch / "unfinished"}).model_dump_json())
    command = [sys.executable, "-m", "reelspace.train", "--config", str(config), "--run", str(run.state)]
    checkpoints = StoredCheckpoints(run)
    process = child([*command, "--parent", str(os.getpid())])
    try:
        checkpoints.follow(process)
    finally:
        stop(process, SAVE_GRACE_S)
        ending = _ending(run, process.returncode)
        if ending.exit_code:
            _store_last(checkpoints, ending)
    ending.raise_error()
    return dict(json.loads((job.out / "summary.json").read_text()))


def _ending(run: StepRun, returncode: int) -> Ending:
    ended = run.state / EXIT_FILE
    if ended.is_file():
        return Ending.read(ended)
    return Ending.of(TemporaryError(f"the training was ended from outside (exit code {returncode}); run again to go on"))


def _store_last(checkpoints: StoredCheckpoints, ending: Ending) -> None:
    problem = checkpoints.store()
    if problem and ending.exit_code == TemporaryError.exit_code:
        raise TemporaryError(f"{ending.message}, from the last checkpoint that was stored, for later ones could not be: {problem}")
