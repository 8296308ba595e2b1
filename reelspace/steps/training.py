"""What the steps pretrain and distill share: a training as a child process that is resumed after a kill."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from reelspace.core.errors import InternalError, ReelspaceError, TemporaryError, UserError
from reelspace.core.processes import child, stop
from reelspace.core.steps import StepRun
from reelspace.train.job import TrainJob, check_job
from reelspace.train.launcher import EXIT_FILE, SAVE_GRACE_S

CODE_ROOTS = ("reelspace.train.__main__", "reelspace.train.worker", "reelspace.train.deepspeed_engine")
_ERRORS: dict[int, type[ReelspaceError]] = {2: UserError, 75: TemporaryError}


def run_training(run: StepRun, job: TrainJob) -> Mapping[str, object]:
    """Launch a training, wait for it, and give its summary.

    Raises:
        UserError, TemporaryError, InternalError: as the training ended.
    """
    check_job(job)
    config = run.scratch / "job.json"
    config.write_text(job.model_dump_json())
    process = child([sys.executable, "-m", "reelspace.train", "--config", str(config), "--run", str(run.state)])
    try:
        code = process.wait()
    finally:
        stop(process, SAVE_GRACE_S)
        run.save_state()
    if code:
        raise _ERRORS.get(code, InternalError)(_message(run.state / EXIT_FILE, code))
    return dict(json.loads((job.out / "summary.json").read_text()))


def _message(path: Path, code: int) -> str:
    return str(json.loads(path.read_text())["message"]) if path.is_file() else f"the training ended with exit code {code} and left no word"
