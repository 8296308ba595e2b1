"""What is trained: objective, data and tokenizer of a job, equal in every process, and the files of the trained model."""

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
from reelspace.model.checkpoint import build_model, save_model, space_id
from reelspace.model.model import ReelModel, num_parameters
from reelspace.model.presets import preset
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import WordMasks
from reelspace.train.data import TrainData, load_data
from reelspace.train.distillation import DistillObjective
from reelspace.train.fingerprint import Fingerprint, fingerprint
from reelspace.train.input_checks import check_tokens, warn_of_labels
from reelspace.train.job import TrainJob
from reelspace.train.label_head import LABEL_HEAD_FILE, GraphLabels, LabelHead, make_label_head
from reelspace.train.objective import PretrainObjective
from reelspace.train.public_encoders import checkpoint_digests, first_model
from reelspace.train.replayed import kept_vectors, space_of, start_label_head, start_model, start_sizes
from reelspace.train.settings import RunSettings
from reelspace.train.student import assemble_student, copy_labels
from reelspace.train.teacher_outputs import FACTS_FILE
from reelspace.train.train_log import LOG_FILE
from reelspace.train.word_masks import make_masks

_MODEL = "model."
_LABEL_HEAD = "label_head."
# What may differ between a run and its continuation, or is checked by the checkpoint's layout.
_NOT_IN_FINGERPRINT = frozenset(
    {
        "num_processes",
        "engine",
        "zero_stage",
        "offload",
        "checkpoint_activations",
        "checkpoint_every",
        "keep_checkpoints",
        "keep_best",
        "log_every",
    }
)


@dataclass(frozen=True, slots=True)
class Assembly:
    """A training about to begin."""

    objective: PretrainObjective | DistillObjective
    data: TrainData
    tokenizer: Tokenizer
    masks: WordMasks | None
    """What masked language modelling hides; None where it has no weight."""
    fingerprint: Fingerprint
    """What the weights depend on: settings, the model's sizes, works, labels, texts, tokenizer, teacher."""


def assemble(job: TrainJob) -> Assembly:
    """Load the data and build the model; equal jobs build equal weights in every process."""
    reader = ShardReader(open_artifact(open_store(job.store), job.shards))
    torch.manual_seed(job.run_settings.seed)
    if job.kind == "distill":
        objective, data, tokenizer = assemble_student(job, reader)
        return Assembly(objective, data, tokenizer, None, _fingerprint(job, data, tokenizer, objective.model.settings))
    assert job.pretrain is not None, "a job's validator saw to it"
    sizes = start_sizes(job.start, job.pretrain.model) if job.start else preset(job.pretrain.model)
    data = load_data(reader, job.labels, job.pretrain, sizes)
    warn_of_labels(data)
    model, tokenizer = start_model(job.start) if job.start else first_model(data, sizes, job.pretrain)
    check_tokens(tokenizer, model.settings.vocabulary_size)
    pretraining = _pretraining(job, data, model, tokenizer)
    masks = make_masks(data, tokenizer, job.pretrain, job.previous)
    return Assembly(pretraining, data, tokenizer, masks, _fingerprint(job, data, tokenizer, model.settings))


def _pretraining(job: TrainJob, data: TrainData, model: ReelModel, tokenizer: Tokenizer) -> PretrainObjective:
    settings = job.pretrain
    assert settings is not None, "the caller has them"
    head = make_label_head(data, tokenizer, settings, model.settings.dimension)
    if job.start is None or settings.replay is None:
        return PretrainObjective(model, head, settings.objective)
    if head is not None:
        start_label_head(head, job.start, data, model, tokenizer)
    return PretrainObjective(model, head, settings.objective, kept_vectors(job.start, data, settings.replay.keep))


def write_model(job: TrainJob, assembly: Assembly, weights: Mapping[str, Tensor]) -> None:
    """Write the files of a `teacher` or `student` artifact from the objective's weights, beside the log that is there already."""
    out, data = job.out, assembly.data
    model = build_model(assembly.objective.model.settings)
    model.load_state_dict({name.removeprefix(_MODEL): tensor for name, tensor in weights.items() if name.startswith(_MODEL)})
    save_model(out, model, assembly.tokenizer)
    if job.kind == "distill":
        copy_labels(job)
    else:
        _write_labels(job, assembly, model, weights)
    earlier = job.teacher or job.start
    space = space_of(earlier) if earlier else space_id(out)
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


def learned_with(settings: RunSettings) -> dict[str, object]:
    """Give the settings that a run and its continuation must share."""
    return {name: value for name, value in identity(settings).items() if name not in _NOT_IN_FINGERPRINT}


def _fingerprint(job: TrainJob, data: TrainData, tokenizer: Tokenizer, sizes: ModelSettings) -> Fingerprint:
    earlier = [directory for directory in (job.teacher, job.start, job.previous) if directory]
    teacher = b"".join((directory / "model.safetensors").read_bytes() for directory in earlier)
    checkpoints = checkpoint_digests(job.pretrain) if job.pretrain else []
    answers = (job.teacher_outputs / FACTS_FILE).read_bytes() if job.teacher_outputs else b""
    probe_BL, _ = tokenizer.encode_BL(data.corpus[:64])
    parts = {
        "works": data.ids_N.tobytes(),
        "labels": data.labels_NK.tobytes(),
        "label names": canonical_json(data.label_names),
        "texts": "\0".join(data.corpus).encode(),
        "tokenizer": probe_BL.tobytes(),
        "teacher": teacher,
        "teacher outputs": answers,
        "public checkpoints": canonical_json(checkpoints),
    }
    settings = {**learned_with(job.run_settings), "sizes": identity(sizes)}
    return fingerprint({"kind": job.kind, "shards": job.shards, **settings}, parts)


def _write_labels(job: TrainJob, assembly: Assembly, model: ReelModel, weights: Mapping[str, Tensor]) -> None:
    names = assembly.data.label_names
    columns = {
        "label_id": pa.array([label for label, _ in names], pa.int64()),
        "text": pa.array([text for _, text in names], pa.large_string()),
    }
    pq.write_table(pa.table(columns), job.out / "labels.parquet")
    assert job.pretrain is not None, "only pretraining makes labels"
    # A new one: the weights of the trained one may be spread over processes.
    head = make_label_head(assembly.data, assembly.tokenizer, job.pretrain, model.settings.dimension)
    if head is not None:
        head.load_state_dict({name.removeprefix(_LABEL_HEAD): tensor for name, tensor in weights.items() if name.startswith(_LABEL_HEAD)})
        head.refresh(model.eval().encode_text)
        save_file(_label_tensors(head, len(names)), job.out / LABEL_HEAD_FILE)


@torch.no_grad()
def _label_tensors(head: LabelHead, num_labels: int) -> dict[str, Tensor]:
    """Give unit classifiers, biases and scale of the K labels, and what they are made of."""
    every_K = torch.arange(num_labels)
    tensors = dict(head.state_dict())
    tensors |= {"label_vectors": head.classifiers(every_K), "label_bias": head.biases(every_K), "label_scale": head.scale}
    if isinstance(head, GraphLabels):
        rows = head.network.adjacency
        tensors |= {"graph.start_K1": rows.start_K1, "graph.column_E": rows.column_E, "graph.value_E": rows.value_E}
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().clone().contiguous() for name, tensor in tensors.items()
    }
