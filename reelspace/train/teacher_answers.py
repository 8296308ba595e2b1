"""Asking the teacher: one answer for every view of every work, a view at a time, so that an ask that was stopped goes on.

Legend: V views, N works, B works asked at a time, D embedding dimension.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reelspace.core.errors import UserError
from reelspace.core.log import log
from reelspace.core.progress import Progress, progress
from reelspace.model.checkpoint import frozen
from reelspace.model.model import ReelModel
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import Batch, Showing, show_works
from reelspace.train.data import TrainData
from reelspace.train.label_head import LABEL_HEAD_FILE
from reelspace.train.settings import DistillSettings
from reelspace.train.teacher_outputs import (
    IDS_FILE,
    KINDS,
    LABELS_FILE,
    STORED,
    OutputFacts,
    TeacherLabels,
    read_labels,
    write_facts,
)
from reelspace.train.views import View

_AT_ONCE = 64
_SMALLEST_SPREAD = 1e-3
Answers = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of whom: the teacher's files, the works, and how many views of which seed."""

    directory: Path
    model: ReelModel
    tokenizer: Tokenizer
    data: TrainData
    settings: DistillSettings


@dataclass(frozen=True, slots=True)
class Places:
    """Where answers go: the artifact's directory, and one that outlives a kill, kept by calling `save`."""

    out: Path
    state: Path
    save: Callable[[], None]


def ask_teacher(asked: Asked, places: Places, parents: dict[str, str]) -> OutputFacts:
    """Write the files of an artifact `teacher_outputs`.

    Args:
        parents: ids of `teacher`, `shards` and `labels`.

    Raises:
        UserError: too many of the answers are not finite; the message names a work.
    """
    settings, ids_N = asked.settings, asked.data.ids_N
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = frozen(asked.model).to(device)
    with progress(settings.num_views * len(ids_N), "ask the teacher") as bar:
        for number in range(settings.num_views):
            if _view_directory(places.state, number).is_dir():
                bar.advance(len(ids_N))
                continue
            _keep_view(places.state, number, _answer_view(model, asked, number, bar))
            places.save()
    num_bad = _join(places, asked)
    facts = OutputFacts(
        **parents,
        view_seed=settings.view_seed,
        num_views=settings.num_views,
        num_works=len(ids_N),
        dimension=asked.model.settings.dimension,
        num_bad=num_bad,
    )
    write_facts(places.out, facts)
    return facts


def check_labels(labels: TeacherLabels | None, fused_ND: NDArray[np.float32]) -> bool:
    """Tell whether the teacher's labels differ from work to work, and say so where they do not: there is nothing to learn of them."""
    if labels is None or len(fused_ND) < 2:
        return True
    with torch.inference_mode():
        spread = float(labels.logits_BK(torch.from_numpy(fused_ND)).std(dim=0).max())
    if spread < _SMALLEST_SPREAD:
        log("teacher_labels_constant", largest_deviation=spread, effect="the student learns no labels; look at the teacher's training")
    return spread >= _SMALLEST_SPREAD


def _answer_view(model: ReelModel, asked: Asked, number: int, bar: Progress) -> Answers:
    parts: dict[str, list[NDArray[np.float32]]] = {kind: [] for kind in KINDS}
    view = View(asked.settings.view_seed, number)
    device = next(model.parameters()).device
    for start in range(0, len(asked.data.ids_N), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(asked.data.ids_N)))
        batch = show_works(asked.data, asked.tokenizer, asked.settings, rows, Showing(number, view))
        for kind, vectors_BD in zip(KINDS, answer(model, batch.to(device)), strict=True):
            parts[kind].append(vectors_BD.float().cpu().numpy())
        bar.advance(len(rows))
    return {kind: np.concatenate(chunks) for kind, chunks in parts.items()}


@torch.inference_mode()
def answer(model: ReelModel, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Give a model's vectors of a batch: of the works, of their pictures, of their text sides."""
    picture = model.picture(batch.views_VBFHWC[0], batch.picture_mask_BF)
    text, sound = model.text(batch.text_BL, batch.text_mask_BL), model.sound(batch.mel_BWM, batch.audio_mask_B)
    found = model.fuse(picture, text, sound)
    return found.embedding_BD, found.picture_BD, model.encode_text(batch.target_BL, batch.target_mask_BL)


def _keep_view(state: Path, number: int, answers: Answers) -> None:
    partial = state / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for kind, vectors_ND in answers.items():
        np.save(partial / f"{kind}.npy", vectors_ND)
    partial.rename(_view_directory(state, number))


def _view_directory(state: Path, number: int) -> Path:
    return state / f"view-{number:04d}"


def _join(places: Places, asked: Asked) -> int:
    """Write every view's answers into one file of a kind, zeros where one is not finite; give how many were not."""
    ids_N, num_views = asked.data.ids_N, asked.settings.num_views
    places.out.mkdir(parents=True, exist_ok=True)
    for name in (LABEL_HEAD_FILE, LABELS_FILE):
        if (asked.directory / name).is_file():
            shutil.copy(asked.directory / name, places.out / name)
    order_N = np.argsort(ids_N)
    np.save(places.out / IDS_FILE, ids_N[order_N].astype("<i8"))
    shape = (num_views, len(ids_N), asked.model.settings.dimension)
    bad_VN = np.zeros(shape[:2], dtype=np.bool_)
    for number in range(num_views):
        for kind in KINDS:
            bad_VN[number] |= ~np.isfinite(np.load(_view_directory(places.state, number) / f"{kind}.npy")[order_N]).all(axis=1)
    _check_bad(bad_VN, ids_N[order_N], asked.settings.max_bad_ratio)
    for kind in KINDS:
        kept = np.lib.format.open_memmap(places.out / f"{kind}.npy", mode="w+", dtype=STORED, shape=shape)  # type: ignore[no-untyped-call]
        for number in range(num_views):
            vectors_ND = np.load(_view_directory(places.state, number) / f"{kind}.npy")[order_N]
            vectors_ND[bad_VN[number]] = 0
            kept[number] = vectors_ND
            if kind == "fused" and number == 0:
                check_labels(read_labels(places.out, shape[2]), vectors_ND[~bad_VN[0]])
        kept.flush()
    return int(bad_VN.sum())


def _check_bad(bad_VN: NDArray[np.bool_], ids_N: NDArray[np.int64], max_bad_ratio: float) -> None:
    if not bad_VN.any():
        return
    work = int(ids_N[np.flatnonzero(bad_VN.any(axis=0))[0]])
    log("teacher_answers_left_out", num=int(bad_VN.sum()), of=bad_VN.size, works=int(bad_VN.any(axis=0).sum()), example=work)
    if bad_VN.mean() > max_bad_ratio:
        raise UserError(
            f"{int(bad_VN.sum())} of the teacher's {bad_VN.size} answers are not finite, e.g. for work {work}; allowed is a share of "
            f"{max_bad_ratio:g} (max_bad_ratio): look at the teacher's training, or raise it"
        )
