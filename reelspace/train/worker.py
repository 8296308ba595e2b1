"""One training process: torchrun starts as many as the settings ask, `python -m reelspace.train` starts torchrun."""

import argparse
import json
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from reelspace.core.artifacts import open_artifact
from reelspace.core.errors import as_reelspace_error
from reelspace.core.processes import die_with
from reelspace.core.settings import read
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import load_model, save_model, space_id
from reelspace.model.model import ReelModel, num_parameters
from reelspace.model.presets import preset
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import TrainData, load_data, make_batch
from reelspace.train.distillation import DistillObjective
from reelspace.train.engine import Engine
from reelspace.train.group import Group
from reelspace.train.heartbeat import beat
from reelspace.train.job import TrainJob
from reelspace.train.loop import LOG_FILE, Loop
from reelspace.train.objective import PretrainObjective
from reelspace.train.settings import RunSettings
from reelspace.train.torch_engine import TorchEngine


@dataclass(frozen=True, slots=True)
class Assembly:
    """What is trained: the objective, its data and tokenizer."""

    objective: PretrainObjective | DistillObjective
    data: TrainData
    tokenizer: Tokenizer


def main() -> int:
    """Train; a failure is written to exit-<rank>.json, since torchrun answers 1 to everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="JSON file of a TrainJob")
    parser.add_argument("run", type=Path, help="run directory")
    arguments = parser.parse_args()
    die_with(os.getppid())
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    try:
        train(read(TrainJob, arguments.config.read_text()), arguments.run, rank, world_size)
    except Exception as caught:
        error = as_reelspace_error(caught)
        facts = {"exit_code": error.exit_code, "error": type(error).__name__, "message": str(error)}
        (arguments.run / f"exit-{rank}.json").write_text(json.dumps(facts))
        if error.exit_code not in (2, 75):
            raise
        return error.exit_code
    return 0


def train(job: TrainJob, run: Path, rank: int, world_size: int) -> None:
    """Train in this process, together with the others of its group."""
    settings = job.run_settings
    beat(run, rank)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world_size))
    group = Group(rank, world_size)
    if settings.engine == "deepspeed":
        dist.init_process_group("gloo")
    torch.manual_seed(settings.seed)
    assembly = assemble(job)
    beat(run, rank)
    engine = make_engine(assembly, settings, group)
    batches = partial(make_batch, assembly.data, assembly.tokenizer, settings, rank=rank, world_size=world_size)
    Loop(engine, batches, settings, run, group).fit()
    weights = engine.weights()
    if rank == 0:
        assembly.objective.load_state_dict(weights)
        write_model(job, assembly, run)
    if dist.is_initialized():
        # Without the barrier one process may tear the group down under another and abort.
        dist.barrier()
        dist.destroy_process_group()


def assemble(job: TrainJob) -> Assembly:
    """Load the data and build the model; equal jobs build equal weights in every process."""
    reader = ShardReader(open_artifact(open_store(job.store), job.shards))
    settings = job.run_settings
    sizes = preset(settings.model)
    if job.pretrain is not None:
        data = load_data(reader, job.labels, settings, sizes, crowd=job.pretrain.crowd)
        tokenizer = Tokenizer.train(data.corpus, job.pretrain.vocabulary_size, sizes.text_length)
        model = ReelModel(sizes.model_copy(update={"vocabulary_size": max(64, tokenizer.size)}))
        return Assembly(PretrainObjective(model, data.labels_NK.shape[1], job.pretrain.objective), data, tokenizer)
    if job.distill is None or job.teacher is None:
        raise AssertionError("a job is one of two kinds, its validator saw to it")
    teacher, tokenizer, facts = load_model(job.teacher)
    data = load_data(reader, job.labels, settings, facts, crowd=True)
    student = ReelModel(sizes.model_copy(update={"vocabulary_size": facts.vocabulary_size, "dimension": facts.dimension}))
    return Assembly(DistillObjective(student, teacher, job.distill), data, tokenizer)


def make_engine(assembly: Assembly, settings: RunSettings, group: Group) -> Engine:
    """Give the engine that the settings name."""
    if settings.engine == "torch":
        return TorchEngine(assembly.objective, settings.optimizer)
    from reelspace.train.deepspeed_engine import DeepSpeedEngine  # loads DeepSpeed, which takes seconds, only where it trains

    return DeepSpeedEngine(assembly.objective, settings, group)


def write_model(job: TrainJob, assembly: Assembly, run: Path) -> None:
    """Write the files of a `teacher` or `student` artifact."""
    out, model = job.out, assembly.objective.model
    save_model(out, model, assembly.tokenizer)
    names = assembly.data.label_names
    columns = {
        "label_id": pa.array([label for label, _ in names], pa.int64()),
        "text": pa.array([text for _, text in names], pa.large_string()),
    }
    pq.write_table(pa.table(columns), out / "labels.parquet")
    space = json.loads((job.teacher / "space.json").read_text())["space_id"] if job.teacher else space_id(out)
    (out / "space.json").write_text(json.dumps({"space_id": space, "dimension": model.settings.dimension}))
    (out / "train_log.jsonl").write_bytes((run / LOG_FILE).read_bytes())
    settings = job.run_settings
    summary = {"num_parameters": num_parameters(model), "steps": settings.steps, "works": len(assembly.data.ids_N), "labels": len(names)}
    (out / "summary.json").write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    sys.exit(main())
