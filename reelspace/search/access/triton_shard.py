"""A shard as a model of one or several Triton servers, each of which has all of its rows."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from reelspace.search.access.current_request import trace_headers
from reelspace.search.access.replicas import Replicas, ReplicaSettings
from reelspace.search.access.shard_client import GenerationMissing, ModelRefused, ShardFailed, ShardTimeout
from reelspace.search.access.triton_servers import TritonServers, load_model
from reelspace.search.compute.calls import Look, Sync, decode_answer, encode_call
from reelspace.search.compute.queries import GONE, Read, ReadAnswer, ShardAnswer, ShardFacts, ShardQuery
from reelspace.search.compute.signature import ANSWER, CALL
from reelspace.search.compute.tensors import answer_of, query_tensors, wanted_outputs
from reelspace.search.storage.followed import FOLLOWED_VERSION

FIRST_PAUSE_S: Final = 0.001
LAST_PAUSE_S: Final = 0.05
PROBE_S: Final = 10.0
_VERSION: Final = str(FOLLOWED_VERSION)
_DATATYPES: Final = {
    np.dtype(np.float32): "FP32",
    np.dtype(np.int32): "INT32",
    np.dtype(np.uint64): "UINT64",
    np.dtype(np.object_): "BYTES",
}


class TritonShard:
    """A shard served as a Triton model that follows its pointer; replicas stand in for one that fails or keeps silent."""

    def __init__(self, servers: "ShardServers", generation: int = 0) -> None:
        """Connect.

        Args:
            generation: the one that is asked; 0: the one that is current at any time.
        """
        self._servers = servers
        self._generation = generation

    def at(self, generation: int) -> Self:
        """Give the client of one generation."""
        return type(self)(self._servers, generation)

    async def prepare(self, generation: int, timeout_s: float) -> None:
        """Return when a server has a generation, and all that are trusted have it, or did not say so for long."""
        await self._servers.prepare(generation, timeout_s)

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        """Search several queries at once."""
        inputs, wanted = query_tensors(queries, self._generation), wanted_outputs(queries)
        result = await self._servers.ask(inputs, wanted, timeout_s)
        return answer_of({name: result.as_numpy(name) for name in wanted})

    def search_now(self, queries: Sequence[ShardQuery]) -> None:
        """Answer nothing on the spot: it is a process away."""

    def lone_now(self, query: ShardQuery) -> None:
        """Answer nothing either."""

    async def read(self, request: Read, timeout_s: float) -> ReadAnswer:
        """Look up, list or count rows, or describe the shard."""
        result = await self._servers.ask(_call_tensors(encode_call(request, self._generation)), [ANSWER], timeout_s)
        return decode_answer(_answer_bytes(result))

    async def look(self, timeout_s: float) -> Sequence[ShardFacts | None]:
        """Have every server look at the pointer, and tell what it has."""
        return await self._servers.look(timeout_s)

    async def sync(self, number: int, timeout_s: float) -> None:
        """Return when every replica that is asked has applied a log number; one that has not in time is asked again when it has."""
        await self._servers.sync(number, timeout_s)


class ShardServers:
    """The Triton servers that have one shard. Belongs to one event loop; close it there."""

    def __init__(self, servers: TritonServers, addresses: tuple[str, ...], model: str, settings: ReplicaSettings | None = None) -> None:
        """Connect to the servers at some addresses."""
        self._servers, self._model, self._settings = servers, model, settings
        self._applied_number = 0
        self._generation = 0
        self._coming: Replicas[triton.InferenceServerClient] | None = None
        self.addresses = addresses
        self._replicas = self._replicas_at(addresses)

    def _replicas_at(self, addresses: tuple[str, ...]) -> Replicas[triton.InferenceServerClient]:
        return Replicas(self._servers.clients(addresses), self._probe, self._settings, self._servers.told(addresses), self._catch_up)

    async def _catch_up(self, replica: triton.InferenceServerClient, timeout_s: float) -> None:
        if self._applied_number:
            await self._applied(replica, lambda: self._applied_number, timeout_s)

    async def move(self, addresses: tuple[str, ...], timeout_s: float) -> None:
        """Go over to other servers once one of them has what those before have.

        Raises:
            ShardFailed, ShardTimeout: none has it; those before are asked on.
        """
        replicas = self._coming = self._replicas_at(addresses)
        try:
            await replicas.each(lambda replica, _: self._probe(replica), timeout_s)
            if self._coming is not replicas:
                raise ShardFailed(f"{self._model}: the servers that it goes to did not apply what was written meanwhile")
        except BaseException:
            replicas.close()
            raise
        finally:
            self._coming = None
        before, self._replicas, self.addresses = self._replicas, replicas, addresses
        before.close()

    def close(self) -> None:
        """Ask nothing more."""
        self._replicas.close()

    async def ask(self, inputs: dict[str, NDArray[Any]], wanted: Sequence[str], timeout_s: float) -> Any:
        """Ask the one that has the least to do, or another one; raises what `Replicas.ask` raises."""

        async def ask(replica: triton.InferenceServerClient, left_s: float) -> Any:
            return await infer(replica, self._model, _VERSION, inputs, wanted, left_s)

        return await self._replicas.ask(ask, timeout_s)

    async def sync(self, number: int, timeout_s: float) -> None:
        """Return when every server that is asked has applied a log number."""
        self._applied_number = max(self._applied_number, number)
        coming = self._coming
        if coming is None:
            await self._sync(self._replicas, number, timeout_s)
            return
        # Those that are about to be asked must not miss what is acknowledged until then.
        told, missed = await asyncio.gather(
            self._sync(self._replicas, number, timeout_s), self._sync(coming, number, timeout_s), return_exceptions=True
        )
        if missed is not None and self._coming is coming:
            self._coming = None
        if told is not None:
            raise told

    async def _sync(self, replicas: Replicas[triton.InferenceServerClient], number: int, timeout_s: float) -> None:
        await replicas.each(lambda replica, left_s: self._applied(replica, lambda: number, left_s), timeout_s)

    async def prepare(self, generation: int, timeout_s: float) -> None:
        """Return when every server that is asked has a generation; from then on those that do not have it are not trusted."""
        await self._replicas.each(lambda replica, left_s: self._has(replica, generation, left_s), timeout_s)
        self._generation = generation

    async def look(self, timeout_s: float) -> list[ShardFacts | None]:
        """Let every server tell what it has, after a look at what it should have; None for one that does not answer."""
        return await asyncio.gather(*(self._described(replica, timeout_s) for replica in self._replicas.servers))

    async def _described(self, replica: triton.InferenceServerClient, timeout_s: float) -> ShardFacts | None:
        try:
            return await self._looked(replica, timeout_s)
        except (ShardFailed, ShardTimeout):
            return None

    async def _probe(self, replica: triton.InferenceServerClient) -> None:
        """Make a replica answer, and wait until it has what every other one was waited for to have."""
        await load_model(replica, self._model)
        await self._applied(replica, lambda: self._applied_number, PROBE_S)
        if self._generation:
            await self._has(replica, self._generation, PROBE_S)

    async def _has(self, replica: triton.InferenceServerClient, generation: int, timeout_s: float) -> None:
        await _until(
            lambda left_s: self._is_loaded(replica, generation, left_s), timeout_s, f"{self._model} has no generation {generation}"
        )

    async def _is_loaded(self, replica: triton.InferenceServerClient, generation: int, timeout_s: float) -> bool:
        return generation in (await self._looked(replica, timeout_s)).loaded

    async def _looked(self, replica: triton.InferenceServerClient, timeout_s: float) -> ShardFacts:
        facts = decode_answer(await self._call(replica, encode_call(Look()), timeout_s))
        assert isinstance(facts, ShardFacts), "a look is answered with facts"
        return facts

    async def _applied(self, replica: triton.InferenceServerClient, number: Callable[[], int], timeout_s: float) -> None:
        async def is_applied(left_s: float) -> bool:
            applied = decode_answer(await self._call(replica, encode_call(Sync(number())), left_s))
            return isinstance(applied, int) and applied >= number()

        await _until(is_applied, timeout_s, f"{self._model} did not apply number {number()} of its log")

    async def _call(self, replica: triton.InferenceServerClient, call: bytes, timeout_s: float) -> bytes:
        return _answer_bytes(await infer(replica, self._model, _VERSION, _call_tensors(call), [ANSWER], timeout_s))


async def _until(is_done: Callable[[float], Awaitable[bool]], timeout_s: float, what: str) -> None:
    """Ask again and again, ever less often, until it is done; ShardTimeout when it was not in time."""
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    pause_s = FIRST_PAUSE_S
    while (left_s := deadline_s - asyncio.get_running_loop().time()) > 0:
        if await is_done(left_s):
            return
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LAST_PAUSE_S)
    raise ShardTimeout(f"{what} within {timeout_s:.3g} s")


def _call_tensors(call: bytes) -> dict[str, NDArray[Any]]:
    return {CALL: np.array([[call]], dtype=np.object_)}


def _answer_bytes(result: Any) -> bytes:
    return bytes(result.as_numpy(ANSWER).reshape(-1)[0])


async def infer(
    client: triton.InferenceServerClient, model: str, version: str, inputs: dict[str, NDArray[Any]], wanted: Sequence[str], timeout_s: float
) -> Any:
    """Ask one model of a Triton server.

    Raises:
        ShardTimeout: no answer within timeout_s.
        ShardFailed: the server cannot be reached, or the model failed.
        GenerationMissing: the model does not have the generation that it is asked for.
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
        kind = GenerationMissing if GONE in message else ShardFailed
        raise kind(f"{model}: {message}") from error


def _tensor(name: str, values: NDArray[Any]) -> Any:
    return triton.InferInput(name, values.shape, _DATATYPES[values.dtype]).set_data_from_numpy(values)
