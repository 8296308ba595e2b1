"""A client's vector, checked: numbers only, finite as float32, short enough that no score overflows, with a direction for cosine.

Legend: D dimension, Q queries.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reelspace.search.access.refusal import RequestRefused, kind_of, not_served
from reelspace.search.storage.rows import MAX_SQUARED_LENGTH, MIN_SQUARED_LENGTH, Fields, VectorField

_NUMBERS: Final = {float, int}


def parse_vector(value: Any, known: VectorField, where: str) -> NDArray[np.float32]:
    """Check a dense vector: a list as it comes in JSON, or float32 as it comes in messages.

    Raises:
        RequestRefused: 400 naming the vector or its component, or 501 for several vectors, sparse ones and what a model would read.
    """
    if not isinstance(value, list | np.ndarray):
        if isinstance(value, dict):
            refuse_unserved(value, where)
        raise RequestRefused(where, f"expected a vector, got {kind_of(value)}")
    if len(value) != known.dimension:
        if len(value) and all(isinstance(one, list) for one in value):
            raise not_served(where, "several vectors in one")
        raise RequestRefused(where, f"expected a vector of length {known.dimension}, got {len(value)}")
    if isinstance(value, np.ndarray):
        # One look settles it for all but the longest, the shortest and those that are not finite.
        vector_D: NDArray[np.float32] = value.astype(np.float32)
        if 2 * MIN_SQUARED_LENGTH <= float(vector_D.dot(vector_D)) <= MAX_SQUARED_LENGTH / 2:
            return vector_D
        return checked_vector(value.astype(np.float64), known, where)
    if not set(map(type, value)) <= _NUMBERS:
        place, one = next((place, one) for place, one in enumerate(value) if type(one) not in _NUMBERS)
        raise RequestRefused(f"{where}[{place}]", f"expected a number, got {kind_of(one)}")
    return checked_vector(np.array(value, dtype=np.float64), known, where)


def are_surely_good(vectors_QD: NDArray[np.float32]) -> bool:
    """Tell whether `parse_vector` takes each of these, be the metric what it may; False says nothing: it must look at each."""
    squares_Q = np.einsum("qd,qd->q", vectors_QD, vectors_QD)
    return bool(((squares_Q >= 2 * MIN_SQUARED_LENGTH) & (squares_Q <= MAX_SQUARED_LENGTH / 2)).all())


def checked_vector(wide_D: NDArray[np.float64], known: VectorField, where: str) -> NDArray[np.float32]:
    """Cast a vector of the right length to float32 and check what it is then, as `rows.checked` does."""
    # numpy's dot, unlike @, does not warn where squares overflow.
    if not float(wide_D.dot(wide_D)) <= 2 * MAX_SQUARED_LENGTH:
        bad = np.flatnonzero(~(np.abs(wide_D) <= np.finfo(np.float32).max))
        if len(bad):
            raise RequestRefused(f"{where}[{bad[0]}]", "expected a finite float32 number")
        raise _too_long(where)
    vector_D: NDArray[np.float32] = wide_D.astype(np.float32)
    cast_D = vector_D.astype(np.float64)
    squared = float(cast_D.dot(cast_D))
    if squared > MAX_SQUARED_LENGTH:
        raise _too_long(where)
    if squared < MIN_SQUARED_LENGTH and known.metric == "cosine":
        raise RequestRefused(where, "expected a vector that is not all zeros: cosine needs a direction")
    return vector_D


def vector_field(name: str, fields: Fields, where: str) -> VectorField:
    """Find the vectors of a name."""
    known = fields.get(name)
    if known is None:
        raise RequestRefused(where, f"expected the name of a vector, one of {names_of(fields)}; got {name[:60]!r}")
    return known


def names_of(names: Iterable[str]) -> str:
    """List names of vectors for a message."""
    return ", ".join(map(repr, sorted(names)))


def refuse_unserved(value: Any, where: str) -> None:
    """Refuse an object that is a vector in Qdrant's dialect but not here: a sparse one, or what a model would read."""
    if {"indices", "values"} <= set(value):
        raise not_served(where, "sparse vectors")
    if "model" in value:
        raise not_served(where, "embedding on writes")


def _too_long(where: str) -> RequestRefused:
    return RequestRefused(where, f"expected a squared length of at most {MAX_SQUARED_LENGTH:.3g}: longer vectors overflow float32")
