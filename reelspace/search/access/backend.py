"""Where shards run, as the catalog sees it: inside this process, or on Triton servers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from reelspace.search.access.shard_client import ShardClient
from reelspace.search.access.targets import Encoder
from reelspace.search.storage.layout import Collection, SpacePointer


class Backend(Protocol):
    """Starts and finds the shards of collections."""

    async def open(self, collection: Collection) -> Sequence[ShardClient]:
        """Give a client of every shard, in order; the shards may still be loading."""

    async def follow(self) -> None:
        """Go over to other servers, where shards were given to them."""

    async def load(self, model: str, addresses: Sequence[str]) -> bool:
        """Have servers load a shard; tells whether one has it now."""

    async def unload(self, model: str, addresses: Sequence[str]) -> None:
        """Have servers unload a shard."""

    async def close(self, collection: Collection) -> None:
        """Let go of a collection that is no longer served, or is about to be deleted."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a gateway stands in front of: `encoders` gives the promoted models that put words into a promoted space, by name."""

    backend: Backend
    encoders: Callable[[SpacePointer], Mapping[str, Encoder]]
