"""The smallest request that makes a model really work: a server can say ready while the model behind it is dead."""

import numpy as np

from reelspace.serving.signatures import ANY, Signature, TensorSpec
from reelspace.serving.wire import DTYPES, Message, Tensor, encode_request


def probe_request(signature: Signature) -> Message:
    """Write a request of one row in which every required input is filled with ones (BYTES: the word "probe").

    Where none is required, the last one alone is filled.
    """
    filled = [spec for spec in signature.inputs if not spec.optional] or signature.inputs[-1:]
    return encode_request({spec.name: _ones(spec) for spec in filled})


def _ones(spec: TensorSpec) -> Tensor:
    shape = (1, *(1 if size == ANY else size for size in spec.dims))
    return np.full(shape, b"probe" if spec.datatype == "BYTES" else 1, dtype=DTYPES[spec.datatype])
