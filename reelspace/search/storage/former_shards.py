"""How many shards a collection had before it was resharded, and why that is a part of its request keys.

A request is one write in each shard that has rows of it, all of one key. Resharded, one shard may get writes of the same key from
several former shards, each whole or absent. So the rows of a request are parted by their former shards as well, here and by whoever
brings the old log over, and the former shard is a part of the key. Then a request that is sent again finds each of its parts that
is there already. Where the former number divides the new one, rows of one shard were in one shard before: no part is needed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reelspace.search.storage.ids import Id, shard_of

_SUFFIX: Final = re.compile(r"@\d+(\.\d+)*$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row lies, and which former shards it was in."""

    shard: int
    former: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FormerShards:
    """The numbers of shards that matter, oldest first, and the one that is."""

    counts: tuple[int, ...]
    num_shards: int

    def resharded(self, num_shards: int) -> "FormerShards":
        """Give those of the collection into which this one is resharded.

        A shard and the former ones that matter tell what the former ones were that mattered before, so no two keys become one.
        """
        counts = [*dict.fromkeys((*self.counts, self.num_shards))]

        def is_needed(count: int) -> bool:
            return num_shards % count > 0 and all(other == count or other % count for other in counts)

        return FormerShards(tuple(filter(is_needed, counts)), num_shards)

    def place(self, id: Id) -> Place:
        """Give where a row lies."""
        return Place(shard_of(id, self.num_shards), tuple(shard_of(id, count) for count in self.counts))

    def key(self, request_key: str, former: Sequence[int]) -> str:
        """Give the key of the part of a request whose rows were in these former shards."""
        return f"{request_key}@{'.'.join(map(str, former))}" if former else request_key

    def request_key(self, key: str) -> str:
        """Give the key of the request of which a key names a part."""
        return _SUFFIX.sub("", key) if self.counts else key
