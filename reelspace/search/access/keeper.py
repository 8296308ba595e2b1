"""Keeps collections fast: when much lies beside a shard's generation, the next one is built by a child process.

Only one shard is built at a time, and by one of the processes of a store.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.scheduling.lease import leave_lease, rebuild_lease, take_lease

LOOK_S: Final = 3.0
HOLD_S: Final = 30.0
RETRY_S: Final = 60.0
MODULE: Final = "reelspace.search.scheduling.rebuild_program"
Overdue = Callable[[], Awaitable[Sequence[tuple[str, int]]]]


@dataclass(frozen=True, slots=True)
class KeeperTimes:
    """Seconds between looks, that a lease is held without a sign of life, and until a shard whose build failed is tried again."""

    look_s: float = LOOK_S
    hold_s: float = HOLD_S
    retry_s: float = RETRY_S


class Keeper:
    """Looks at the shards of a gateway's collections, and has their next generations built. Belongs to one event loop."""

    def __init__(
        self, store: Store, overdue: Overdue, command: Sequence[str] = (sys.executable, "-m", MODULE), times: KeeperTimes | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            overdue: names shards whose next generation should be built, each by its collection's full name and its number.
            command: what builds one, given --store, --collection, --shard, --threads and --owner.
        """
        self._store = store
        self._overdue = overdue
        self._command = tuple(command)
        self._times = times or KeeperTimes()
        self._name = token_hex(8)
        self._not_before_s: dict[tuple[str, int], float] = {}

    async def run(self) -> None:
        """Look and build until cancelled; a child that is running then is ended."""
        while True:
            await asyncio.sleep(self._times.look_s)
            try:
                for full_name, shard in await self._overdue():
                    if self._now_s() >= self._not_before_s.get((full_name, shard), 0.0):
                        await self._build(full_name, shard)
            except (ReelspaceError, OSError) as error:
                # Searches go on without a new generation; the store may be back at the next look.
                log("not_kept", error=str(error))

    async def _build(self, full_name: str, shard: int) -> None:
        key = rebuild_lease(full_name, shard)
        if not await asyncio.to_thread(take_lease, self._store, key, self._name, self._times.hold_s):
            return
        try:
            code = await self._run_child(full_name, shard, key)
        finally:
            await self._leave(key)
        if code != 0:
            self._not_before_s[full_name, shard] = self._now_s() + self._times.retry_s
            log("rebuild_failed", collection=full_name, shard=shard, exit_code=code, again_in_s=self._times.retry_s)

    async def _run_child(self, full_name: str, shard: int, key: str) -> int:
        num_threads = max(1, (os.cpu_count() or 1) - 1)
        options = {"store": self._store.url, "collection": full_name, "shard": shard, "threads": num_threads, "owner": os.getpid()}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        child = await asyncio.create_subprocess_exec(*self._command, *arguments, stdin=asyncio.subprocess.DEVNULL)
        ended = asyncio.ensure_future(child.wait())
        try:
            while not (await asyncio.wait([ended], timeout=self._times.hold_s / 3))[0]:
                await asyncio.to_thread(take_lease, self._store, key, self._name, self._times.hold_s)
            return await ended
        finally:
            if not ended.done():
                child.terminate()
                await ended

    async def _leave(self, key: str) -> None:
        try:
            await asyncio.to_thread(leave_lease, self._store, key, self._name)
        except (ReelspaceError, OSError) as error:
            log("lease_not_left", key=key, error=str(error))  # it ends by itself

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
