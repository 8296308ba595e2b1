"""Starts a training, watches it, and says how it ended.

exit.json in the run directory: {exit_code, error, message}; 0 done, 2 an input or setting is wrong, 75 try again, 70 a bug.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from reelspace.core.errors import TemporaryError, UserError, as_reelspace_error
from reelspace.core.locks import locked_directory
from reelspace.core.processes import child, stop
from reelspace.core.settings import read
from reelspace.train.heartbeat import Watch
from reelspace.train.job import TrainJob, check_job
from reelspace.train.meeting import MANY_MACHINES, MEETING_S, Meeting
from reelspace.train.roster import Ending, Roster, cause

EXIT_FILE = "exit.json"
SAVE_GRACE_S = 60.0
_POLL_S = 0.1


def launch(config: Path, run: Path, *, parent: int | None = None, silent_s: float | None = None, meeting_s: float = MEETING_S) -> None:
    """Run the training that `config` describes in `run`, which keeps checkpoints for the next try; exit.json says how it ended.

    Args:
        parent: process that started this one; when it has ended, the training ends at once, without saving.
        silent_s: seconds without a sign of life of a process after which the training is ended; None: as its settings say.
        meeting_s: seconds that several machines have to find each other.

    Raises:
        ReelspaceError: as the training ended; SIGTERM lets it save first and is a TemporaryError.

    Environment: PET_NNODES, PET_NPROC_PER_NODE, PET_NODE_RANK, PET_MASTER_ADDR, PET_MASTER_PORT, as torchrun reads them: several
    machines that share `run`. Each keeps its records in `machine-<rank>`; exit.json of the first lies in `run` itself.
    """
    records = run / f"machine-{os.environ.get('PET_NODE_RANK', '0')}"
    records.mkdir(parents=True, exist_ok=True)
    exit_file = (run if records.name == "machine-0" else records) / EXIT_FILE
    exit_file.unlink(missing_ok=True)
    try:
        ending = _train(_Launch(config, run, records, silent_s, meeting_s), _Stop(parent))
    except Exception as caught:
        Ending.of(as_reelspace_error(caught)).write(exit_file)
        raise
    ending.write(exit_file)
    ending.raise_error()


@dataclass(frozen=True, slots=True)
class _Launch:
    config: Path
    run: Path
    records: Path
    silent_s: float | None
    meeting_s: float

    def job(self) -> TrainJob:
        if not self.config.is_file():
            raise UserError(f"--config {self.config}: expected the JSON file of a TrainJob, there is no such file")
        job = read(TrainJob, self.config.read_text())
        check_job(job)
        return job


@dataclass
class _Stop:
    """Whether SIGTERM or Ctrl-C came, and whether there is anybody left to save for."""

    parent: int | None
    is_asked: bool = False

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked = True

    @property
    def is_orphaned(self) -> bool:
        return self.parent is not None and os.getppid() != self.parent


def _train(launch: _Launch, asked: _Stop) -> Ending:
    job = launch.job()
    num_processes, silent_s = _num_processes(job), launch.silent_s or job.run_settings.silent_s
    roster = Roster(launch.records)
    with ExitStack() as stack:
        stack.enter_context(_signals(asked))
        # A launcher that was told to stop may need a moment to let go of it.
        stack.enter_context(locked_directory(launch.records, SAVE_GRACE_S, lambda: asked.is_asked))
        # Processes of a launcher that was killed must not write beside the new ones.
        roster.end_all()
        roster.clear()
        if MANY_MACHINES in os.environ:
            Meeting.read(os.environ).check(launch.meeting_s, lambda: asked.is_asked or asked.is_orphaned)
        meeting = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reelspace-train-")))
        agent = child(_command(launch, meeting, num_processes), env=_environment(num_processes))
        stack.callback(stop, agent)
        stack.callback(roster.end_all)
        watch = Watch(launch.records, num_processes, silent_s)
        silent = _wait(agent, roster, watch, asked)
        if not silent:
            return cause(roster.verdict(agent.returncode, num_processes), launch.run)
        return Ending.of(TemporaryError(f"{watch.complaint(silent)}: ended; run again to go on from the last checkpoint"))


def _wait(agent: "subprocess.Popen[bytes]", roster: Roster, watch: Watch, asked: _Stop) -> tuple[int, ...]:
    """Wait until the training ends or a process falls silent; gives the silent ones."""
    is_told = False
    while agent.poll() is None:
        if asked.is_orphaned:
            # The agent first, or it would wait for workers that are no more; workers that are only starting end with it.
            os.killpg(agent.pid, signal.SIGKILL)
            roster.end_all()
        elif asked.is_asked and not is_told:
            is_told = True
            # To the workers themselves, which save: torchrun would kill them after 30 s.
            if not roster.send(signal.SIGTERM):
                agent.terminate()
        silent = watch.silent_ranks()
        if silent:
            return silent
        time.sleep(_POLL_S)
    return ()


@contextmanager
def _signals(asked: _Stop) -> Iterator[None]:
    before = {number: signal.signal(number, asked.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _num_processes(job: TrainJob) -> int:
    """Give the processes of this machine; with several machines the platform says how many (PET_NPROC_PER_NODE)."""
    told = os.environ.get("PET_NPROC_PER_NODE", "")
    return int(told) if told.isdigit() else job.run_settings.num_processes


def _command(launch: _Launch, meeting: Path, num_processes: int) -> list[str]:
    torchrun = [sys.executable, "-m", "reelspace.train.agent", "--nproc-per-node", str(num_processes)]
    worker = ["-m", "reelspace.train.worker", *map(str, (launch.config, launch.run, launch.records))]
    if MANY_MACHINES in os.environ:
        return [*torchrun, *worker]
    # One machine meets in a file: torch's store would listen on every interface.
    place = ["--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file", "--rdzv-endpoint", str(meeting / "agent"), "--rdzv-id", "one"]
    return [*torchrun, "--nnodes", "1", *place, *worker, str(meeting / "workers")]


def _environment(num_processes: int) -> Mapping[str, str]:
    threads = str(max(1, len(os.sched_getaffinity(0)) // num_processes))
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore::FutureWarning"}
    loopback = {} if MANY_MACHINES in os.environ else {"GLOO_SOCKET_IFNAME": "lo", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return {"OMP_NUM_THREADS": threads, **os.environ, **quiet, **loopback}
