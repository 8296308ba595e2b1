"""What a fine-tuning trains on, prepared by its step: works with their classes, and where the classifiers start.

Legend: N training works, K classes, L classes that are kept as they are, D embedding dimension.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from reelspace.core.rng import rng
from reelspace.core.settings import read
from reelspace.model.task_head import HeadStart, TaskFacts

_TENSORS: Final = "works.safetensors"
_FACTS: Final = "works.json"
Classes = tuple[tuple[int, str], ...]
"""label_id and text of some classes."""


@dataclass(frozen=True, slots=True)
class KeptClassifiers:
    """Classifiers that go into the trained head as they are, before the others; scales folded in."""

    classes: Classes
    weight_LD: Tensor
    bias_L: Tensor


@dataclass(frozen=True, slots=True)
class FinetuneWorks:
    """The training works of a fine-tuning; held-out ones are not among them."""

    facts: TaskFacts
    """Of the head that is written: its classes are the kept ones and the trained ones."""
    classes: Classes
    """The K trained ones."""
    kept: KeptClassifiers | None
    ids_N: NDArray[np.int64]
    labels_NK: NDArray[np.float32]
    """Weight of each class in the loss; 0: the work does not have it."""
    vectors_ND: NDArray[np.float32] | None
    """The model's vectors; None where training moves them."""
    start: HeadStart

    def write(self, directory: Path) -> None:
        """Write the files that `read_works` reads."""
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {
            "ids_N": torch.from_numpy(self.ids_N),
            "labels_NK": torch.from_numpy(self.labels_NK),
            "start_KD": self.start.classifiers_KD,
            "start_bias_K": self.start.bias_K,
        }
        if self.vectors_ND is not None:
            tensors["vectors_ND"] = torch.from_numpy(self.vectors_ND)
        if self.kept is not None:
            tensors |= {"kept_weight_LD": self.kept.weight_LD, "kept_bias_L": self.kept.bias_L}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, directory / _TENSORS)
        named = {
            "task": self.facts.model_dump(mode="json"),
            "classes": self.classes,
            "kept": self.kept.classes if self.kept else None,
            "scale": self.start.scale,
        }
        (directory / _FACTS).write_text(json.dumps(named, ensure_ascii=False))


def read_works(directory: Path) -> FinetuneWorks:
    """Read what `FinetuneWorks.write` wrote."""
    named = json.loads((directory / _FACTS).read_text())
    tensors = load_file(directory / _TENSORS)
    kept = None if named["kept"] is None else KeptClassifiers(_classes(named["kept"]), tensors["kept_weight_LD"], tensors["kept_bias_L"])
    return FinetuneWorks(
        facts=read(TaskFacts, named["task"]),
        classes=_classes(named["classes"]),
        kept=kept,
        ids_N=tensors["ids_N"].numpy(),
        labels_NK=tensors["labels_NK"].numpy(),
        vectors_ND=tensors["vectors_ND"].numpy() if "vectors_ND" in tensors else None,
        start=HeadStart(tensors["start_KD"], tensors["start_bias_K"], float(named["scale"])),
    )


def class_weights_K(labels_NK: NDArray[np.float32], *, is_single: bool) -> NDArray[np.float32]:
    """Give what makes rare classes count as much as common ones.

    Returns:
        single_label: the weight of a work by its class, N / (K * works of the class), 1 on average over the works;
        multi_label: the weight of a presence against an absence, works without the class / works with it, 0.01 to 100.

    Source: King and Zeng (2001), section 4.1: the classes weigh as if each had its share of a balanced sample.
    """
    num_works, num_classes = labels_NK.shape
    count_K = np.maximum((labels_NK > 0).sum(axis=0), 1)
    if is_single:
        return (num_works / (num_classes * count_K)).astype(np.float32)  # type: ignore[no-any-return]
    return np.clip((num_works - count_K) / count_K, 0.01, 100.0).astype(np.float32)  # type: ignore[no-any-return]


def rows_of_step(num_works: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Give the rows of a step's global batch: every work once in each epoch, epochs shuffled anew and laid end to end."""
    places_B = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs_B, within_B = places_B // num_works, places_B % num_works
    parts = [rng(seed, "finetune", int(epoch)).permutation(num_works)[within_B[epochs_B == epoch]] for epoch in np.unique(epochs_B)]
    rows_B: NDArray[np.int64] = np.concatenate(parts).astype(np.int64)
    return rows_B


def _classes(pairs: list[list[object]]) -> Classes:
    return tuple((int(str(label_id)), str(text)) for label_id, text in pairs)
