"""One shard as the gateway sees it, wherever it runs: local_shard.py in this process, triton_shard.py on Triton servers."""

from collections.abc import Sequence
from typing import Protocol, Self

from reelspace.core.errors import InternalError, ServerUnavailable
from reelspace.search.compute.queries import Read, ReadAnswer, ShardAnswer, ShardFacts, ShardQuery
from reelspace.search.storage.ids import Id


class ShardTimeout(ServerUnavailable):
    """Shards did not answer in time; the message names them."""


class ShardFailed(ServerUnavailable):
    """Shards answered with an error; the message names them."""


class GenerationMissing(ShardFailed):
    """A shard does not have the generation that it is asked for: look which one is current, and ask again."""


class ModelRefused(InternalError):
    """A model called a request bad that the gateway had let through."""


class ShardClient(Protocol):
    """What the gateway asks of a shard, in the generation that is current at any time, or in a given one."""

    def at(self, generation: int) -> Self:
        """Give the client of one generation; what it asks raises GenerationMissing where that is not loaded."""

    async def prepare(self, generation: int, timeout_s: float) -> None:
        """Return when a generation can be asked for.

        Raises:
            ShardTimeout, ShardFailed: it cannot.
        """

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        """Search several queries at once, all over vectors of one length.

        Raises:
            ShardTimeout, ShardFailed: there is no answer.
            ModelRefused: the shard calls a query bad.
        """

    def search_now(self, queries: Sequence[ShardQuery]) -> ShardAnswer | None:
        """Answer on the spot what is expected to be quick and waits for nothing, None else: then `search` must be asked.

        A task that hands work over and its answer back takes longer than a quick search. Raises as `search`.
        """

    def lone_now(self, query: ShardQuery) -> tuple[list[Id], list[float]] | None:
        """Answer the usual lone query on the spot, ids and scores of exactly k hits; None for one that `search_now` must be asked."""

    async def read(self, request: Read, timeout_s: float) -> ReadAnswer:
        """Look up, list or count rows, or describe the shard; raises as `search`."""

    async def look(self, timeout_s: float) -> Sequence[ShardFacts | None]:
        """Have every server of the shard look at the pointer, and tell what it has; None for one that does not answer."""

    async def sync(self, number: int, timeout_s: float) -> None:
        """Return when a log number is applied, on every replica; ShardTimeout when it was not in time."""
