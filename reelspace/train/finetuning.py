"""Fine-tuning: a task head over a model's fused vectors, and with it the model's last blocks where the settings say so.

Legend: B works of this process, N training works, F frames, L text tokens, K classes, D embedding dimension.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from reelspace.core.artifacts import canonical_json, open_artifact
from reelspace.core.errors import UserError
from reelspace.core.store import open_store
from reelspace.media.dataset import ShardReader
from reelspace.model.checkpoint import build_model, frozen, load_model, save_model, space_id
from reelspace.model.fusion import AttentionFusion
from reelspace.model.losses import Rows, multi_label
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.task_head import TaskHead, save_head
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.assembly import learned_with
from reelspace.train.augment import augment_frames
from reelspace.train.batches import Batch
from reelspace.train.finetune_settings import FinetuneSettings
from reelspace.train.finetune_works import FinetuneWorks, class_weights_K, read_works, rows_of_step
from reelspace.train.fingerprint import Fingerprint, fingerprint
from reelspace.train.group import Group
from reelspace.train.job import TrainJob
from reelspace.train.media_source import MediaSource, open_media
from reelspace.train.objective_base import Encoded, Objective
from reelspace.train.train_log import LOG_FILE

_HEAD, _MODEL = "head.", "model."
MediaFields = Callable[[NDArray[np.int64], int], Mapping[str, Tensor]]
"""Gives the media fields of a batch for some rows of the training works and a step."""


class FinetuneObjective(Objective):
    """A head, over stored vectors of a frozen model or over a model whose last blocks are trained with it."""

    def __init__(self, works: FinetuneWorks, model: ReelModel | None, settings: FinetuneSettings) -> None:
        super().__init__()
        self.is_single = works.facts.task == "single_label"
        self.smoothing = settings.label_smoothing
        self.head = make_head(works, settings)
        self.model = model
        balanced = settings.class_weights == "balanced"
        weights_K = class_weights_K(works.labels_NK, is_single=self.is_single) if balanced else np.ones(len(works.classes), np.float32)
        self.class_weights_K: Tensor
        self.ids_N: Tensor
        self.vectors_ND: Tensor
        self.register_buffer("class_weights_K", torch.from_numpy(weights_K), persistent=False)
        if works.vectors_ND is not None:
            order_N = np.argsort(works.ids_N)
            self.register_buffer("ids_N", torch.from_numpy(works.ids_N[order_N]), persistent=False)
            self.register_buffer("vectors_ND", torch.from_numpy(works.vectors_ND[order_N]), persistent=False)

    def encode(self, batch: Batch) -> Encoded:
        """Give the logits BK."""
        return {"logits_BK": self.head(self._vectors_BD(batch))}

    def losses(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the cross-entropy: of a softmax, or the mean over the classes of sigmoids'."""
        logits_BK, rows = encoded["logits_BK"].float(), Rows(self.gather, self.rank)
        every_B = torch.ones(len(logits_BK), dtype=torch.bool, device=logits_BK.device)
        if self.is_single:
            target_B = batch.labels_BS.argmax(dim=1)
            losses_B = functional.cross_entropy(logits_BK, target_B, reduction="none", label_smoothing=self.smoothing)
            loss = rows.mean(losses_B * self.class_weights_K.float()[target_B], every_B)
        else:
            labels_BK = batch.labels_BS * self.class_weights_K.float()
            loss = multi_label(logits_BK, labels_BK, batch.negative_weights_BS, every_B, 1.0, rows) / labels_BK.shape[1]
        return loss, {"loss_task": loss}

    def _vectors_BD(self, batch: Batch) -> Tensor:
        if self.model is None:
            return self.vectors_ND[torch.searchsorted(self.ids_N, batch.ids_B)]
        picture = self.model.picture(batch.views_VBFHWC[0], batch.picture_mask_BF)
        text = self.model.text(batch.text_BL, batch.text_mask_BL)
        return self.model.fuse(picture, text, self.model.sound(batch.mel_BWM, batch.audio_mask_B)).embedding_BD


@dataclass(frozen=True, slots=True)
class FinetuneBatches:
    """Gives a process's part of every step's batch: a pure function of (seed, step), whatever the number of processes."""

    works: FinetuneWorks
    settings: FinetuneSettings
    group: Group
    media: MediaFields

    def __call__(self, step: int) -> Batch:
        """Give the batch of a step."""
        settings, works = self.settings, self.works
        rows = rows_of_step(len(works.ids_N), settings.batch_size, settings.seed, step)[self.group.rank :: self.group.world_size]
        ids_B, labels_BK = works.ids_N[rows], works.labels_NK[rows]
        none_BL = torch.zeros(len(rows), 0, dtype=torch.int32)
        return Batch(
            ids_B=torch.from_numpy(ids_B),
            **self.media(rows, step),
            target_BL=none_BL,
            target_mask_BL=none_BL.bool(),
            has_target_B=torch.zeros(len(rows), dtype=torch.bool),
            target_hash_B=torch.zeros(len(rows), dtype=torch.int64),
            masked_BL=none_BL,
            unmasked_BL=none_BL,
            is_masked_BL=none_BL.bool(),
            label_columns_S=torch.arange(labels_BK.shape[1]),
            labels_BS=torch.from_numpy(labels_BK),
            negative_weights_BS=torch.ones(labels_BK.shape),
            step=step,
        )


def no_media(rows_B: NDArray[np.int64], _step: int) -> Mapping[str, Tensor]:
    """Give the media fields of a batch whose vectors are stored: nothing of each work."""
    num = len(rows_B)
    return {
        "views_VBFHWC": torch.zeros(1, num, 0, 0, 0, 3, dtype=torch.uint8),
        "picture_mask_BF": torch.zeros(num, 0, dtype=torch.bool),
        "mel_BWM": torch.zeros(num, 0, 0),
        "audio_mask_B": torch.zeros(num, dtype=torch.bool),
        "text_BL": torch.zeros(num, 0, dtype=torch.int32),
        "text_mask_BL": torch.zeros(num, 0, dtype=torch.bool),
    }


@dataclass(frozen=True, slots=True)
class PlainMedia:
    """Shows works as embedding does: every frame, sound and caption; pictures are augmented only where the settings say so."""

    source: MediaSource
    ids_N: NDArray[np.int64]
    text_NL: NDArray[np.int32]
    settings: FinetuneSettings

    @classmethod
    def open(
        cls, reader: ShardReader, ids_N: NDArray[np.int64], sizes: ModelSettings, tokenizer: Tokenizer, settings: FinetuneSettings
    ) -> Self:
        """Read the captions of works of the shards, and their media as the settings say."""
        rows_N = np.searchsorted(reader.video_ids, ids_N)
        text_NL, _ = tokenizer.encode_BL(reader.index["text"].take(rows_N).to_pylist())
        return cls(open_media(reader, ids_N, settings.reading, sizes), ids_N, text_NL, settings)

    def __call__(self, rows_B: NDArray[np.int64], step: int) -> Mapping[str, Tensor]:
        """Give the media fields of a batch."""
        media, text_BL = self.source.read(rows_B), torch.from_numpy(self.text_NL[rows_B])
        frames_BFHWC = torch.from_numpy(media.frames_BFHWC)
        present_BF = np.arange(frames_BFHWC.shape[1])[None, :] < media.num_frames_B[:, None]
        if self.settings.augment_views:
            frames_BFHWC = augment_frames(frames_BFHWC, self.ids_N[rows_B], self.settings.seed, step, "a", self.settings.augment)
        return {
            "views_VBFHWC": frames_BFHWC[None],
            "picture_mask_BF": torch.from_numpy(present_BF),
            "mel_BWM": torch.from_numpy(media.mel_BWM),
            "audio_mask_B": torch.from_numpy(media.has_audio_B),
            "text_BL": text_BL,
            "text_mask_BL": text_BL != 0,
        }


@dataclass(frozen=True, slots=True)
class Finetuning:
    """A fine-tuning about to begin."""

    objective: FinetuneObjective
    works: FinetuneWorks
    tokenizer: Tokenizer | None
    """Of a model that is trained too."""
    settings: FinetuneSettings
    media: MediaFields
    fingerprint: Fingerprint
    """What the weights depend on: settings, model, works, classes and where they start."""

    def batches(self, group: Group) -> FinetuneBatches:
        """Give the batches of one process."""
        return FinetuneBatches(self.works, self.settings, group, self.media)


def assemble_finetuning(job: TrainJob) -> Finetuning:
    """Read the prepared works and the model; equal jobs build equal weights in every process."""
    assert job.finetune is not None, "a job's validator saw to it"
    assert job.teacher is not None, "a job's validator saw to it"
    works, settings = read_works(job.labels), job.finetune
    torch.manual_seed(settings.seed)
    origin = _fingerprint(job, works)
    if not settings.train_blocks:
        return Finetuning(FinetuneObjective(works, None, settings), works, None, settings, no_media, origin)
    model, tokenizer, sizes = load_model(job.teacher)
    unfreeze(model, settings.train_blocks)
    reader = ShardReader(open_artifact(open_store(job.store), job.shards))
    media = PlainMedia.open(reader, works.ids_N, sizes, tokenizer, settings)
    return Finetuning(FinetuneObjective(works, model, settings), works, tokenizer, settings, media, origin)


def make_head(works: FinetuneWorks, settings: FinetuneSettings) -> TaskHead:
    """Give the untrained head that the settings name."""
    return TaskHead(works.start, settings.hidden if settings.head == "hidden" else None)


def unfreeze(model: ReelModel, num_blocks: int) -> None:
    """Let the last blocks of every tower and of the fusion train, with the norms and projections behind them; the rest stays frozen.

    Raises:
        UserError: the model is made of a public encoder's towers, or no tower has as many blocks.
    """
    # Exactly: subclasses hold other towers.
    if type(model) is not ReelModel:
        raise UserError(f"train_blocks is {num_blocks}, expected 0: the towers of a model made from a public encoder stay frozen")
    towers = (model.picture.tower, model.text.tower, model.sound.tower)
    deepest = max(len(tower.blocks) for tower in towers)
    if num_blocks > deepest:
        raise UserError(f"train_blocks is {num_blocks}, expected at most {deepest}, the blocks of the deepest tower of this model")
    frozen(model)
    parts: list[nn.Module] = [model.picture.pool]
    if isinstance(model.fusion, AttentionFusion):
        parts += [*model.fusion.blocks[-num_blocks:], model.fusion.norm, model.fusion.project]
    else:
        # A fusion without blocks is one block.
        parts.append(model.fusion)
    for tower in towers:
        parts += [*tower.blocks[-num_blocks:], tower.norm, tower.project]
    for part in parts:
        part.requires_grad_(True)


def write_head(job: TrainJob, tuning: Finetuning, weights: Mapping[str, Tensor]) -> None:
    """Write the files of a `head` artifact from the objective's weights, beside the log that is there already."""
    works, out = tuning.works, job.out
    head = make_head(works, tuning.settings)
    head.load_state_dict(_below(_HEAD, weights))
    tensors = head.tensors()
    classes, facts = works.classes, works.facts
    if works.kept is not None:
        tensors["weight_KC"] = torch.cat([works.kept.weight_LD, tensors["weight_KC"]])
        tensors["bias_K"] = torch.cat([works.kept.bias_L, tensors["bias_K"]])
        classes = (*works.kept.classes, *classes)
    num_trained = sum(parameter.numel() for parameter in head.parameters())
    if tuning.objective.model is not None and tuning.tokenizer is not None:
        model = build_model(tuning.objective.model.settings)
        model.load_state_dict(_below(_MODEL, weights))
        unfreeze(model, tuning.settings.train_blocks)
        num_trained += sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        save_model(out, model, tuning.tokenizer)
        facts = facts.model_copy(update={"space_id": space_id(out)})
        (out / "space.json").write_text(json.dumps({"space_id": facts.space_id, "dimension": facts.dimension}))
    save_head(out, facts, classes, tensors)
    last = json.loads((out / LOG_FILE).read_text().splitlines()[-1])
    summary = {
        "num_parameters_trained": num_trained,
        "steps": tuning.settings.steps,
        "works": len(works.ids_N),
        "classes": len(works.classes),
        "engine": tuning.settings.engine,
        "num_processes": tuning.settings.num_processes,
        **{name: last[name] for name in ("num_skipped", "loss", "samples_per_s")},
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1))


def _fingerprint(job: TrainJob, works: FinetuneWorks) -> Fingerprint:
    assert job.teacher is not None, "a job's validator saw to it"
    # Not the vectors: another machine's may differ in their last bits.
    parts = {
        "works": works.ids_N.tobytes(),
        "labels": works.labels_NK.tobytes(),
        "classes": canonical_json(works.classes),
        "model": (job.teacher / "model.safetensors").read_bytes(),
    }
    return fingerprint({"kind": job.kind, "shards": job.shards, **learned_with(job.run_settings)}, parts)


def _below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
