"""The shards of a catalog's collections as the controller sees them: every server that has one."""

from collections.abc import Sequence
from typing import Final

from reelspace.search.access.catalog import Catalog
from reelspace.search.compute.queries import Describe, ShardFacts

TIMEOUT_S: Final = 5.0


class ControlledShards:
    """Asks through a gateway's or a controller's own clients. Belongs to the catalog's event loop."""

    def __init__(self, catalog: Catalog, *, are_elsewhere: bool) -> None:
        """Look at nothing yet.

        Args:
            are_elsewhere: whether shards are served also where this process has not opened their collection; else nobody serves those.
        """
        self._catalog = catalog
        self._are_elsewhere = are_elsewhere

    async def look(self, full_name: str, shard: int) -> Sequence[ShardFacts | None]:
        """Have every server look at the pointer, and tell what it has."""
        if not self._are_elsewhere and not self._catalog.is_open(full_name):
            return []
        service = await self._catalog.open(full_name)
        return await service.shards[shard].look(TIMEOUT_S)

    async def describe(self, full_name: str, shard: int, generation: int) -> ShardFacts:
        """Let one server describe a generation."""
        service = await self._catalog.open(full_name)
        facts = await service.shards[shard].at(generation).read(Describe(), TIMEOUT_S)
        assert isinstance(facts, ShardFacts), "Describe is answered with facts"
        return facts
