"""Checks of a model's answers: clients could not use a wrong one, and whoever promoted the model must hear of it."""

import numpy as np

from reelspace.core.errors import ServerUnavailable
from reelspace.serving.signatures import Signature
from reelspace.serving.wire import Answer, datatype_of


class WrongAnswer(ServerUnavailable):
    """An answer that is not what the model's signature says."""


class NotFinite(WrongAnswer):
    """An answer with a number that is infinite, or none."""


def check_answer(answer: Answer, signature: Signature, num_rows: int) -> None:
    """Refuse an answer without an output of the signature, or with one of another datatype or shape; WrongAnswer."""
    for spec in signature.outputs:
        tensor = answer.outputs.get(spec.name)
        got = "nothing" if tensor is None else f"{datatype_of(tensor)} {list(tensor.shape)}"
        is_right = tensor is not None and datatype_of(tensor) == spec.datatype and _has_shape(tensor.shape, (num_rows, *spec.dims))
        if not is_right:
            expected = f"{spec.datatype} {[num_rows, *spec.dims]}"
            raise WrongAnswer(f"model {signature.model} gave {got} as {spec.name}, where its signature says {expected}")


def check_finite(answer: Answer) -> None:
    """Refuse an answer with numbers that are not finite; NotFinite."""
    for name, tensor in answer.outputs.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise NotFinite(f"model {answer.model} gave numbers that are not finite as {name}")


def _has_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(size == wanted or wanted < 0 for size, wanted in zip(shape, expected, strict=True))
