"""Batches: a pure function of (seed, step), whatever the number of processes and wherever the media lie.

Legend: N works, B works of a batch, V views, F frames, H W pixels, C channels, W windows, M mel bands, L text tokens, K labels,
S labels of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xxhash import xxh64_intdigest

from reelspace.core.errors import UserError
from reelspace.core.rng import uniform_BN
from reelspace.model.losses import negative_importance
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.augment import augment_frames, corrupt_tokens, swap_backgrounds
from reelspace.train.data import TrainData
from reelspace.train.group import Group
from reelspace.train.media_source import Media
from reelspace.train.order import order_of
from reelspace.train.settings import RunSettings, TrainSettings
from reelspace.train.views import View, picture_names, view_of

_ALONE = Group()


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's part of a global batch, augmented."""

    ids_B: Tensor
    views_VBFHWC: Tensor
    picture_mask_BF: Tensor
    mel_BWM: Tensor
    audio_mask_B: Tensor
    text_BL: Tensor
    text_mask_BL: Tensor
    target_BL: Tensor
    target_mask_BL: Tensor
    has_target_B: Tensor
    target_hash_B: Tensor
    masked_BL: Tensor
    """The target text, clean but for its masked tokens; no columns where no words are masked."""
    unmasked_BL: Tensor
    is_masked_BL: Tensor
    label_columns_S: Tensor
    """Which of the K labels this batch asks about: the same on every process."""
    labels_BS: Tensor
    negative_weights_BS: Tensor
    """Weight of the label's absence in the loss."""
    step: int

    def parts(self, num: int) -> list["Batch"]:
        """Cut the batch into parts of as many works; the processes' parts of one number hold the same works whatever their number is."""
        pieces = {field.name: _cut(field.name, getattr(self, field.name), num) for field in fields(self)}
        return [Batch(**{name: values[part] for name, values in pieces.items()}) for part in range(num)]

    def to(self, device: torch.device) -> "Batch":
        """Give the batch on a device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self) if field.name != "step"})


class WordMasks(Protocol):
    """Chooses what masked language modelling hides."""

    def mask_BL(self, texts: Sequence[str], ids_B: NDArray[np.int64], step: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Give the tokens with the masked ones replaced, and which are masked; as wide as the tokenizer's length."""


def _cut(name: str, value: Any, num: int) -> Sequence[Any]:
    if name in ("step", "label_columns_S"):
        return [value] * num
    return torch.tensor_split(value, num, dim=1 if name == "views_VBFHWC" else 0)


class Batches:
    """The batches of one process in one training, by step; several threads may ask at once.

    Raises:
        UserError: a batch is larger than the corpus, or cannot be split evenly over the processes.
    """

    def __init__(
        self, data: TrainData, tokenizer: Tokenizer, settings: RunSettings, group: Group = _ALONE, masks: WordMasks | None = None
    ) -> None:
        if settings.batch_size % group.world_size:
            raise UserError(f"batch_size is {settings.batch_size}, expected a multiple of the {group.world_size} processes that train")
        self._data, self._tokenizer, self._settings = data, tokenizer, settings
        self._group, self._masks = group, masks
        self._order = order_of(data, settings)

    def __call__(self, step: int) -> Batch:
        """Give this process's rows of the step's global batch; every process gets as many."""
        showing = Showing(step, view_of(self._settings, step), self._group.rank, self._group.world_size, self._masks)
        return show_works(self._data, self._tokenizer, self._settings, self._order(step), showing)


def make_batch(
    data: TrainData, tokenizer: Tokenizer, settings: RunSettings, step: int, rank: int, world_size: int, masks: WordMasks | None = None
) -> Batch:
    """Give one batch by itself; who wants many asks `Batches`."""
    return Batches(data, tokenizer, settings, Group(rank, world_size), masks)(step)


@dataclass(frozen=True, slots=True)
class Showing:
    """How works are shown: in a step, by the draws of a view, this process's share of them (all, where there is one), with masked words."""

    step: int
    view: View
    rank: int = 0
    world_size: int = 1
    masks: WordMasks | None = None


def show_works(data: TrainData, tokenizer: Tokenizer, settings: RunSettings, global_rows: NDArray[np.int64], showing: Showing) -> Batch:
    """Give the batch of this process's share of some rows; what a work looks like depends on the view and the work alone."""
    step, view, masks = showing.step, showing.view, showing.masks
    rows = global_rows[showing.rank :: showing.world_size]
    ids_B = data.ids_N[rows]
    augment = settings.augment
    drops = uniform_BN(view.seed, view.number, ids_B, "drop", 3)
    sources, targets = _choose_targets(data, rows, settings, view)
    # The caption is hidden whenever it is the target, or the model would only copy.
    hide_text = (drops[:, 0] < augment.drop_text) | (sources == "caption")
    own = ["" if hide else data.texts_N[row].caption for row, hide in zip(rows, hide_text, strict=True)]
    own_BL, clean_BL = (tokenizer.encode_BL(texts)[0] for texts in (own, targets))
    text_BL, target_BL = (
        _trimmed(corrupt_tokens(part_BL, ids_B, view.seed, view.number, purpose, tokenizer.size, augment))
        for part_BL, purpose in ((own_BL, "own"), (clean_BL, "target"))
    )
    media = data.media.read(rows)
    views = [_view(data, rows, media, settings, view, name) for name in picture_names(settings)]
    has_picture = media.num_frames_B > 0
    shown_BF = np.repeat((has_picture & (drops[:, 2] >= augment.drop_picture))[:, None], augment.num_view_frames, axis=1)
    columns_S, importance_S = label_columns(data, settings, step, global_rows)
    return Batch(
        ids_B=torch.from_numpy(ids_B),
        views_VBFHWC=torch.stack(views),
        picture_mask_BF=torch.from_numpy(shown_BF),
        mel_BWM=torch.from_numpy(media.mel_BWM),
        audio_mask_B=torch.from_numpy(media.has_audio_B & (drops[:, 1] >= augment.drop_sound)),
        text_BL=torch.from_numpy(text_BL),
        text_mask_BL=torch.from_numpy(text_BL != 0),
        target_BL=torch.from_numpy(target_BL),
        target_mask_BL=torch.from_numpy(target_BL != 0),
        has_target_B=torch.tensor([bool(text) for text in targets]),
        target_hash_B=torch.tensor([hash_text(text) for text in targets]),
        **_masked(targets, _trimmed(clean_BL), ids_B, step, masks),
        label_columns_S=torch.from_numpy(columns_S),
        labels_BS=torch.from_numpy(data.labels_NK[np.ix_(rows, columns_S)]),
        negative_weights_BS=torch.from_numpy(np.repeat(importance_S[None, :], len(rows), axis=0)),
        step=step,
    )


def label_columns(
    data: TrainData, settings: RunSettings, step: int, global_rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Choose the labels a batch asks about: those of its works, and `label_negatives` of the others.

    Returns:
        columns_S, rising, and the weight of an absence of each: the chance that it is a true one, and for a sampled label times the
        labels it stands for.
    """
    num_labels = data.labels_NK.shape[1]
    weights_K = np.ones(num_labels, dtype=np.float32) if data.label_facts is None else data.label_facts.negative_weights_K
    wanted = settings.label_negatives if isinstance(settings, TrainSettings) else None
    present_K = (data.labels_NK[global_rows] > 0).any(axis=0)
    others = np.flatnonzero(~present_K)
    if wanted is None or wanted >= len(others):
        return np.arange(num_labels), weights_K
    draws = uniform_BN(settings.seed, step, np.array([data.label_names[column][0] for column in others], dtype=np.int64), "label", 1)[:, 0]
    sampled = others[np.argsort(draws, kind="stable")[:wanted]]
    columns_S = np.sort(np.concatenate([np.flatnonzero(present_K), sampled]))
    importance_S = np.where(present_K[columns_S], 1.0, negative_importance(len(others), wanted))
    return columns_S, (weights_K[columns_S] * importance_S).astype(np.float32)


def _masked(
    targets: Sequence[str], unmasked_BL: NDArray[np.int32], ids_B: NDArray[np.int64], step: int, masks: WordMasks | None
) -> dict[str, Tensor]:
    if masks is None:
        none = torch.zeros(len(targets), 0, dtype=torch.int32)
        return {"masked_BL": none, "unmasked_BL": none, "is_masked_BL": none.bool()}
    masked_BL, is_masked_BL = (part[:, : unmasked_BL.shape[1]] for part in masks.mask_BL(targets, ids_B, step))
    parts = {"masked_BL": masked_BL, "unmasked_BL": unmasked_BL, "is_masked_BL": is_masked_BL}
    return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}


def _trimmed(ids_BL: NDArray[np.int32]) -> NDArray[np.int32]:
    """Leave out the columns that are padding in every row; one stays."""
    return ids_BL[:, : max(1, int((ids_BL != 0).sum(axis=1).max()))]


def hash_text(text: str) -> int:
    """Give equal texts equal numbers, in any process."""
    return xxh64_intdigest(text.encode()) >> 1


def _view(data: TrainData, rows: NDArray[np.int64], media: Media, settings: RunSettings, view: View, name: str) -> Tensor:
    """Pick random frames of each work and augment them."""
    ids_B = data.ids_N[rows]
    seed, step = view.seed, view.number
    draws = uniform_BN(seed, step, ids_B, f"frame {name}", settings.augment.num_view_frames)
    picked = (draws * np.maximum(media.num_frames_B, 1)[:, None]).astype(np.int64)
    frames = torch.from_numpy(media.frames_BFHWC[np.arange(len(rows))[:, None], picked])
    if settings.augment.swap_background > 0:
        others = uniform_BN(seed, step, ids_B, f"other {name}", 1)[:, 0]
        partners = torch.from_numpy(data.media.first_frames_B1HWC((others * len(data.ids_N)).astype(np.int64)))
        frames = swap_backgrounds(frames, partners, ids_B, seed, step, name, settings.augment)
    return augment_frames(frames, ids_B, seed, step, name, settings.augment)


def _choose_targets(data: TrainData, rows: NDArray[np.int64], settings: RunSettings, view: View) -> tuple[NDArray[np.str_], list[str]]:
    """Draw the text side of each work: a satisfied query, its caption, or a chosen comment."""
    draws = uniform_BN(view.seed, view.number, data.ids_N[rows], "target", 2)
    shares = settings.text_side
    sources, targets = [], []
    for row, (which, item) in zip(rows, draws, strict=True):
        texts = data.texts_N[row]
        options = {
            "query": (shares.query_share, texts.queries),
            "caption": (shares.caption_share, (texts.caption,) if texts.caption else ()),
            "comment": (shares.comment_share, texts.comments),
        }
        filled = [(name, share, choices) for name, (share, choices) in options.items() if share > 0 and choices]
        if not filled:
            sources.append("none")
            targets.append("")
            continue
        name, choices = _pick(filled, which)
        sources.append(name)
        targets.append(choices[int(item * len(choices))])
    return np.array(sources), targets


def _pick(shares: list[tuple[str, float, tuple[str, ...]]], draw: float) -> tuple[str, tuple[str, ...]]:
    total = sum(share for _, share, _ in shares)
    for name, share, choices in shares:
        if draw * total < share:
            return name, choices
        draw -= share / total
    return shares[-1][0], shares[-1][2]
