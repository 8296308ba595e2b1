"""One machine's part in a training that is described in the store: `python -m reelspace.train --job-from-store KEY`."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from reelspace.core.errors import ReelspaceError, SettingError, TemporaryError, as_reelspace_error
from reelspace.core.local_store import LocalStore
from reelspace.core.log import log
from reelspace.core.steps import STORE_VARIABLE
from reelspace.core.store import Store, open_store
from reelspace.train.cluster.machine_checkpoints import MachineCheckpoints
from reelspace.train.cluster.training_files import TrainingFiles
from reelspace.train.launcher import launch
from reelspace.train.meeting import MEETING_S, NO_SHARED_DISK
from reelspace.train.roster import Ending


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine: its number among those of the training, its own disk, and its patience (see `launch`)."""

    number: int
    scratch: Path
    silent_s: float | None = None
    meeting_s: float = MEETING_S


def train_from_store(key: str, machine: Machine) -> None:
    """Take part in the training under a step key: fetch what it needs, train, and leave in the store what others must find.

    With a store on S3 the machines share no disk: each has its run directory below `scratch`, and its files of every checkpoint go to the
    store. A directory store is a disk that all share; checkpoints stay in it as those of a local training do. The first machine stores
    the trained model. Where it lies there already, nothing is done.

    Raises:
        ReelspaceError: as the training ended here; the same is left in the store. SIGTERM lets it save first and is a TemporaryError.

    Environment: REELSPACE_STORE, the keys of an S3 store, and what `launch` reads.
    """
    files = TrainingFiles(_store(), key)
    with _Sigterm().handled() as sigterm:
        files.forget_ending(machine.number)
        try:
            if not files.has_outputs():
                _train(files, machine, sigterm)
        except Exception as caught:
            _leave(files, machine, Ending.of(as_reelspace_error(caught)))
            raise
        _leave(files, machine, Ending(0))


def _store() -> Store:
    url = os.environ.get(STORE_VARIABLE, "")
    if not url:
        raise SettingError(f"{STORE_VARIABLE} is not set: expected a directory that all machines share, or s3://bucket/prefix")
    return open_store(url)


def _train(files: TrainingFiles, machine: Machine, sigterm: "_Sigterm") -> None:
    shutil.rmtree(machine.scratch, ignore_errors=True)
    out, config = machine.scratch / "outputs", machine.scratch / "job.json"
    out.mkdir(parents=True)
    config.write_text(files.read_job().fetch(files.store, machine.scratch / "inputs", out).model_dump_json())
    if isinstance(files.store, LocalStore):
        sigterm.is_over = True
        launch(config, files.store.root / "runs" / files.key / "state", silent_s=machine.silent_s, meeting_s=machine.meeting_s)
    else:
        _train_apart(files, machine, config, sigterm)
    if machine.number == 0:
        files.write_outputs(out)


def _train_apart(files: TrainingFiles, machine: Machine, config: Path, sigterm: "_Sigterm") -> None:
    """Train on a disk of our own; what is saved goes to the store, also where the training ends before its last step."""
    os.environ[NO_SHARED_DISK] = "1"
    checkpoints = MachineCheckpoints(files, machine.scratch / "run", machine.number)
    checkpoints.restore()
    # From here on the launcher hears SIGTERM, and what follows it must not be cut short.
    sigterm.is_over = True
    try:
        with checkpoints.followed():
            launch(config, checkpoints.run, silent_s=machine.silent_s, meeting_s=machine.meeting_s)
    except ReelspaceError as ended:
        problem = checkpoints.store_last()
        if problem and isinstance(ended, TemporaryError):
            raise TemporaryError(f"{ended}, from the last checkpoint that is whole in the store: {problem}") from ended
        raise


def _leave(files: TrainingFiles, machine: Machine, ending: Ending) -> None:
    try:
        files.end(machine.number, ending)
    except ReelspaceError as error:
        # How it ended matters more than the word of it.
        log("ending_not_stored", exit_code=ending.exit_code, reason=str(error))


@dataclass
class _Sigterm:
    """What SIGTERM means before the launcher, which has its own handler; once that `is_over` it means nothing."""

    is_over: bool = False

    @contextmanager
    def handled(self) -> Iterator["_Sigterm"]:
        before = signal.signal(signal.SIGTERM, self._stop)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self.is_over:
            raise TemporaryError("stopped by SIGTERM before the training began; run again")
