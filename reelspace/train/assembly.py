"""What is trained: objective, data and tokenizer of a job, equal in every process, and the files of the trained model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from reelspace.core.artifacts import canonical_json, open_artifact
from reelspace.core.settings import identity
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import load_model, save_model, space_id
from reelspace.model.model import ReelModel, num_parameters
from reelspace.model.presets import preset
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import TrainData, load_data
from reelspace.train.distillation import DistillObjective
from reelspace.train.job import TrainJob
from reelspace.train.objective import PretrainObjective
from reelspace.train.train_log import LOG_FILE

LABEL_HEAD_FILE = "label_head.safetensors"
_MODEL = "model."
_LABEL_HEAD = ("label_vectors", "label_bias", "label_scale")
# What may differ between a run and its continuation, or is checked by the checkpoint's layout.
_NOT_IN_FINGERPRINT = frozenset({"num_processes", "engine", "zero_stage", "checkpoint_every", "log_every"})


@dataclass(frozen=True, slots=True)
class Assembly:
    """A training about to begin."""

    objective: PretrainObjective | DistillObjective
    data: TrainData
    tokenizer: Tokenizer
    fingerprint: str
    """Hash of what the weights depend on: settings, works, labels, tokenizer."""


def assemble(job: TrainJob) -> Assembly:
    """Load the data and build the model; equal jobs build equal weights in every process."""
    reader = ShardReader(open_artifact(open_store(job.store), job.shards))
    torch.manual_seed(job.run_settings.seed)
    objective, data, tokenizer = _pretraining(job, reader) if job.kind == "pretrain" else _distillation(job, reader)
    return Assembly(objective, data, tokenizer, _fingerprint(job, data, tokenizer))


def write_model(job: TrainJob, assembly: Assembly, weights: Mapping[str, Tensor]) -> None:
    """Write the files of a `teacher` or `student` artifact from the objective's weights, beside the log that is there already."""
    out, data = job.out, assembly.data
    model = ReelModel(assembly.objective.model.settings)
    model.load_state_dict({name.removeprefix(_MODEL): tensor for name, tensor in weights.items() if name.startswith(_MODEL)})
    save_model(out, model, assembly.tokenizer)
    _write_labels(job, data, weights)
    space = json.loads((job.teacher / "space.json").read_text())["space_id"] if job.teacher else space_id(out)
    (out / "space.json").write_text(json.dumps({"space_id": space, "dimension": model.settings.dimension}))
    last = json.loads((out / LOG_FILE).read_text().splitlines()[-1])
    settings = job.run_settings
    summary = {
        "num_parameters": num_parameters(model),
        "steps": settings.steps,
        "works": len(data.ids_N),
        "labels": len(data.label_names),
        "engine": settings.engine,
        "num_processes": settings.num_processes,
        "num_skipped": last["num_skipped"],
        "loss": last["loss"],
        "samples_per_s": last["samples_per_s"],
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1))


def _pretraining(job: TrainJob, reader: ShardReader) -> tuple[PretrainObjective, TrainData, Tokenizer]:
    assert job.pretrain is not None, "a job's validator saw to it"
    sizes = preset(job.pretrain.model)
    data = load_data(reader, job.labels, job.pretrain, sizes, crowd=job.pretrain.crowd)
    tokenizer = Tokenizer.train(data.corpus, job.pretrain.vocabulary_size, sizes.text_length)
    model = ReelModel(sizes.model_copy(update={"vocabulary_size": max(64, tokenizer.size)}))
    return PretrainObjective(model, data.labels_NK.shape[1], job.pretrain.objective), data, tokenizer


def _distillation(job: TrainJob, reader: ShardReader) -> tuple[DistillObjective, TrainData, Tokenizer]:
    assert job.distill is not None, "a job's validator saw to it"
    assert job.teacher is not None, "a job's validator saw to it"
    teacher, tokenizer, facts = load_model(job.teacher)
    data = load_data(reader, job.labels, job.distill, facts, crowd=True)
    sizes = preset(job.distill.model).model_copy(update={"vocabulary_size": facts.vocabulary_size, "dimension": facts.dimension})
    return DistillObjective(ReelModel(sizes), teacher, job.distill), data, tokenizer


def _fingerprint(job: TrainJob, data: TrainData, tokenizer: Tokenizer) -> str:
    settings = {name: value for name, value in identity(job.run_settings).items() if name not in _NOT_IN_FINGERPRINT}
    teacher = (job.teacher / "model.safetensors").read_bytes() if job.teacher else b""
    digest = hashlib.sha256(canonical_json({"kind": job.kind, "settings": settings, "shards": job.shards, "labels": data.label_names}))
    for part in (data.ids_N.tobytes(), data.labels_NK.tobytes(), "\0".join(data.corpus).encode(), teacher):
        digest.update(hashlib.sha256(part).digest())
    probe_BL, _ = tokenizer.encode_BL(data.corpus[:64])
    digest.update(probe_BL.tobytes())
    return digest.hexdigest()


def _write_labels(job: TrainJob, data: TrainData, weights: Mapping[str, Tensor]) -> None:
    names = data.label_names
    columns = {
        "label_id": pa.array([label for label, _ in names], pa.int64()),
        "text": pa.array([text for _, text in names], pa.large_string()),
    }
    pq.write_table(pa.table(columns), job.out / "labels.parquet")
    head = {name: weights[name].float().contiguous() for name in _LABEL_HEAD if name in weights}
    if head and names:
        save_file(head, job.out / LABEL_HEAD_FILE)
