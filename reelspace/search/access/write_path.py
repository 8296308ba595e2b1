"""Applies checked writes of clients: through the log of each shard, in order, durable before they are acknowledged.

Writes by id of one request go into the log together, one object per shard. A write by a filter is first turned into ids: what came
before it through this gateway is applied then, so it means what the client saw.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from hashlib import sha256
from typing import Final
from uuid import uuid4

from reelspace.core.errors import ReelspaceError, StoreUnavailable, UserError
from reelspace.core.store import Store
from reelspace.search.access.deadline import Deadline
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.access.reads import Reads
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import Delete, PayloadEdit, Upsert, Write, WriteRequest
from reelspace.search.access.results import WriteResult
from reelspace.search.access.shard_calls import all_answers
from reelspace.search.access.shard_client import ShardClient, ShardFailed, ShardTimeout
from reelspace.search.compute.queries import Retrieve, ShardFacts
from reelspace.search.storage.former_shards import FormerShards
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import Collection, collection_key
from reelspace.search.storage.rows import Change, Op, RowRefused
from reelspace.search.storage.writer import RequestKeyReused

NOTIFY_S: Final = 5.0
_FEW_CHANGES: Final = 16


class WriteTimeout(ShardTimeout):
    """A write is not known to be durable, or not known to be seen by every search, in time; it may still become so."""


class WritePath:
    """Writes to one collection. Belongs to one event loop."""

    def __init__(self, collection: Collection, shards: Sequence[ShardClient], store: Store) -> None:
        self.collection = collection
        self.shards = tuple(shards)
        self.reads = Reads(self.shards)
        self._store = store
        self._writers = LogWriters(store, collection)
        self._written = [0] * len(shards)
        self._applied = [0] * len(shards)
        self._notifying: dict[int, asyncio.Task[None]] = {}

    async def write(self, request: WriteRequest, timeout_s: float) -> WriteResult:
        """Apply the writes of a request one after the other.

        Raises:
            RequestRefused: the collection is gone; or, after everything else was applied and only if the client waits, a payload
                was to change of a point that is not there.
            RowRefused, RequestKeyReused, LogBusy, DiskFull, StoreUnavailable: see LogWriters.submit.
            LogMoved: nothing more is written to this collection; send it, under the same key, to the one that goes on.
            WriteTimeout, ShardTimeout, ShardFailed: what happened is unknown, or unseen by some shards: send it again under the same key.
        """
        run = _Run(self, request.request_key or str(uuid4()), Deadline(timeout_s))
        unknown: Id | None = None
        for write in request.writes:
            if request.wait and unknown is None and isinstance(write, PayloadEdit):
                unknown = await run.first_unknown(write)
            await run.add(write)
        await run.flush()
        await self._check_exists()
        numbers = run.numbers
        if request.wait:
            await self._sync(numbers, run.deadline)
        else:
            self._notify(numbers)
        if unknown is not None:
            raise RequestRefused("points", f"no point with id {unknown}", status=404)
        return WriteResult(max(numbers.values(), default=None), request.wait)

    def use_former_shards(self, former: FormerShards) -> None:
        """Part requests by the shards that rows were in before the collection was resharded; before the first write."""
        self._writers = LogWriters(self._store, self.collection, former)

    async def catch_up(self, numbers: Sequence[int], timeout_s: float) -> None:
        """Let every shard apply its log up to a number."""
        await self._sync(dict(enumerate(numbers)), Deadline(timeout_s))

    async def read_ahead(self) -> None:
        """Read what is in the logs, so that the next writes need not wait for that."""
        await asyncio.gather(*map(asyncio.wrap_future, self._writers.read_ahead()))

    async def settle(self, deadline: Deadline) -> None:
        """Let every shard apply what was written here before."""
        late = {shard: number for shard, number in enumerate(self._written) if number > self._applied[shard]}
        await self._sync(late, deadline)

    def is_seen_by(self, facts: Sequence[ShardFacts]) -> bool:
        """Tell whether shards that hold this have applied what was written here."""
        return all(one.applied >= number for one, number in zip(facts, self._written, strict=True))

    def num_behind(self, facts: Sequence[ShardFacts]) -> tuple[int, ...]:
        """Give by shard how many objects of its log that were written here lie beyond what it has applied."""
        return tuple(max(0, number - one.applied) for one, number in zip(facts, self._written, strict=True))

    async def append(self, key: str, changes: Sequence[Change], deadline: Deadline, *, again_is_done: bool = False) -> dict[int, int]:
        """Make changes durable and give the number they have in the log of each shard.

        Args:
            again_is_done: take a shard's write of this key, whatever rows it had, for this one.
        """
        futures = await self._submitted(key, changes)
        try:
            calls = {shard: _number(future, again_is_done) for shard, future in futures.items()}
            numbers = await all_answers(calls, deadline.left_s)
        except ShardTimeout as error:
            trouble, again = self._writers.trouble, "send it again under the same Idempotency-Key"
            if trouble is not None:
                raise StoreUnavailable(f"not known to be durable: {trouble}; {again}") from error
            raise WriteTimeout(f"not known to be durable: {error}; {again}") from error
        for shard, number in numbers.items():
            self._written[shard] = max(self._written[shard], number)
        return numbers

    async def close(self) -> None:
        """Finish what was submitted."""
        for task in self._notifying.values():
            task.cancel()
        await asyncio.to_thread(self._writers.close)

    async def _submitted(self, key: str, changes: Sequence[Change]) -> Mapping[int, "Future[int]"]:
        try:
            if len(changes) <= _FEW_CHANGES:
                return self._writers.submit(key, changes)
            return await asyncio.to_thread(self._writers.submit, key, changes)
        except RowRefused:
            raise
        except UserError as error:  # more than one object of the log may hold
            raise RequestRefused("body", str(error), status=413) from error

    async def _sync(self, numbers: dict[int, int], deadline: Deadline) -> None:
        left_s = deadline.left_s
        try:
            await all_answers({shard: self.shards[shard].sync(number, left_s) for shard, number in numbers.items()}, left_s)
        except (ShardTimeout, ShardFailed) as error:
            raise type(error)(f"durable, but not yet seen by every search: {error}") from error
        for shard, number in numbers.items():
            self._applied[shard] = max(self._applied[shard], number)

    def _notify(self, numbers: dict[int, int]) -> None:
        """Tell shards that there is something new; one that does not hear finds it by itself."""
        for shard in numbers:
            if shard not in self._notifying:
                self._notifying[shard] = asyncio.get_running_loop().create_task(self._notify_shard(shard))

    async def _notify_shard(self, shard: int) -> None:
        try:
            while (number := self._written[shard]) > self._applied[shard]:
                await self.shards[shard].sync(number, NOTIFY_S)
                self._applied[shard] = max(self._applied[shard], number)
        except ReelspaceError:
            return
        finally:
            del self._notifying[shard]

    async def _check_exists(self) -> None:
        """Refuse to acknowledge a write into a collection that another gateway has deleted meanwhile."""
        if not await asyncio.to_thread(self._store.exists, collection_key(self.collection.full_name)):
            raise RequestRefused("collection", f"Collection `{self.collection.name}` doesn't exist", status=404)


class _Run:
    """One request on its way: changes that wait to be appended, and the numbers of those that were."""

    def __init__(self, path: WritePath, key: str, deadline: Deadline) -> None:
        self._path, self._key = path, key
        self.deadline = deadline
        self._pending: list[Change] = []
        self._present: dict[Id, bool] = {}
        self._part = 0
        self.numbers: dict[int, int] = {}

    async def add(self, write: Write) -> None:
        """Take a write by id along, or resolve one by a filter and append it at once."""
        if isinstance(write, Upsert):
            self._pending.extend(write.changes)
            self._present.update(dict.fromkeys((change.id for change in write.changes), True))
        elif write.selector.ids is not None:
            self._pending.extend(_change(write, id) for id in write.selector.ids)
            if not isinstance(write, PayloadEdit):
                self._present.update(dict.fromkeys(write.selector.ids, False))
        else:
            await self.flush()
            await self._add_filtered(write, write.selector.where or b"")

    async def flush(self) -> None:
        """Append what waits."""
        if self._pending:
            changes, self._pending = self._pending, []
            self._note(await self._path.append(self._next_key(), changes, self.deadline))

    async def first_unknown(self, write: PayloadEdit) -> Id | None:
        """Give the first id of a write by id whose row is not there."""
        ids = write.selector.ids or ()
        asked = [id for id in ids if id not in self._present]
        if asked:
            await self._path.settle(self.deadline)
            found = await self._path.reads.by_id(Retrieve(tuple(asked), with_payload=False), self.deadline.left_s)
            # What a filter of this request has removed is settled by now: it is asked for like any other row.
            self._present.update({id: id in found for id in asked})
        return next((id for id in ids if not self._present[id]), None)

    async def _add_filtered(self, write: Delete | PayloadEdit, where: bytes) -> None:
        await self._path.settle(self.deadline)
        ids = await self._path.reads.ids(where, self.deadline)
        self._present.clear()
        # Sent again, the filter finds other rows. What it was is part of the key, so a key that came before means: done before.
        digest = sha256(repr((type(write), write)).encode()).hexdigest()[:16]
        key = f"{self._next_key()}:{digest}"
        if not ids:
            return
        changes = [_change(write, id) for id in ids]
        self._note(await self._path.append(key, changes, self.deadline, again_is_done=True))

    def _next_key(self) -> str:
        self._part += 1
        return f"{self._key}#{self._part}"

    def _note(self, numbers: dict[int, int]) -> None:
        self.numbers |= numbers


def _change(write: Delete | PayloadEdit, id: Id) -> Change:
    return Change(write.op, id, payload=write.payload) if isinstance(write, PayloadEdit) else Change(Op.DELETE, id)


async def _number(future: "Future[int]", again_is_done: bool) -> int:
    try:
        return await asyncio.wrap_future(future)
    except RequestKeyReused as error:
        if not again_is_done:
            raise
        return error.number
