"""Connections to Triton servers by address, and what is done to their models."""

from collections.abc import Callable, Sequence
from typing import Final

import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from reelspace.core.log import log
from reelspace.search.access.replicas import Event, Told
from reelspace.search.access.shard_client import ShardFailed
from reelspace.search.storage.followed import FOLLOWED_VERSION

CHANNEL_OPTIONS: Final = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A pod that was replaced has another address under its name; for half a minute gRPC would not ask for it.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
]
LOAD_S: Final = 120.0
READY_S: Final = 5.0


class TritonServers:
    """Servers by address. A channel belongs to the event loop it is made in: make this there, and close it."""

    def __init__(self, addresses: Sequence[str], tell: Callable[[str, Event], None]) -> None:
        """Connect to nothing yet.

        Args:
            addresses: the servers of shards that no group has, and of encoders.
            tell: hears what becomes of servers, by address.
        """
        self.addresses = tuple(addresses)
        self._tell = tell
        self._clients: dict[str, triton.InferenceServerClient] = {}

    def clients(self, addresses: Sequence[str]) -> tuple[triton.InferenceServerClient, ...]:
        """Give the connections to some servers."""
        return tuple(self._client(address) for address in addresses)

    def told(self, addresses: Sequence[str]) -> Told:
        """Give what hears of events of these servers by their place."""
        return lambda place, event: self._tell(addresses[place], event)

    async def close(self) -> None:
        """End all connections."""
        for client in self._clients.values():
            await client.close()

    def _client(self, address: str) -> triton.InferenceServerClient:
        if address not in self._clients:
            self._clients[address] = triton.InferenceServerClient(address, channel_args=CHANNEL_OPTIONS)
        return self._clients[address]


async def load_model(server: triton.InferenceServerClient, model: str) -> None:
    """Have a server load a shard's model if it is not ready there; ShardFailed if that fails."""
    try:
        if not await server.is_model_ready(model, str(FOLLOWED_VERSION), client_timeout=READY_S):
            await server.load_model(model, client_timeout=LOAD_S)
    except InferenceServerException as error:
        raise ShardFailed(f"{model}: {_message(error)}") from error


async def unload_model(server: triton.InferenceServerClient, model: str) -> None:
    """Have a server unload a shard's model if it is ready there; what hinders that is logged."""
    try:
        if await server.is_model_ready(model, str(FOLLOWED_VERSION), client_timeout=READY_S):
            await server.unload_model(model, client_timeout=LOAD_S)
    except InferenceServerException as error:
        log("not_unloaded", model=model, error=_message(error))


def _message(error: InferenceServerException) -> str:
    return " ".join(str(error.message()).split())[:300]
