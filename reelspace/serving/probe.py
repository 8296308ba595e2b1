"""The smallest request that makes a model really work: a server can say ready while the model behind it is dead."""

import base64
from typing import Final

import numpy as np

from reelspace.serving.signatures import ANY, MEDIA, Signature, TensorSpec
from reelspace.serving.wire import DTYPES, Message, Tensor, encode_request

PICTURE: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAKklEQVR42mNgEFAwcAhIKIDRDQxQegIDlF7AAKU3MEDpAwxQ+gIDlH4AAB51HAGfRI9tAAAAAElFTkSuQmCC"
)
"""A PNG of 8 x 8 pixels."""


def probe_request(signature: Signature) -> Message:
    """Write a request of one row in which every required input is filled with ones (BYTES: the word "probe"; MEDIA: a small picture).

    Where none is required, the last one alone is filled.
    """
    return encode_request(probe_tensors(signature))


def probe_tensors(signature: Signature, num_rows: int = 1) -> dict[str, Tensor]:
    """Give the tensors of `probe_request` by name, of so many equal rows."""
    filled = [spec for spec in signature.inputs if not spec.optional] or signature.inputs[-1:]
    return {spec.name: _ones(spec, num_rows) for spec in filled}


def _ones(spec: TensorSpec, num_rows: int) -> Tensor:
    shape = (num_rows, *(1 if size == ANY else size for size in spec.dims))
    if spec.datatype != "BYTES":
        return np.full(shape, 1, dtype=DTYPES[spec.datatype])
    return np.full(shape, PICTURE if spec.name == MEDIA else b"probe", dtype=np.object_)
