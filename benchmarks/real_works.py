"""The real photos, sounds and clips as works, a training on them within a CPU budget, and nearest neighbours to score any vectors.

The data are not part of the project: a folder beside the checkout holds them, or the one that REELSPACE_TEST_DATA names.
Legend: N works, Q queries, K labels, D dimension, F frames, H W pixels, C channels, S sound samples.
"""

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.media.decode import decode_media
from reelspace.media.spec import FrameSpec
from reelspace.model.inputs import audio_of, frames_of, video_inputs
from reelspace.model.model import ReelModel
from reelspace.model.settings import ModelSettings
from reelspace.model.tokenizer import Tokenizer
from reelspace.train.batches import make_batch
from reelspace.train.data import Texts, TrainData
from reelspace.train.group import Group
from reelspace.train.label_head import make_label_head
from reelspace.train.media_source import InMemoryMedia, log_mel_NWM
from reelspace.train.objective import PretrainObjective
from reelspace.train.schedule import learning_rate
from reelspace.train.settings import TrainSettings
from reelspace.train.torch_engine import TorchEngine

ROOT = Path(__file__).resolve().parents[1]
_CHUNK = 128


@dataclass(frozen=True)
class RealWork:
    """One decoded photo, sound or clip. What is known about it (`label`, `coarse`, `tags`) reaches a model only through `train_data`."""

    path: Path
    frames_FHWC: NDArray[np.uint8]
    audio_S: NDArray[np.int16] | None
    label: str
    coarse: str
    tags: tuple[str, ...]
    queries: tuple[str, ...]
    """Search texts that find the work."""
    fold: int = 0
    """Fold of the source; 0 where it has none."""
    text: str = ""
    """What the work itself says in words; empty here, so that vectors come from picture and sound alone."""

    @cached_property
    def fifth(self) -> int:
        """md5 of the file's bytes modulo 5: the split, a function of the file alone."""
        return int(hashlib.md5(self.path.read_bytes(), usedforsecurity=False).hexdigest(), 16) % 5


@dataclass(frozen=True, slots=True)
class Trained:
    """A model after its budget: what it took and how its loss ended."""

    model: ReelModel
    tokenizer: Tokenizer
    steps: int
    cpu_s: float
    first_loss: float
    last_loss: float
    is_cut_short: bool
    """The budget ended before the schedule did."""


def data_folder(name: str) -> Path:
    """Give a folder of the real data; the program ends with a message where it is absent."""
    folder = Path(os.environ.get("REELSPACE_TEST_DATA") or ROOT.parent / "shared" / "data") / name
    if not folder.is_dir():
        print(f"skipped: {folder} is absent; set REELSPACE_TEST_DATA to the folder that holds {name}/", file=sys.stderr)
        raise SystemExit(0)
    return folder


def read_photos(folder: Path, size: int) -> list[RealWork]:
    """Read the photos as one-frame works: the short side scaled to `size` pixels, the centre square cut out."""
    spec = FrameSpec(num_frames=1, size=size)
    works = []
    for row in _rows(folder / "images.jsonl"):
        path, tags = folder / row["file"], tuple(row["tags"])
        works.append(RealWork(path, decode_media(path, spec).frames_FHWC, None, row["label"], row["coarse"], tags, tags))
    return works


def read_sounds(folder: Path, size: int) -> list[RealWork]:
    """Read the sounds, up to 5 s of 16 kHz mono, as works without frames (of `size` pixels); label and tag are the class."""
    spec = FrameSpec(size=size, max_audio_s=5.0)
    works = []
    for row in _rows(folder / "clips.jsonl"):
        path, label, name = folder / row["file"], row["label"], row["class_name"]
        decoded = decode_media(path, spec)
        works.append(RealWork(path, decoded.frames_FHWC, decoded.audio_S, label, label, (name,), (name,), row["fold"]))
    return works


def read_clips(folder: Path, num_frames: int, size: int) -> list[RealWork]:
    """Read the clips with frames uniform in time and, where there is any, sound; the label is the file, the coarse one its group."""
    spec = FrameSpec(num_frames=num_frames, size=size, max_audio_s=60.0)
    works = []
    for row in _rows(folder / "clips.jsonl"):
        path, tags = folder / row["file"], tuple(row["hashtags"])
        decoded = decode_media(path, spec)
        queries = (*tags, row["title_en"], row["title_zh"])
        works.append(RealWork(path, decoded.frames_FHWC, decoded.audio_S, row["file"], row["group"], tags, queries))
    return works


def train_data(works: Sequence[RealWork], settings: ModelSettings) -> TrainData:
    """Give the works that train, with their tags as labels and as search texts; tags of any other work stay unknown.

    A label weighs log(N / works that carry it), scaled to mean 1 over all uses: the tag of a third of all photos says little.
    """
    frames = [frames_of(work, settings) for work in works]
    audio = [audio_of(work, settings) for work in works]
    counts = Counter(tag for work in works for tag in work.tags)
    names = sorted(counts)
    labels_NK = np.zeros((len(works), len(names)), dtype=np.float32)
    for row, work in enumerate(works):
        for tag in work.tags:
            labels_NK[row, names.index(tag)] = np.log(len(works) / counts[tag])
    labels_NK /= labels_NK[labels_NK > 0].mean()
    return TrainData(
        ids_N=np.arange(len(works), dtype=np.int64),
        media=InMemoryMedia(
            frames_NFHWC=np.stack([part for part, _ in frames]),
            num_frames_N=np.array([int(mask.sum()) for _, mask in frames]),
            mel_NWM=log_mel_NWM(np.stack([part for part, _ in audio]), settings),
            has_audio_N=np.array([present for _, present in audio]),
        ),
        texts_N=tuple(Texts("", queries=work.queries) for work in works),
        labels_NK=labels_NK,
        label_names=tuple(enumerate(names)),
    )


def train(data: TrainData, sizes: ModelSettings, settings: TrainSettings, budget_s: float) -> Trained:
    """Train the model on the works until the schedule or `budget_s` seconds of CPU time (all threads together) end."""
    start_s = time.process_time()
    torch.manual_seed(settings.seed)
    tokenizer = Tokenizer.train(data.corpus, settings.vocabulary_size, sizes.text_length)
    model = ReelModel(sizes.model_copy(update={"vocabulary_size": max(64, tokenizer.size)}))
    objective = PretrainObjective(model, make_label_head(data, tokenizer, settings, sizes.dimension), settings.objective)
    engine = TorchEngine(objective, settings, Group())
    losses: list[float] = []
    for step in range(settings.steps):
        if time.process_time() - start_s >= budget_s:
            break
        rate = learning_rate(step, settings.steps, settings.optimizer)
        losses.append(engine.step(make_batch(data, tokenizer, settings, step, 0, 1), rate).figures["loss"])
    model.eval()
    cpu_s = time.process_time() - start_s
    return Trained(model, tokenizer, len(losses), cpu_s, losses[0], losses[-1], len(losses) < settings.steps)


def embed(trained: Trained, works: Sequence[RealWork]) -> dict[str, NDArray[np.float32]]:
    """Give unit vectors per work from picture and sound alone: `fused`, `picture` and `sound` [N, D]."""
    parts: dict[str, list[NDArray[np.float32]]] = {"fused": [], "picture": [], "sound": []}
    with torch.inference_mode():
        for start in range(0, len(works), _CHUNK):
            inputs = video_inputs(works[start : start + _CHUNK], trained.model.settings, trained.tokenizer)
            output = trained.model.encode_video(*inputs)
            for name, vectors_BD in zip(parts, (output.embedding_BD, output.picture_BD, output.sound_BD), strict=True):
                parts[name].append(vectors_BD.numpy())
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def nearest_QN(similarity_QN: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Order the columns of each row by falling similarity; equal ones by row number."""
    return np.argsort(-similarity_QN, axis=1, kind="stable")


def vote_Q(order_QN: NDArray[np.int64], labels: Sequence[str], k: int) -> list[str]:
    """Give the commonest label of the k nearest; among equals that of the nearest."""
    return [Counter(labels[row] for row in rows[:k]).most_common(1)[0][0] for rows in order_QN]


def hits_Q(order_QN: NDArray[np.int64], known: Sequence[str], truth: Sequence[str], k: int) -> NDArray[np.bool_]:
    """Tell for which queries the vote of the k nearest known works gives the true label."""
    return np.array([guess == true for guess, true in zip(vote_Q(order_QN, known, k), truth, strict=True)])


def interval(values_Q: NDArray[np.floating[Any]] | NDArray[np.bool_], seed: int, num_draws: int = 10_000) -> list[float]:
    """Give the 95 % bootstrap interval of the mean over queries (percentiles; Efron 1979)."""
    values = np.asarray(values_Q, dtype=np.float64)
    rows = rng(seed, "bootstrap").integers(0, len(values), (num_draws, len(values)))
    low, high = np.quantile(values[rows].mean(axis=1), [0.025, 0.975])
    return [round(float(low), 4), round(float(high), 4)]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
