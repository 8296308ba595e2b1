"""Starts a training, watches it, and says how it ended: torchrun itself answers 1 to every failure.

exit.json in the run directory: {exit_code, error, message}; 0 done, 2 an input or setting is wrong, 75 try again, 70 a bug.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from reelspace.core.processes import child, stop
from reelspace.core.settings import read
from reelspace.train.heartbeat import SILENT_S, Watch
from reelspace.train.job import TrainJob, check_job

EXIT_FILE = "exit.json"
SAVE_GRACE_S = 60.0
_WATCH_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a training ended."""

    exit_code: int
    error: str = ""
    message: str = ""


def launch(config: Path, run: Path) -> Ending:
    """Run the training that `config` describes in `run`, which keeps checkpoints for the next try."""
    job = read(TrainJob, config.read_text())
    check_job(job)
    run.mkdir(parents=True, exist_ok=True)
    for stale in (*run.glob("exit*.json"), *run.glob("heartbeat-*")):
        stale.unlink()
    num_processes = job.run_settings.num_processes
    process = child(_command(config, run, num_processes), env=_environment(num_processes))
    watch = Watch(run, num_processes, time.time() - 1)
    previous = signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    try:
        ending = _wait(process, watch) or _ending(process.returncode, run)
    finally:
        signal.signal(signal.SIGTERM, previous)
        stop(process, SAVE_GRACE_S)
    (run / EXIT_FILE).write_text(json.dumps(asdict(ending)))
    return ending


def _command(config: Path, run: Path, num_processes: int) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(num_processes)]
    if "PET_NNODES" not in os.environ:
        torchrun += ["--nnodes", "1", "--master-addr", "127.0.0.1", "--master-port", str(_free_port())]
    return [*torchrun, "-m", "reelspace.train.worker", str(config), str(run)]


def _environment(num_processes: int) -> dict[str, str]:
    threads = str(max(1, (os.cpu_count() or 1) // num_processes))
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore::FutureWarning", "DS_ACCELERATOR": "cpu"}
    return {**os.environ, "OMP_NUM_THREADS": threads, **quiet}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", watch: Watch) -> Ending | None:
    """Wait for the end; gives an ending of our own when a process fell silent."""
    while True:
        try:
            process.wait(_WATCH_INTERVAL_S)
        except subprocess.TimeoutExpired:
            rank = watch.silent_rank()
            if rank is None:
                continue
            os.killpg(process.pid, signal.SIGKILL)
            return Ending(
                75, "TemporaryError", f"process {rank} gave no sign of life for {SILENT_S:.0f} s and was ended; run again to go on"
            )
        return None


def _ending(code: int, run: Path) -> Ending:
    if code == 0:
        return Ending(0)
    told = [Ending(**json.loads(path.read_text())) for path in sorted(run.glob("exit-*.json"))]
    # A bug or a wrong input in one process ends the others, which then report a lost connection.
    ranked = sorted(told, key=lambda ending: {2: 0, 70: 1}.get(ending.exit_code, 2))
    stopped = Ending(75, "TemporaryError", f"the training processes were ended from outside (torchrun answered {code}); run again to go on")
    return ranked[0] if ranked else stopped
