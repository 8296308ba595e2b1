"""One shard as the gateway sees it: a protocol, and the shard model of a Triton server behind it.

Legend: Q queries, K hits, E excluded ids, D dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from reelspace.core.errors import InternalError, ServerUnavailable
from reelspace.search.access.merge import NO_ID, Hits
from reelspace.search.compute.signature import EXCLUDE, IDS, PAYLOAD, POINT, QUERY, SCORES, VECTOR, K

CHANNEL_OPTIONS: Final = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_DATATYPES: Final = {np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32", np.dtype(np.int64): "INT64", np.dtype(np.object_): "BYTES"}


class ShardTimeout(ServerUnavailable):
    """Shards did not answer in time; the message names them."""


class ShardFailed(ServerUnavailable):
    """Shards answered with an error; the message names them."""


class ModelRefused(InternalError):
    """A model called a request bad that the gateway had let through."""


@dataclass(frozen=True, slots=True)
class ShardQuery:
    """One checked query: a finite vector of length 1, hits wanted, ids that must not be hits."""

    vector_D: NDArray[np.float32]
    k: int
    excluded: tuple[int, ...] = ()
    with_payload: bool = False


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """A shard's hits for several queries; payloads_QK holds JSON as bytes, None when no query asked for it."""

    hits: Hits
    payloads_QK: NDArray[np.object_] | None


class ShardClient(Protocol):
    """What the gateway asks of a shard."""

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        """Search several queries at once; ShardTimeout or ShardFailed when there is no answer."""

    async def vector(self, point_id: int, timeout_s: float) -> NDArray[np.float32] | None:
        """Give a stored vector, None for an unknown id."""


class TritonShard:
    """A shard served as a Triton model, pinned to one generation."""

    def __init__(self, client: triton.InferenceServerClient, model: str, generation: int, dimension: int) -> None:
        self._client = client
        self._model = model
        self._version = str(generation)
        self._dimension = dimension

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        """Search several queries at once."""
        inputs: dict[str, NDArray[Any]] = {
            QUERY: np.stack([query.vector_D for query in queries]),
            K: np.array([[query.k] for query in queries], dtype=np.int32),
        }
        widest = max(len(query.excluded) for query in queries)
        if widest:
            inputs[EXCLUDE] = np.array([query.excluded + (NO_ID,) * (widest - len(query.excluded)) for query in queries], dtype=np.int64)
        wanted = [IDS, SCORES, PAYLOAD] if any(query.with_payload for query in queries) else [IDS, SCORES]
        result = await infer(self._client, self._model, self._version, inputs, wanted, timeout_s)
        payloads = result.as_numpy(PAYLOAD) if PAYLOAD in wanted else None
        return ShardAnswer(Hits(result.as_numpy(IDS), result.as_numpy(SCORES)), payloads)

    async def vector(self, point_id: int, timeout_s: float) -> NDArray[np.float32] | None:
        """Give a stored vector, None for an unknown id."""
        inputs: dict[str, NDArray[Any]] = {
            QUERY: np.zeros((1, self._dimension), dtype=np.float32),
            K: np.ones((1, 1), dtype=np.int32),
            POINT: np.array([[point_id]], dtype=np.int64),
        }
        vector_D = (await infer(self._client, self._model, self._version, inputs, [VECTOR], timeout_s)).as_numpy(VECTOR)[0]
        return vector_D if vector_D.any() else None


async def infer(
    client: triton.InferenceServerClient, model: str, version: str, inputs: dict[str, NDArray[Any]], wanted: Sequence[str], timeout_s: float
) -> Any:
    """Ask one model of a Triton server.

    Raises:
        ShardTimeout: no answer within timeout_s.
        ShardFailed: the server cannot be reached, or the model failed.
        ModelRefused: the model called the request bad.
    """
    tensors = [_tensor(name, values) for name, values in inputs.items()]
    outputs = [triton.InferRequestedOutput(name) for name in wanted]
    try:
        return await client.infer(model, tensors, model_version=version, outputs=outputs, client_timeout=timeout_s)
    except InferenceServerException as error:
        status, message = str(error.status()), " ".join(str(error.message()).split())[:300]
        if status.endswith("DEADLINE_EXCEEDED"):
            raise ShardTimeout(f"{model} did not answer within {timeout_s:.3g} s") from error
        if status.endswith("INVALID_ARGUMENT"):
            raise ModelRefused(f"{model} refused a request of the gateway: {message}") from error
        raise ShardFailed(f"{model}: {message}") from error


def _tensor(name: str, values: NDArray[Any]) -> Any:
    return triton.InferInput(name, values.shape, _DATATYPES[values.dtype]).set_data_from_numpy(values)
