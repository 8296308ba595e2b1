"""Training data: works with their texts and labels in memory, and where their pictures and sounds come from.

Legend: N works, K labels.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.media.dataset import ShardReader
from reelspace.model.settings import ModelSettings
from reelspace.signals.label_graph import LabelGraph, read_graph
from reelspace.signals.label_propensities import Propensities, negative_weights
from reelspace.signals.vocabulary import certainty
from reelspace.train.media_source import MediaSource, open_media
from reelspace.train.settings import ALL_SIGNALS, RunSettings, Signal, TrainSettings
from reelspace.train.windows import Window, trains_N

_MIN_WORKS_PER_LABEL = 2


@dataclass(frozen=True, slots=True)
class Texts:
    """What was written about one work: by its author, and by the crowd."""

    caption: str
    queries: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What the labels artifact says about the K labels beside which work has which."""

    negative_weights_K: NDArray[np.float32]
    """Probability that a work without the label is one it does not fit."""
    graph: LabelGraph
    """Edges between columns."""


@dataclass(frozen=True, slots=True)
class TrainData:
    """Works that train."""

    ids_N: NDArray[np.int64]
    media: MediaSource
    """Pictures and sounds by row."""
    texts_N: tuple[Texts, ...]
    labels_NK: NDArray[np.float32]
    """Weight of each label in the loss; 0: the work does not have it."""
    label_names: tuple[tuple[int, str], ...]
    """label_id and text of the K columns."""
    label_facts: LabelFacts | None = None
    """None: every absent label is a negative, and no graph is known."""
    shard_N: NDArray[np.int64] | None = None
    """Which shard each work lies in, for the order of reading; None: all in one."""
    is_new_N: NDArray[np.bool_] | None = None
    """Which works are new, where others are replayed; None: nothing is replayed."""

    @property
    def corpus(self) -> list[str]:
        """Every text, for training the tokenizer."""
        return [text for texts in self.texts_N for text in (texts.caption, *texts.queries, *texts.comments) if text]


def load_data(reader: ShardReader, labels: Path, settings: RunSettings, model: ModelSettings) -> TrainData:
    """Read the works that may train, by the settings' time or windows, with the crowd's texts and labels joined by id.

    Args:
        labels: the files of a fetched `labels` artifact; of pretraining, only the signals that its settings name are read.
        model: sizes of frames, sound and text; a student's data take its teacher's.

    Raises:
        UserError: fewer than two works may train.
    """
    created = reader.index["created_at"].to_pylist()
    replay = settings.replay if isinstance(settings, TrainSettings) else None
    windows = (*replay.seen, replay.new) if replay else (Window(until=settings.train_until),)
    rows_N = np.flatnonzero(trains_N(windows, created, reader.video_ids))
    is_new_N = trains_N([replay.new], created, reader.video_ids)[rows_N] if replay else None
    _check_works(len(rows_N), is_new_N, settings)
    ids_N = reader.video_ids[rows_N]
    captions = reader.index["text"].take(rows_N).to_pylist()
    crowd = settings.crowd if isinstance(settings, TrainSettings) else ALL_SIGNALS
    weigh = settings.weigh_labels if isinstance(settings, TrainSettings) else True
    names, labels_NK = _labels(labels, ids_N, crowd, weigh=weigh)
    return TrainData(
        ids_N=ids_N,
        media=open_media(reader, ids_N, settings.reading, model),
        texts_N=_texts(labels, ids_N, captions, crowd),
        labels_NK=labels_NK,
        label_names=names,
        label_facts=_label_facts(labels, [label_id for label_id, _ in names]) if names else None,
        shard_N=reader.shard_of_row[rows_N],
        is_new_N=is_new_N,
    )


def _check_works(num_works: int, is_new_N: NDArray[np.bool_] | None, settings: RunSettings) -> None:
    if num_works < 2:
        which = "in the shards" if settings.train_until is None else f"uploaded before {settings.train_until}"
        raise UserError(f"expected at least 2 works {which}, got {num_works}: there is nothing to tell a work from")
    if is_new_N is not None and (is_new_N.all() or not is_new_N.any()):
        raise UserError(f"replay: {is_new_N.sum()} of {num_works} works are new, expected some new and some that are replayed")


def _texts(labels: Path, ids_N: NDArray[np.int64], captions: Sequence[str], crowd: Collection[Signal]) -> tuple[Texts, ...]:
    if not {"queries", "comments"} & set(crowd):
        return tuple(Texts(caption) for caption in captions)
    rows = {row["video_id"]: row for row in pq.read_table(labels / "texts.parquet").to_pylist()}

    def said(video_id: int, kind: Literal["queries", "comments"]) -> tuple[str, ...]:
        return tuple(rows[video_id][kind]) if kind in crowd and video_id in rows else ()

    return tuple(
        Texts(caption, said(video_id, "queries"), said(video_id, "comments"))
        for video_id, caption in zip(ids_N.tolist(), captions, strict=True)
    )


def _labels(
    directory: Path, ids_N: NDArray[np.int64], crowd: Collection[Signal], *, weigh: bool
) -> tuple[tuple[tuple[int, str], ...], NDArray[np.float32]]:
    """Give the labels of at least two training works, and each work's: how sure it is, times how rare and fresh the label is."""
    if not {"hashtags", "queries"} & set(crowd):
        return (), np.zeros((len(ids_N), 0), dtype=np.float32)
    vocabulary = pq.read_table(directory / "vocabulary.parquet", columns=["label_id", "text"]).to_pylist()
    table = pq.read_table(directory / "video_labels.parquet", columns=["video_id", "label_id", "weight", "evidence"]).to_pylist()
    weight_of = {row["label_id"]: row["weight"] if weigh else 1.0 for row in pq.read_table(directory / "weights.parquet").to_pylist()}
    row_of = {int(video_id): row for row, video_id in enumerate(ids_N)}
    uses = [(row["video_id"], row["label_id"], _certainty(row, crowd)) for row in table if row["video_id"] in row_of]
    uses = [use for use in uses if use[2] > 0]
    num_works = Counter(label_id for _, label_id, _ in uses)
    names = tuple((row["label_id"], row["text"]) for row in vocabulary if num_works[row["label_id"]] >= _MIN_WORKS_PER_LABEL)
    column_of = {label_id: column for column, (label_id, _) in enumerate(names)}
    labels_NK = np.zeros((len(ids_N), len(names)), dtype=np.float32)
    for video_id, label_id, sure in uses:
        if label_id in column_of:
            labels_NK[row_of[video_id], column_of[label_id]] = sure * weight_of[label_id]
    return names, labels_NK


def _certainty(row: dict[str, object], crowd: Collection[Signal]) -> float:
    """How sure an entry is, of what the named signals say of it."""
    if {"hashtags", "queries"} <= set(crowd):
        return float(row["weight"])  # type: ignore[arg-type]
    evidence = orjson.loads(str(row["evidence"]))
    return certainty(evidence["tags"] if "hashtags" in crowd else {}, evidence["queries"] if "queries" in crowd else {})


def _label_facts(directory: Path, label_ids: Sequence[int]) -> LabelFacts:
    rows = {row["label_id"]: row for row in pq.read_table(directory / "propensities.parquet").to_pylist()}
    chosen = [rows[label_id] for label_id in label_ids]
    counts = {name: np.array([row[name] for row in chosen], dtype=np.int64) for name in ("num_both", "num_tags", "num_queries")}
    found = Propensities(
        propensity_L=np.array([row["propensity"] for row in chosen], dtype=np.float32),
        method_L=tuple(row["method"] for row in chosen),
        num_both_L=counts["num_both"],
        num_tags_L=counts["num_tags"],
        num_queries_L=counts["num_queries"],
    )
    num_works = pq.read_metadata(directory / "missing.parquet").num_rows
    return LabelFacts(negative_weights(found, num_works), read_graph(directory, label_ids))
