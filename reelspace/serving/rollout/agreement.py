"""How much two versions' answers to one request agree."""

import numpy as np

from reelspace.serving.answer_checks import WrongAnswer
from reelspace.serving.wire import Answer, Tensor

SPACE_ID = "SPACE_ID"


def agreement(candidate: Answer, stable: Answer) -> float:
    """Give the lowest cosine of all rows of all outputs of floating point, 1 where there are none.

    Raises:
        WrongAnswer: the answers name different spaces, so nothing of theirs may be compared.
    """
    if SPACE_ID in stable.outputs and not np.array_equal(candidate.outputs[SPACE_ID], stable.outputs[SPACE_ID]):
        raise WrongAnswer(f"version {candidate.version} of model {candidate.model} names another space than version {stable.version}")
    floats = {name: tensor for name, tensor in stable.outputs.items() if tensor.dtype.kind == "f" and tensor.size}
    return min((_lowest_cosine(candidate.outputs[name], tensor) for name, tensor in floats.items()), default=1.0)


def _lowest_cosine(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return -1.0
    one_BD, other_BD = (tensor.reshape(len(tensor), -1).astype(np.float64) for tensor in (one, other))
    products_B = (one_BD * other_BD).sum(axis=1)
    norms_B = np.linalg.norm(one_BD, axis=1) * np.linalg.norm(other_BD, axis=1)
    # Two rows of zeros agree; a row of zeros beside another one does not.
    equal_B = (one_BD == other_BD).all(axis=1)
    return float(np.where(equal_B, 1.0, products_B / np.where(norms_B > 0, norms_B, 1.0)).min())
