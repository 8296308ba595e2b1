"""Look-ups over all shards of a collection: rows by id, pages in the order of ids, counts. Never partial."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reelspace.search.access.deadline import Deadline
from reelspace.search.access.merge import all_records, first_records, total
from reelspace.search.access.shard_calls import all_answers
from reelspace.search.access.shard_client import ShardClient
from reelspace.search.compute.queries import Count, Read, ReadAnswer, Record, Retrieve, Scroll
from reelspace.search.storage.ids import Id, next_id, shard_of

PAGE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Reads:
    """Reads from the shards of one collection; every method raises ShardTimeout or ShardFailed when a shard that is asked is missing."""

    shards: Sequence[ShardClient]

    async def by_id(self, request: Retrieve, timeout_s: float) -> dict[Id, Record]:
        """Give the rows of some ids; unknown ones are left out."""
        parts: dict[int, list[Id]] = {}
        for id in dict.fromkeys(request.ids):
            parts.setdefault(shard_of(id, len(self.shards)), []).append(id)
        answers = await self._ask({shard: replace(request, ids=tuple(ids)) for shard, ids in parts.items()}, timeout_s)
        return {record.id: record for record in all_records(answers)}

    async def page(self, request: Scroll, timeout_s: float) -> tuple[list[Record], Id | None]:
        """Give the first rows from an id on, in the order of ids, and the id of the row after them."""
        wide = replace(request, limit=request.limit + 1)
        answers = await self._ask(dict.fromkeys(range(len(self.shards)), wide), timeout_s)
        records = first_records(answers, wide.limit)
        return records[: request.limit], records[request.limit].id if len(records) == wide.limit else None

    async def count(self, where: bytes, timeout_s: float) -> int:
        """Count the rows that a filter allows."""
        return total(await self._ask(dict.fromkeys(range(len(self.shards)), Count(where)), timeout_s))

    async def ids(self, where: bytes, deadline: Deadline) -> list[Id]:
        """Give the ids of all rows that a filter allows."""
        calls = {shard: _ids_of(client, where, deadline) for shard, client in enumerate(self.shards)}
        return [id for ids in (await all_answers(calls, deadline.left_s)).values() for id in ids]

    async def _ask(self, requests: dict[int, Read], timeout_s: float) -> Iterable[ReadAnswer]:
        return (await all_answers({shard: self.shards[shard].read(one, timeout_s) for shard, one in requests.items()}, timeout_s)).values()


async def _ids_of(client: ShardClient, where: bytes, deadline: Deadline) -> list[Id]:
    found: list[Id] = []
    start: Id | None = None
    while True:
        page = all_records([await client.read(Scroll(where, start, PAGE, with_payload=False), deadline.left_s)])
        found += [record.id for record in page]
        if len(page) < PAGE or (start := next_id(page[-1].id)) is None:
            return found
