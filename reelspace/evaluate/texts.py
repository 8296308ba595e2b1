"""Text queries in the teacher's space, computed with torch: the offline twin of the served text encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reelspace.core.artifacts import Artifact
from reelspace.model.checkpoint import load_model
from reelspace.model.model import ReelModel
from reelspace.model.tokenizer import Tokenizer


def embed_texts(teacher: Artifact, directory: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed Q texts with the text tower of a `teacher` artifact.

    Args:
        teacher: the artifact; fetched into `directory`, which is made.
        texts: search phrases.

    Returns:
        Q unit vectors of D dimensions.
    """
    model, tokenizer, _ = load_model(teacher.fetch(directory))
    return encode_texts(model, tokenizer, texts)


def encode_texts(model: ReelModel, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    """Give the unit vectors QD of texts by a loaded model, which is in evaluation mode."""
    ids_BL, mask_BL = tokenizer.encode_BL(texts)
    with torch.inference_mode():
        vectors_QD = model.encode_text(torch.as_tensor(ids_BL), torch.as_tensor(mask_BL))
    return np.asarray(vectors_QD.numpy(), dtype=np.float32)
