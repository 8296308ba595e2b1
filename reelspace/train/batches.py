"""Training data in memory and its batches: a batch is a pure function of (seed, step), whatever the number of processes.

Legend: N works, B works of a batch, V views, F frames, H W pixels, C channels, W windows, M mel bands, L text tokens, K labels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from xxhash import xxh64_intdigest

from reelspace.core.errors import UserError
from reelspace.core.rng import uniform_BN
from reelspace.media.dataset import ShardReader
from reelspace.media.sample import Sample
from reelspace.model.inputs import audio_of, frames_of
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.model.towers import SoundTower
from reelspace.train.augment import augment_frames, corrupt_tokens
from reelspace.train.settings import RunSettings

_MEL_CHUNK = 64
_MIN_WORKS_PER_LABEL = 2


@dataclass(frozen=True, slots=True)
class Texts:
    """What was written about one work: by its author, and by the crowd."""

    caption: str
    queries: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainData:
    """Works that train, in memory."""

    ids_N: NDArray[np.int64]
    frames_NFHWC: NDArray[np.uint8]
    num_frames_N: NDArray[np.int64]
    mel_NWM: NDArray[np.float32]
    has_audio_N: NDArray[np.bool_]
    texts_N: tuple[Texts, ...]
    labels_NK: NDArray[np.float32]
    """Weight of each label in the loss; 0: the work does not have it."""
    label_names: tuple[tuple[int, str], ...]
    """label_id and text of the K columns."""

    @property
    def corpus(self) -> list[str]:
        """Every text, for training the tokenizer."""
        return [text for texts in self.texts_N for text in (texts.caption, *texts.queries, *texts.comments) if text]


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
    labels_BK: Tensor


def load_data(reader: ShardReader, labels: Path, settings: RunSettings, model: ModelSettings, *, crowd: bool) -> TrainData:
    """Read the works that may train: uploaded before `train_until`, with the crowd's texts and labels joined by id.

    Args:
        labels: the files of a fetched `labels` artifact; read only with `crowd`.
        model: sizes of frames, sound and text; a student's data take its teacher's.

    Raises:
        UserError: fewer than two works may train.
    """
    samples = [sample for sample in reader.read_all(reader.video_ids.tolist()) if _may_train(sample.created_at, settings.train_until)]
    if len(samples) < 2:
        raise UserError(f"expected at least 2 works uploaded before {settings.train_until}, got {len(samples)}")
    frames = [frames_of(sample, model) for sample in samples]
    audio = [audio_of(sample, model) for sample in samples]
    ids_N = np.array([sample.video_id for sample in samples], dtype=np.int64)
    names, labels_NK = _labels(labels, ids_N) if crowd else ((), np.zeros((len(samples), 0), dtype=np.float32))
    return TrainData(
        ids_N=ids_N,
        frames_NFHWC=np.stack([part for part, _ in frames]),
        num_frames_N=np.array([int(mask.sum()) for _, mask in frames]),
        mel_NWM=log_mel_NWM(np.stack([part for part, _ in audio]), model),
        has_audio_N=np.array([present for _, present in audio]),
        texts_N=_texts(labels, samples, crowd=crowd),
        labels_NK=labels_NK,
        label_names=names,
    )


def log_mel_NWM(audio_NS: NDArray[np.int16], model: ModelSettings) -> NDArray[np.float32]:
    """Compute the spectra once, with the model's own function; they never change."""
    tower = SoundTower(model)
    with torch.inference_mode():
        parts = [
            tower.log_mel(torch.from_numpy(audio_NS[start : start + _MEL_CHUNK])).numpy() for start in range(0, len(audio_NS), _MEL_CHUNK)
        ]
    return np.concatenate(parts)


def _may_train(created_at: datetime, until: datetime | None) -> bool:
    return until is None or created_at < until


def _texts(labels: Path, samples: Sequence[Sample], *, crowd: bool) -> tuple[Texts, ...]:
    if not crowd:
        return tuple(Texts(sample.text) for sample in samples)
    rows = {row["video_id"]: row for row in pq.read_table(labels / "texts.parquet").to_pylist()}
    empty: dict[str, list[str]] = {"queries": [], "comments": []}
    return tuple(
        Texts(sample.text, tuple(rows.get(sample.video_id, empty)["queries"]), tuple(rows.get(sample.video_id, empty)["comments"]))
        for sample in samples
    )


def _labels(directory: Path, ids_N: NDArray[np.int64]) -> tuple[tuple[tuple[int, str], ...], NDArray[np.float32]]:
    """Give the labels of at least two training works, and each work's: how sure it is, times how rare and fresh the label is."""
    vocabulary = pq.read_table(directory / "vocabulary.parquet", columns=["label_id", "text"]).to_pylist()
    table = pq.read_table(directory / "video_labels.parquet", columns=["video_id", "label_id", "weight"]).to_pylist()
    weight_of = {row["label_id"]: row["weight"] for row in pq.read_table(directory / "weights.parquet").to_pylist()}
    row_of = {int(video_id): row for row, video_id in enumerate(ids_N)}
    uses = [row for row in table if row["video_id"] in row_of]
    num_works = Counter(use["label_id"] for use in uses)
    names = tuple((row["label_id"], row["text"]) for row in vocabulary if num_works[row["label_id"]] >= _MIN_WORKS_PER_LABEL)
    column_of = {label_id: column for column, (label_id, _) in enumerate(names)}
    labels_NK = np.zeros((len(ids_N), len(names)), dtype=np.float32)
    for use in uses:
        if use["label_id"] in column_of:
            labels_NK[row_of[use["video_id"]], column_of[use["label_id"]]] = use["weight"] * weight_of[use["label_id"]]
    return names, labels_NK


def batch_rows(data: TrainData, settings: RunSettings, step: int, weights_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw the global batch of a step: weighted, without replacement (Efraimidis and Spirakis, 2006: the largest u^(1/w))."""
    draws_N = uniform_BN(settings.seed, step, data.ids_N, "sample", 1)[:, 0]
    keys_N = np.log(np.maximum(draws_N, 1e-300)) / weights_N
    return np.sort(np.argsort(-keys_N, kind="stable")[: settings.batch_size]).astype(np.int64)


def sample_weights_N(data: TrainData) -> NDArray[np.float64]:
    """Weight works by the inverse square root of their rarest label's frequency; works without labels weigh as the mean."""
    if not data.labels_NK.shape[1]:
        return np.ones(len(data.ids_N))
    present = data.labels_NK > 0
    counts_K = np.maximum(present.sum(axis=0), 1)
    inverse_NK = np.where(present, 1 / np.sqrt(counts_K), np.nan)
    labelled = present.any(axis=1)
    weights = np.ones(len(data.ids_N))
    if labelled.any():
        weights[labelled] = np.nanmean(inverse_NK[labelled], axis=1)
        weights[labelled] /= weights[labelled].mean()
    return np.clip(weights, 0.3, 3.0)


def make_batch(data: TrainData, tokenizer: Tokenizer, settings: RunSettings, step: int, rank: int, world_size: int) -> Batch:
    """Give this rank's rows of the step's global batch; every rank gets as many."""
    rows = batch_rows(data, settings, step, sample_weights_N(data))
    rows = rows[: len(rows) // world_size * world_size][rank::world_size]
    ids_B = data.ids_N[rows]
    augment = settings.augment
    drops = uniform_BN(settings.seed, step, ids_B, "drop", 3)
    sources, targets = _choose_targets(data, rows, settings, step)
    # The caption is hidden whenever it is the target, or the model would only copy.
    hide_text = (drops[:, 0] < augment.drop_text) | (sources == "caption")
    own = ["" if hide else data.texts_N[row].caption for row, hide in zip(rows, hide_text, strict=True)]
    text_BL, target_BL = (
        corrupt_tokens(tokenizer.encode_BL(texts)[0], ids_B, settings.seed, step, purpose, tokenizer.size, augment)
        for texts, purpose in ((own, "own"), (targets, "target"))
    )
    text_BL, target_BL = (ids_BL[:, : max(1, int((ids_BL != 0).sum(axis=1).max()))] for ids_BL in (text_BL, target_BL))
    views = [_view(data, rows, settings, step, name) for name in ("a", "b")]
    has_picture = data.num_frames_N[rows] > 0
    shown_BF = np.repeat((has_picture & (drops[:, 2] >= augment.drop_picture))[:, None], augment.num_view_frames, axis=1)
    return Batch(
        ids_B=torch.from_numpy(ids_B),
        views_VBFHWC=torch.stack(views),
        picture_mask_BF=torch.from_numpy(shown_BF),
        mel_BWM=torch.from_numpy(data.mel_NWM[rows]),
        audio_mask_B=torch.from_numpy(data.has_audio_N[rows] & (drops[:, 1] >= augment.drop_sound)),
        text_BL=torch.from_numpy(text_BL),
        text_mask_BL=torch.from_numpy(text_BL != 0),
        target_BL=torch.from_numpy(target_BL),
        target_mask_BL=torch.from_numpy(target_BL != 0),
        has_target_B=torch.tensor([bool(text) for text in targets]),
        target_hash_B=torch.tensor([hash_text(text) for text in targets]),
        labels_BK=torch.from_numpy(data.labels_NK[rows]),
    )


def hash_text(text: str) -> int:
    """Give equal texts equal numbers, in any process."""
    return xxh64_intdigest(text.encode()) >> 1


def _view(data: TrainData, rows: NDArray[np.int64], settings: RunSettings, step: int, name: str) -> Tensor:
    """Pick random frames of each work and augment them."""
    ids_B = data.ids_N[rows]
    draws = uniform_BN(settings.seed, step, ids_B, f"frame {name}", settings.augment.num_view_frames)
    picked = (draws * np.maximum(data.num_frames_N[rows], 1)[:, None]).astype(np.int64)
    frames = torch.from_numpy(data.frames_NFHWC[rows[:, None], picked])
    return augment_frames(frames, ids_B, settings.seed, step, name, settings.augment)


def _choose_targets(data: TrainData, rows: NDArray[np.int64], settings: RunSettings, step: int) -> tuple[NDArray[np.str_], list[str]]:
    """Draw the text side of each work: a satisfied query, its caption, or a chosen comment."""
    draws = uniform_BN(settings.seed, step, data.ids_N[rows], "target", 2)
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
