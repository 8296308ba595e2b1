"""The labelled table of a fine-tuning: which works have which classes, which of both train, which works are measured on.

Legend: N works, K classes.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.core.rng import uniform_BN
from reelspace.media.dataset import ShardReader
from reelspace.model.task import Task
from reelspace.steps.import_labelled import LABELLED_FILE
from reelspace.train.finetune_settings import FinetuneSettings
from reelspace.train.finetune_works import Classes

_NAMED: Final = 5
Split = Mapping[int, str]
"""video_id -> train or held_out, of the works for which the table says so."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a table says: the weight of each label of a work by the label's text, and the split of the works that have one."""

    labels: Mapping[int, Mapping[str, float]]
    split: Split
    has_many: bool
    """Whether a work may have several labels by the table's kind."""
    ids: Mapping[str, int]
    """label_id of each label, where the table numbers them."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The works and classes of a fine-tuning; the classes are numbered by label_id."""

    task: Task
    classes: Classes
    ids_N: NDArray[np.int64]
    labels_NK: NDArray[np.float32]
    is_held_out_N: NDArray[np.bool_]
    facts: Mapping[str, int]
    """Counts of what was left out, for summary.json."""


def read_labelled(directory: Path, kind: str) -> Labelled:
    """Read a fetched artifact.

    Args:
        kind: `table`, as import_labelled writes it, or `labels`, the crowd's: its works are those with a label.

    Raises:
        UserError: another kind, a list with an empty text, or a work with two splits.
    """
    if kind == "labels":
        return _crowd_labels(directory)
    if kind != "table":
        raise UserError(f"table is an artifact of kind {kind}, expected table (of the step import_labelled) or labels")
    rows = pq.read_table(directory / LABELLED_FILE)
    has_many = pa.types.is_list(rows.schema.field("label").type)
    labels: dict[int, dict[str, float]] = {}
    split: dict[int, str] = {}
    for row in rows.to_pylist():
        video_id, given = row["video_id"], row["label"] if has_many else [row["label"]]
        if "" in given:
            raise UserError(f"table labelled: work {video_id} has an empty label, expected text: repair the table")
        labels.setdefault(video_id, {}).update(dict.fromkeys(given, 1.0))
        if row["split"] is not None and split.setdefault(video_id, row["split"]) != row["split"]:
            raise UserError(f"table labelled: work {video_id} is both train and held_out, expected one split for all rows of a work")
    return Labelled(labels, split, has_many, {})


def choose(labelled: Labelled, reader: ShardReader, settings: FinetuneSettings, known: Sequence[str]) -> Chosen:
    """Join a table with the works of the shards, split them, and keep the classes that enough works train.

    Args:
        known: labels that are not trained because their classifiers are kept.

    Raises:
        UserError: too many unknown works, a work with several classes where one is expected, too few classes or works.
    """
    found, num_unknown = _in_shards(labelled, reader, settings.max_unknown_share)
    task: Task = settings.task or ("multi_label" if found.has_many else "single_label")
    if task == "single_label":
        _check_single(found)
    ids_N = np.array(sorted(found.labels), dtype=np.int64)
    is_held_out_N = _held_out_N(ids_N, found.split, reader, settings)
    kept = set(known)
    counts = Counter(
        label for video_id, held in zip(ids_N.tolist(), is_held_out_N, strict=True) if not held for label in found.labels[video_id]
    )
    every = {label for labels in found.labels.values() for label in labels} - kept
    names = sorted((label for label in every if counts[label] >= settings.min_works), key=_order(found.ids))
    left_out = len(every) - len(names)
    _check_classes(names, every, task, settings)
    column_of = {label: column for column, label in enumerate(names)}
    labels_NK = np.zeros((len(ids_N), len(names)), dtype=np.float32)
    for row, video_id in enumerate(ids_N.tolist()):
        for label, weight in found.labels[video_id].items():
            if label in column_of:
                labels_NK[row, column_of[label]] = weight
    # Of a single-label work whose class is left out nothing is known; of several labels, that it has none of these.
    told_N = labels_NK.any(axis=1) if task == "single_label" else np.ones(len(ids_N), dtype=np.bool_)
    facts = {"works_unknown": num_unknown, "classes_left_out": left_out, "works_left_out": int((~told_N).sum())}
    classes = tuple((found.ids.get(label, column), label) for column, label in enumerate(names))
    chosen = Chosen(task, classes, ids_N[told_N], labels_NK[told_N], is_held_out_N[told_N], facts)
    _check_negatives(chosen)
    return chosen


def _crowd_labels(directory: Path) -> Labelled:
    texts = {
        row["label_id"]: row["text"] for row in pq.read_table(directory / "vocabulary.parquet", columns=["label_id", "text"]).to_pylist()
    }
    labels: dict[int, dict[str, float]] = {}
    for row in pq.read_table(directory / "video_labels.parquet", columns=["video_id", "label_id", "weight"]).to_pylist():
        if row["label_id"] in texts and row["weight"] > 0:
            labels.setdefault(row["video_id"], {})[texts[row["label_id"]]] = float(row["weight"])
    return Labelled(labels, {}, True, {text: label_id for label_id, text in texts.items()})


def _in_shards(labelled: Labelled, reader: ShardReader, max_unknown_share: float) -> tuple[Labelled, int]:
    if not labelled.labels:
        raise UserError("the table has no labelled work, expected at least one row")
    present = set(reader.video_ids.tolist())
    unknown = sorted(video_id for video_id in labelled.labels if video_id not in present)
    if len(unknown) > max_unknown_share * len(labelled.labels):
        named = ", ".join(map(str, unknown[:_NAMED])) + (", ..." if len(unknown) > _NAMED else "")
        raise UserError(
            f"{len(unknown)} of the table's {len(labelled.labels)} works are not in the shards (video_id {named}), more than the allowed "
            f"share of {max_unknown_share:g}: give the shards of these works, or raise max_unknown_share"
        )
    known = {video_id: labels for video_id, labels in labelled.labels.items() if video_id in present}
    if not known:
        raise UserError("no work of the table is in the shards: give the shards of these works")
    return replace(labelled, labels=known), len(unknown)


def _check_single(found: Labelled) -> None:
    wrong = [(video_id, sorted(labels)) for video_id, labels in sorted(found.labels.items()) if len(labels) != 1]
    if wrong:
        video_id, labels = wrong[0]
        raise UserError(
            f"{len(wrong)} works have not exactly one label (work {video_id} has {', '.join(labels) or 'none'}), which single_label "
            "expects: repair the table, or set task to multi_label"
        )


def _held_out_N(ids_N: NDArray[np.int64], split: Split, reader: ShardReader, settings: FinetuneSettings) -> NDArray[np.bool_]:
    """Hold out by the table's split, else by time, else by hash: always the same works, whatever the seed."""
    if settings.train_until is not None:
        created: list[datetime] = reader.index["created_at"].to_pylist()
        late = {video_id for video_id, at in zip(reader.video_ids.tolist(), created, strict=True) if at >= settings.train_until}
        drawn_N = np.array([video_id in late for video_id in ids_N.tolist()], dtype=np.bool_)
    else:
        drawn_N = uniform_BN(0, 0, ids_N, "held out", 1)[:, 0] < settings.held_out
    given = [split.get(video_id) for video_id in ids_N.tolist()]
    return np.array(
        [bool(drawn) if said is None else said == "held_out" for drawn, said in zip(drawn_N, given, strict=True)], dtype=np.bool_
    )


def _order(ids: Mapping[str, int]) -> Callable[[str], tuple[int, str]]:
    return lambda label: (ids.get(label, 0), label)


def _check_classes(names: Sequence[str], every: set[str], task: Task, settings: FinetuneSettings) -> None:
    least = 2 if task == "single_label" else 1
    if len(names) >= least:
        return
    new = " that the model has no classifier for" if settings.extend else ""
    raise UserError(
        f"expected at least {least} {'classes' if least > 1 else 'class'}{new} with {settings.min_works} training works or more for "
        f"{task}, got {len(names)} of the table's {len(every)}: label more works, or lower min_works or held_out"
    )


def _check_negatives(chosen: Chosen) -> None:
    trained_NK = chosen.labels_NK[~chosen.is_held_out_N] > 0
    if len(trained_NK) < 2:
        raise UserError(f"expected at least 2 training works, got {len(trained_NK)}: label more works, or lower held_out")
    everywhere = [text for (_, text), is_all in zip(chosen.classes, trained_NK.all(axis=0), strict=True) if is_all]
    if everywhere:
        raise UserError(
            f"every training work has the label {everywhere[0]}, expected works without it, or nothing can be told apart: "
            "add them (with an empty list where they have no label), or leave the label out"
        )
