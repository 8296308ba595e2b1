"""One training process: torchrun starts as many as the settings ask, `python -m reelspace.train` starts torchrun."""

import argparse
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from reelspace.core.errors import InternalError, as_reelspace_error
from reelspace.core.processes import die_with
from reelspace.core.settings import read
from reelspace.train.agent import AGENT_VARIABLE
from reelspace.train.assembly import Assembly, assemble, write_model
from reelspace.train.batches import Batches
from reelspace.train.checkpoints import Checkpoints
from reelspace.train.engine import Engine
from reelspace.train.finetuning import Finetuning, assemble_finetuning, write_head
from reelspace.train.fingerprint import digest
from reelspace.train.group import Group
from reelspace.train.heartbeat import beating
from reelspace.train.job import CHECKPOINTS, TrainJob, check_job
from reelspace.train.loop import Loop, LoopPlace, MakeBatch
from reelspace.train.meeting import NO_SHARED_DISK, lost_connection
from reelspace.train.mlflow_run import TOKEN_VARIABLE
from reelspace.train.prefetch import Prefetch
from reelspace.train.roster import Roster
from reelspace.train.settings import RunSettings
from reelspace.train.torch_engine import TorchEngine
from reelspace.train.tracking import open_sinks
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
    local_rank = int(os.environ["LOCAL_RANK"])
    is_first_here = local_rank == 0 if NO_SHARED_DISK in os.environ else None
    group = Group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), _device(local_rank), is_first_here)
    place = WorkerPlace(arguments.run, arguments.records, arguments.meeting, group, local_rank)
    roster = Roster(place.records)
    roster.enter(str(place.local_rank), os.getpid())
    try:
        train(read(TrainJob, arguments.config.read_text()), place)
    except Exception as caught:  # noqa: BLE001  the outermost frame: nothing is above that could handle it
        error = as_reelspace_error(caught)
        if isinstance(error, InternalError):
            error = lost_connection(caught) or error
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
    # The launcher knows the settings only, the platform may have started more.
    check_job(job, group.world_size)
    with beating(place.records, place.local_rank, _SETUP_LIMIT_S):
        if settings.engine == "deepspeed" or not group.is_alone:
            _meet(place)
        assembly = assemble_finetuning(job) if job.kind == "finetune" else assemble(job)
        engine = make_engine(assembly, settings, group)
    with Prefetch(_batches(assembly, settings, group), settings.steps, settings.reading.prefetch) as batches:
        make_loop(job, assembly, engine, place, batches).fit()
    with beating(place.records, place.local_rank, _SETUP_LIMIT_S):
        weights = engine.weights()
        if group.rank == 0:
            if isinstance(assembly, Finetuning):
                write_head(job, assembly, weights)
            else:
                write_model(job, assembly, weights)
        if dist.is_initialized():
            # Without the barrier one process may tear the group down under another and abort.
            dist.barrier()
            dist.destroy_process_group()


def make_engine(assembly: Assembly | Finetuning, settings: RunSettings, group: Group) -> Engine:
    """Give the engine that the settings name."""
    if settings.engine == "torch":
        return TorchEngine(assembly.objective, settings, group)
    from reelspace.train.deepspeed_engine import DeepSpeedEngine  # optional: DeepSpeed loads for seconds, the plain engine needs none

    return DeepSpeedEngine(assembly.objective, settings, group)


def make_loop(job: TrainJob, assembly: Assembly | Finetuning, engine: Engine, place: WorkerPlace, batches: MakeBatch) -> Loop:
    """Join engine and batches."""
    settings, group = job.run_settings, place.group
    log = TrainLog(job.out / LOG_FILE, is_writer=group.rank == 0)
    token = os.environ.get(TOKEN_VARIABLE)
    sinks = open_sinks(job, digest(assembly.fingerprint), place.run, token) if group.rank == 0 else ()
    unfinished = job.unfinished or place.run / ".unfinished"
    kept = (settings.keep_checkpoints, settings.keep_best)
    checkpoints = Checkpoints(place.run / CHECKPOINTS, unfinished, group, assembly.fingerprint, *kept)
    return Loop(engine, batches, settings, group, LoopPlace(place.records, place.local_rank, log, checkpoints, sinks))


def _batches(assembly: Assembly | Finetuning, settings: RunSettings, group: Group) -> MakeBatch:
    if isinstance(assembly, Finetuning):
        return assembly.batches(group)
    return Batches(assembly.data, assembly.tokenizer, settings, group, assembly.masks)


def _device(local_rank: int) -> torch.device:
    """Give the GPU of this process where there are any; DeepSpeed is told to take the same."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
        return torch.device("cpu")
    os.environ["DS_ACCELERATOR"] = "cuda"
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _meet(place: WorkerPlace) -> None:
    group = place.group
    method = None if place.meeting is None else f"file://{place.meeting}"
    backend = "gloo" if group.device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, init_method=method, rank=group.rank, world_size=group.world_size)


if __name__ == "__main__":
    sys.exit(main())
