"""A trained model's text side as an encoder of the `mteb` package, which need not be installed: it asks for methods, not for a class.

Legend: B texts, D dimension, M and N vectors.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reelspace.evaluate.texts import encode_texts
from reelspace.model.checkpoint import load_model

_BATCH_SIZE = 64
Texts = Iterable[Mapping[str, object]] | Sequence[str]


class TeacherEncoder:
    """Texts to unit vectors, with the interface of mteb's `EncoderProtocol`.

    `mteb_model_meta` is None, which mteb reads as a model it does not list.
    Source: embeddings-benchmark/mteb, mteb/models/models_protocols.py.
    """

    mteb_model_meta: None = None

    def __init__(self, model_name: str | Path, revision: str | None = None, **kwargs: object) -> None:
        """Load the directory `model_name` of a trained model; mteb's other arguments change nothing here."""
        self._model, self._tokenizer, _ = load_model(Path(model_name))

    def encode(
        self,
        inputs: Texts,
        *,
        task_metadata: object = None,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: object = None,
        batch_size: int = _BATCH_SIZE,
        **kwargs: object,
    ) -> NDArray[np.float32]:
        """Give one unit vector per text, [B, D], in their order; a text without any token gives zeros.

        Args:
            inputs: batches with the texts under `text`, as mteb's loaders give them, or plain texts, as its first version did.
            task_metadata, hf_split, hf_subset, prompt_type: not used; queries and documents are encoded alike, without prompts.
            batch_size: texts encoded at a time.
        """
        texts = list(_texts(inputs))
        parts = [
            encode_texts(self._model, self._tokenizer, texts[start : start + batch_size]) for start in range(0, len(texts), batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self._model.settings.dimension), dtype=np.float32)

    def similarity(self, embeddings1: NDArray[np.float32] | Tensor, embeddings2: NDArray[np.float32] | Tensor) -> Tensor:
        """Give the cosine of every pair, [M, N]."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: NDArray[np.float32] | Tensor, embeddings2: NDArray[np.float32] | Tensor) -> Tensor:
        """Give the cosine of row to row, [N]."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(dim=-1)


def _texts(inputs: Texts) -> Iterable[str]:
    for part in inputs:
        if isinstance(part, str):
            yield part
        else:
            batch = part["text"]
            assert isinstance(batch, list | tuple)
            yield from batch


def _unit(vectors: NDArray[np.float32] | Tensor) -> Tensor:
    rows = torch.as_tensor(vectors)
    return torch.nn.functional.normalize(rows.reshape(-1, rows.shape[-1]), dim=-1)
