"""No shards: for a process that serves encoders alone."""

from collections.abc import Sequence

from reelspace.search.access.refusal import not_served
from reelspace.search.access.shard_client import ShardClient
from reelspace.search.storage.layout import Collection


class NoBackend:
    """Opens no collection."""

    async def open(self, collection: Collection) -> Sequence[ShardClient]:
        """Refuse it: 501."""
        raise not_served("collection", f"{collection.name} by this gateway, which serves encoders alone,")

    async def follow(self) -> None:
        """Go nowhere."""

    async def load(self, _model: str, _addresses: Sequence[str]) -> bool:
        """Load nothing."""
        return False

    async def unload(self, _model: str, _addresses: Sequence[str]) -> None:
        """Unload nothing."""

    async def close(self, _collection: Collection) -> None:
        """Let go of nothing."""
