"""Train a task head, and the model's last blocks if asked to, on a labelled table, and measure it on works held out."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import UserError
from reelspace.core.progress import progress
from reelspace.core.settings import read
from reelspace.core.steps import StepRun, run_step
from reelspace.evaluate.task_figures import task_figures
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import load_model
from reelspace.model.inputs import video_inputs
from reelspace.model.model import ReelModel
from reelspace.model.task_head import TaskFacts, TrainedHead, load_head
from reelspace.model.tokenizer import Tokenizer
from reelspace.steps.finetune_start import head_start, kept_classifiers
from reelspace.steps.finetune_table import Chosen, choose, read_labelled
from reelspace.steps.training import CODE_ROOTS, run_training
from reelspace.train.finetune_settings import FinetuneSettings
from reelspace.train.finetune_works import FinetuneWorks
from reelspace.train.finetuning import make_head, unfreeze
from reelspace.train.job import TrainJob

Floats = NDArray[np.float32]
_MODELS = ("teacher", "student")


def run(model: str, shards: str, table: str, head: str, settings: str) -> None:
    """Write head.safetensors, labels.parquet, task.json, summary.json and train_log.jsonl; with train_blocks the whole model too.

    Args:
        model: a `teacher` or `student` artifact.
        table: of import_labelled, or a `labels` artifact.

    With train_blocks = 0 the head reads the model's own vectors. Above 0 the artifact has the files of a model, whose vectors are of a
    new space: they are not to be compared with the old ones.

    Raises:
        UserError: the table does not fit the shards or the task; the message says what to change.
    """
    parsed = read(FinetuneSettings, settings)
    run_step(
        "finetune",
        __name__,
        settings=parsed,
        inputs={"model": model, "shards": shards, "table": table},
        outputs={"head": head},
        code_roots=CODE_ROOTS,
        body=lambda step: _finetune(step, parsed),
    )


def _finetune(step: StepRun, settings: FinetuneSettings) -> Mapping[str, object]:
    base = step.inputs["model"]
    if base.manifest.kind not in _MODELS:
        raise UserError(f"model is an artifact of kind {base.manifest.kind}, expected {' or '.join(_MODELS)}")
    # One thread: sums in another order would give other vectors for the same works.
    torch.set_num_threads(1)
    model_at, table_at = base.fetch(step.scratch / "model"), step.inputs["table"].fetch(step.scratch / "table")
    reader = ShardReader(step.inputs["shards"])
    kept = kept_classifiers(model_at) if settings.extend else None
    labelled = read_labelled(table_at, step.inputs["table"].manifest.kind)
    chosen = choose(labelled, reader, settings, [text for _, text in kept.classes] if kept else [])
    model, tokenizer, _ = load_model(model_at)
    if settings.train_blocks:
        # Every process does so again: what cannot be is refused before any is started.
        unfreeze(model, settings.train_blocks)
    start = head_start(settings, chosen, model, tokenizer, model_at, table_at)
    vectors_ND = None if settings.train_blocks else embed_works(chosen.ids_N, model, tokenizer, reader, settings.embed_batch)
    trained_N = ~chosen.is_held_out_N
    works = FinetuneWorks(
        facts=_facts(base, model_at, chosen, model.settings.dimension, num_kept=len(kept.classes) if kept else 0),
        classes=chosen.classes,
        kept=kept,
        ids_N=chosen.ids_N[trained_N],
        labels_NK=chosen.labels_NK[trained_N],
        vectors_ND=None if vectors_ND is None else vectors_ND[trained_N],
        start=start,
    )
    works.write(step.scratch / "works")
    job = TrainJob(
        kind="finetune",
        store=step.store.url,
        shards=step.inputs["shards"].id,
        labels=step.scratch / "works",
        teacher=model_at,
        out=step.output("head"),
        finetune=settings,
    )
    summary = dict(run_training(step, job))
    held_out = _held_out(job, chosen, works, vectors_ND, reader)
    summary |= {**chosen.facts, "held_out": held_out}
    (job.out / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


def embed_works(ids_N: NDArray[np.int64], model: ReelModel, tokenizer: Tokenizer, reader: ShardReader, batch_size: int) -> Floats:
    """Give the fused vectors ND of works.

    Raises:
        UserError: a vector is not finite.
    """
    parts = []
    with progress(len(ids_N), "embed the labelled works") as bar, torch.inference_mode():
        for start in range(0, len(ids_N), batch_size):
            samples = reader.read_all(ids_N[start : start + batch_size].tolist())
            parts.append(model.encode_video(*video_inputs(samples, model.settings, tokenizer)).embedding_BD.numpy())
            bar.advance(len(samples))
    vectors_ND: Floats = np.concatenate(parts)
    wrong_N = ids_N[~np.isfinite(vectors_ND).all(axis=1)]
    if len(wrong_N):
        raise UserError(f"the model's vectors of {len(wrong_N)} of {len(ids_N)} works are not finite (work {wrong_N[0]}): it is of no use")
    return vectors_ND


def _facts(base: Artifact, model_at: Path, chosen: Chosen, dimension: int, num_kept: int) -> TaskFacts:
    space = json.loads((model_at / "space.json").read_text())["space_id"]
    return TaskFacts(task=chosen.task, num_classes=num_kept + len(chosen.classes), base=base.id, space_id=space, dimension=dimension)


def _held_out(job: TrainJob, chosen: Chosen, works: FinetuneWorks, vectors_ND: Floats | None, reader: ShardReader) -> dict[str, object]:
    """Measure the trained head on the held-out works, and where its classifiers did not start at zero, these beside it."""
    settings = job.finetune
    assert settings is not None, "made with them"
    held_N = chosen.is_held_out_N
    ids_N, labels_NK, is_single = chosen.ids_N[held_N], chosen.labels_NK[held_N], chosen.task == "single_label"
    if not len(ids_N):
        return {"works": 0}
    if vectors_ND is None:
        model, tokenizer, _ = load_model(job.out)
        held_ND = embed_works(ids_N, model, tokenizer, reader, settings.embed_batch)
    else:
        held_ND = vectors_ND[held_N]
    space = json.loads(((job.out if settings.train_blocks else job.teacher or job.out) / "space.json").read_text())["space_id"]
    head = load_head(job.out, space)
    own_K = slice(head.facts.num_classes - len(chosen.classes), None)
    figures: dict[str, object] = task_figures(head.scores_NK(held_ND)[:, own_K], labels_NK, is_single=is_single, seed=settings.seed)
    if settings.start != "zero" and vectors_ND is not None:
        facts = works.facts.model_copy(update={"num_classes": len(works.classes)})
        untrained = TrainedHead(facts, tuple(text for _, text in works.classes), make_head(works, settings).tensors())
        figures["at_start"] = task_figures(untrained.scores_NK(held_ND), labels_NK, is_single=is_single, seed=settings.seed)
    return figures
