"""One training process: torchrun starts as many as the settings ask, `python -m reelspace.train` starts torchrun."""

import argparse
import os
import sys
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch.distributed as dist

from reelspace.core.errors import InternalError, as_reelspace_error
from reelspace.core.processes import die_with
from reelspace.core.settings import read
from reelspace.train.agent import AGENT_VARIABLE
from reelspace.train.assembly import Assembly, assemble, write_model
from reelspace.train.batches import make_batch
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.engine import Engine
from reelspace.train.group import Group
from reelspace.train.heartbeat import beating
from reelspace.train.job import CHECKPOINTS, TrainJob
from reelspace.train.loop import Loop, LoopPlace
from reelspace.train.roster import Roster
from reelspace.train.settings import RunSettings
from reelspace.train.torch_engine import TorchEngine
from reelspace.train.train_log import LOG_FILE, TrainLog

_SETUP_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Where a process stands: the run shared by all, its machine's records, and where processes meet (None: as torchrun says)."""

    run: Path
    records: Path
    meeting: Path | None
    group: Group
    local_rank: int


def main() -> int:
    """Train; how a failed process ended is written to its machine's records, since torchrun answers 1 to everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="JSON file of a TrainJob")
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("records", type=Path, help="directory of this machine's records")
    parser.add_argument("meeting", type=Path, nargs="?", help="file where the processes of one machine meet")
    arguments = parser.parse_args()
    die_with(int(os.environ[AGENT_VARIABLE]))
    group = Group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    place = WorkerPlace(arguments.run, arguments.records, arguments.meeting, group, int(os.environ["LOCAL_RANK"]))
    roster = Roster(place.records)
    roster.enter(str(place.local_rank), os.getpid())
    try:
        train(read(TrainJob, arguments.config.read_text()), place)
    except Exception as caught:  # noqa: BLE001  the outermost frame: nothing is above that could handle it
        error = as_reelspace_error(caught)
        roster.leave(str(place.local_rank), error)
        if isinstance(error, InternalError):
            traceback.print_exception(caught)
        sys.stderr.flush()
        # At once: the process group's own end waits for the others, which may be gone.
        os._exit(error.exit_code)
    return 0


def train(job: TrainJob, place: WorkerPlace) -> None:
    """Train in this process, together with the others of its group."""
    settings, group = job.run_settings, place.group
    with beating(place.records, place.local_rank, _SETUP_LIMIT_S):
        if settings.engine == "deepspeed":
            _meet(place)
        assembly = assemble(job)
        engine = make_engine(assembly, settings, group)
    make_loop(job, assembly, engine, place).fit()
    with beating(place.records, place.local_rank, _SETUP_LIMIT_S):
        weights = engine.weights()
        if group.rank == 0:
            write_model(job, assembly, weights)
        if dist.is_initialized():
            # Without the barrier one process may tear the group down under another and abort.
            dist.barrier()
            dist.destroy_process_group()


def make_engine(assembly: Assembly, settings: RunSettings, group: Group) -> Engine:
    """Give the engine that the settings name."""
    if settings.engine == "torch":
        return TorchEngine(assembly.objective, settings.optimizer)
    from reelspace.train.deepspeed_engine import DeepSpeedEngine  # optional: DeepSpeed loads for seconds, the plain engine needs none

    return DeepSpeedEngine(assembly.objective, settings, group)


def make_loop(job: TrainJob, assembly: Assembly, engine: Engine, place: WorkerPlace) -> Loop:
    """Join engine and batches."""
    settings, group = job.run_settings, place.group
    batches = partial(
        make_batch, assembly.data, assembly.tokenizer, settings, rank=group.rank, world_size=group.world_size, masks=assembly.masks
    )
    log = TrainLog(job.out / LOG_FILE, is_writer=group.rank == 0)
    checkpoints = Checkpoints(place.run / CHECKPOINTS, job.unfinished or place.run / ".unfinished", group, assembly.fingerprint)
    return Loop(engine, batches, settings, group, LoopPlace(place.records, place.local_rank, log, checkpoints))


def _meet(place: WorkerPlace) -> None:
    group = place.group
    method = None if place.meeting is None else f"file://{place.meeting}"
    dist.init_process_group("gloo", init_method=method, rank=group.rank, world_size=group.world_size)


if __name__ == "__main__":
    sys.exit(main())
