"""The label head of an exported model, as data: which labels a vector belongs to. No torch.

head.json        facts
labels.json      the labels' words, in the order of the rows
classifiers.npy  float32 [L, D], the head's scale folded in
biases.npy       float32 [L]
Shapes: B rows, L labels, K labels given, D dimension.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field

from reelspace.core.errors import CorruptArtifact, ReelspaceError, SettingError
from reelspace.core.settings import Settings, read
from reelspace.serving.version import Sealed
from reelspace.serving.wire import Tensor, WireError

HEAD_FILE: Final = "head.json"
LABELS_FILE: Final = "labels.json"
CLASSIFIERS_FILE: Final = "classifiers.npy"
BIASES_FILE: Final = "biases.npy"
MAX_LABELS: Final = 20
Floats = NDArray[np.float32]


class ScorerVersion(Sealed):
    """Facts about one exported label head that is a model of its own."""

    model: str = Field(description="Name of the served model.")
    artifact_id: str = Field(description="Id of the trained model's artifact that was exported.")
    space_id: str = Field(description="Of which space vectors can be scored.")


class HeadFacts(Settings):
    """What the files of a label head hold."""

    dimension: int = Field(ge=1, description="Length of the vectors that are scored.")
    num_labels: int = Field(ge=1, description="Labels there are.")
    num_given: int = Field(ge=1, description="Labels given per vector, the best ones.")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read a head's facts; CorruptArtifact if they are not what an export writes."""
        path = directory / HEAD_FILE
        try:
            return read(cls, path.read_text())
        except (OSError, UnicodeDecodeError, SettingError) as error:
            raise _corrupt(path, error) from error


class LabelScorer:
    """One version of a label head."""

    def __init__(self, directory: Path) -> None:
        """Open the files of a head.

        Raises:
            CorruptArtifact: a file is missing, is no such file, or has other sizes than head.json says.
        """
        self.facts = HeadFacts.read(directory)
        shape = (self.facts.num_labels, self.facts.dimension)
        self._classifiers_LD = _array(directory / CLASSIFIERS_FILE, shape)
        self._biases_L = _array(directory / BIASES_FILE, shape[:1])
        self._labels_L = _read_labels(directory / LABELS_FILE, self.facts.num_labels)

    def best(self, vectors_BD: Floats) -> tuple[Tensor, Floats]:
        """Give the best labels of vectors, best first.

        Args:
            vectors_BD: of any length above 0; only their direction counts, as in training, where all have length 1.

        Returns:
            labels_BK (UTF-8) and scores_BK: the head's probabilities, 0 to 1. Equal ones come in the order of the labels.
        """
        lengths_B1 = np.linalg.norm(vectors_BD.astype(np.float64), axis=1, keepdims=True)
        units_BD = (vectors_BD / lengths_B1).astype(np.float32)
        logits_BL = units_BD @ self._classifiers_LD.T + self._biases_L
        rows_BK = np.stack([_largest(logits_L, self.facts.num_given) for logits_L in logits_BL])
        best_BK = np.take_along_axis(logits_BL, rows_BK, axis=1)
        # The sigmoid in a form that never overflows.
        scores_BK: Floats = np.exp(-np.logaddexp(np.float32(0), -best_BK))
        return self._labels_L[rows_BK], scores_BK

    def score_requests(self, requests: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor] | ReelspaceError]:
        """Answer requests: V2 output tensors, or the error of a request that is bad by itself."""
        return [self._answer(request["EMBEDDING"]) for request in requests]

    def _answer(self, vectors_BD: Floats) -> dict[str, Tensor] | ReelspaceError:
        for row, vector_D in enumerate(vectors_BD):
            if not np.isfinite(vector_D).all() or not vector_D.any():
                return WireError("EMBEDDING", f"row {row}: expected finite numbers that are not all zero")
        labels_BK, scores_BK = self.best(vectors_BD)
        return {"LABELS": labels_BK, "LABEL_SCORES": scores_BK}


def write_head(directory: Path, classifiers_LD: Floats, biases_L: Floats, labels: Sequence[str], num_given: int) -> HeadFacts:
    """Write the files of a head.

    Args:
        classifiers_LD: with the head's scale folded in, for vectors of length 1.
        num_given: labels given per vector at most; all of them where there are fewer.
    """
    facts = HeadFacts(dimension=classifiers_LD.shape[1], num_labels=len(labels), num_given=min(num_given, len(labels)))
    np.save(directory / CLASSIFIERS_FILE, np.ascontiguousarray(classifiers_LD, dtype=np.float32), allow_pickle=False)
    np.save(directory / BIASES_FILE, np.ascontiguousarray(biases_L, dtype=np.float32), allow_pickle=False)
    (directory / LABELS_FILE).write_bytes(orjson.dumps(list(labels)))
    (directory / HEAD_FILE).write_text(facts.model_dump_json(indent=1) + "\n")
    return facts


def _largest(logits_L: Floats, num: int) -> NDArray[np.intp]:
    """Give the places of the largest numbers, largest first, equal ones by place."""
    smallest = np.partition(logits_L, len(logits_L) - num)[len(logits_L) - num]
    places = np.flatnonzero(logits_L >= smallest)
    return places[np.argsort(-logits_L[places], kind="stable")][:num]


def _read_labels(path: Path, num_labels: int) -> Tensor:
    try:
        labels = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise _corrupt(path, error) from error
    if not isinstance(labels, list) or len(labels) != num_labels or not all(isinstance(label, str) for label in labels):
        raise _corrupt(path, f"expected a list of {num_labels} labels")
    tensor = np.empty(num_labels, dtype=np.object_)
    tensor[:] = [label.encode() for label in labels]
    return tensor


def _array(path: Path, shape: tuple[int, ...]) -> Floats:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _corrupt(path, error) from error
    if array.shape != shape or array.dtype != np.float32:
        raise _corrupt(path, f"expected float32 of shape {list(shape)}, got {array.dtype} of shape {list(array.shape)}")
    found: Floats = np.asarray(array)
    return found


def _corrupt(path: Path, why: object) -> CorruptArtifact:
    return CorruptArtifact(f"{path}: {why}; export the model again")
