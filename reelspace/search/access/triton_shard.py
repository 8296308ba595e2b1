"""A shard as a model of one or several Triton servers, each of which has all of its rows."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from reelspace.search.access.current_request import trace_headers
from reelspace.search.access.replicas import Replicas, ReplicaSettings, Told, untold
from reelspace.search.access.shard_client import ModelRefused, ShardFailed, ShardTimeout
from reelspace.search.compute.calls import Sync, decode_answer, encode_call
from reelspace.search.compute.queries import Read, ReadAnswer, ShardAnswer, ShardQuery
from reelspace.search.compute.signature import ANSWER, CALL
from reelspace.search.compute.tensors import answer_of, query_tensors, wanted_outputs

CHANNEL_OPTIONS: Final = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
FIRST_PAUSE_S: Final = 0.001
LAST_PAUSE_S: Final = 0.05
PROBE_S: Final = 10.0
_DATATYPES: Final = {
    np.dtype(np.float32): "FP32",
    np.dtype(np.int32): "INT32",
    np.dtype(np.uint64): "UINT64",
    np.dtype(np.object_): "BYTES",
}


class TritonShard:
    """A shard served as a Triton model, pinned to one generation; replicas stand in for one that fails or keeps silent."""

    def __init__(
        self,
        replicas: Sequence[triton.InferenceServerClient],
        model: str,
        generation: int,
        settings: ReplicaSettings | None = None,
        tell: Told = untold,
    ) -> None:
        self._replicas = Replicas(tuple(replicas), self._probe, settings, tell)
        self._model = model
        self._version = str(generation)
        self._wanted = 0

    def close(self) -> None:
        """Ask nothing more."""
        self._replicas.close()

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        """Search several queries at once."""
        inputs, wanted = query_tensors(queries), wanted_outputs(queries)

        async def ask(replica: triton.InferenceServerClient, left_s: float) -> Any:
            return await infer(replica, self._model, self._version, inputs, wanted, left_s)

        result = await self._replicas.ask(ask, timeout_s)
        return answer_of({name: result.as_numpy(name) for name in wanted})

    def search_now(self, queries: Sequence[ShardQuery]) -> None:
        """Answer nothing on the spot: it is a process away."""

    def lone_now(self, query: ShardQuery) -> None:
        """Answer nothing either."""

    async def read(self, request: Read, timeout_s: float) -> ReadAnswer:
        """Look up, list or count rows, or describe the shard."""
        call = encode_call(request)
        return decode_answer(await self._replicas.ask(lambda replica, left_s: self._call(replica, call, left_s), timeout_s))

    async def sync(self, number: int, timeout_s: float) -> None:
        """Return when every replica that is asked has applied a log number; one that has not in time is asked again when it has."""
        self._wanted = max(self._wanted, number)
        await self._replicas.each(lambda replica, left_s: self._applied(replica, lambda: number, left_s), timeout_s)

    async def _probe(self, replica: triton.InferenceServerClient) -> None:
        """Make a replica answer, and wait until it has what every other one was waited for to have."""
        await self._applied(replica, lambda: self._wanted, PROBE_S)

    async def _applied(self, replica: triton.InferenceServerClient, number: Callable[[], int], timeout_s: float) -> None:
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        pause_s = FIRST_PAUSE_S
        while True:
            left_s = deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                raise ShardTimeout(f"{self._model} did not apply number {number()} of its log within {timeout_s:.3g} s")
            applied = decode_answer(await self._call(replica, encode_call(Sync(number())), left_s))
            if isinstance(applied, int) and applied >= number():
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _call(self, replica: triton.InferenceServerClient, call: bytes, timeout_s: float) -> bytes:
        inputs: dict[str, NDArray[Any]] = {CALL: np.array([[call]], dtype=np.object_)}
        result = await infer(replica, self._model, self._version, inputs, [ANSWER], timeout_s)
        return bytes(result.as_numpy(ANSWER).reshape(-1)[0])


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
        return await client.infer(model, tensors, model_version=version, outputs=outputs, client_timeout=timeout_s, headers=trace_headers())
    except InferenceServerException as error:
        status, message = str(error.status()), " ".join(str(error.message()).split())[:300]
        if status.endswith("DEADLINE_EXCEEDED"):
            raise ShardTimeout(f"{model} did not answer within {timeout_s:.3g} s") from error
        if status.endswith("INVALID_ARGUMENT"):
            raise ModelRefused(f"{model} refused a request of the gateway: {message}") from error
        raise ShardFailed(f"{model}: {message}") from error


def _tensor(name: str, values: NDArray[Any]) -> Any:
    return triton.InferInput(name, values.shape, _DATATYPES[values.dtype]).set_data_from_numpy(values)
