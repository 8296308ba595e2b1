"""What the steps pretrain and distill share: a training as a child process that is resumed after a kill."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from reelspace.core.errors import TemporaryError
from reelspace.core.processes import child, stop
from reelspace.core.steps import StepRun
from reelspace.train.job import CHECKPOINTS, TrainJob, check_job
from reelspace.train.launcher import EXIT_FILE, SAVE_GRACE_S
from reelspace.train.roster import Ending

CODE_ROOTS = ("reelspace.train.__main__", "reelspace.train.agent", "reelspace.train.worker")
_POLL_S = 0.5


def run_training(run: StepRun, job: TrainJob) -> Mapping[str, object]:
    """Launch a training, keep its checkpoints where the next try finds them, and give its summary.

    Raises:
        UserError, TemporaryError, InternalError: as the training ended.
    """
    check_job(job)
    config = run.scratch / "job.json"
    config.write_text(job.model_copy(update={"unfinished": run.scratch / "unfinished"}).model_dump_json())
    command = [sys.executable, "-m", "reelspace.train", "--config", str(config), "--run", str(run.state)]
    process = child([*command, "--parent", str(os.getpid())])
    try:
        _keep_checkpoints(run, process)
    finally:
        stop(process, SAVE_GRACE_S)
        run.save_state()
    ended = run.state / EXIT_FILE
    if not ended.is_file():
        raise TemporaryError(f"the training was ended from outside (exit code {process.returncode}); run again to go on")
    Ending.read(ended).raise_error()
    return dict(json.loads((job.out / "summary.json").read_text()))


def _keep_checkpoints(run: StepRun, process: "subprocess.Popen[bytes]") -> None:
    """Save the state whenever another checkpoint has appeared, until the process ends."""
    saved: list[str] = []
    while True:
        try:
            process.wait(_POLL_S)
            return
        except subprocess.TimeoutExpired:
            present = _checkpoints(run.state)
        if present == saved:
            continue
        try:
            run.save_state()
        except FileNotFoundError:
            # An old checkpoint was dropped meanwhile: what was saved before still holds, the next round saves the rest.
            continue
        saved = present


def _checkpoints(state: Path) -> list[str]:
    return sorted(path.name for path in (state / CHECKPOINTS).glob("step-*"))
