"""A shard inside the gateway's process."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from reelspace.core.errors import ReelspaceError, TemporaryError, UserError
from reelspace.search.access.shard_client import ModelRefused, ShardFailed, ShardTimeout
from reelspace.search.compute.host import ShardBehind, ShardHost
from reelspace.search.compute.queries import Read, ReadAnswer, ShardAnswer, ShardQuery

T = TypeVar("T")


class LocalShard:
    """Asks a ShardHost from an event loop; the work is done by the executor's threads, where faiss lets others run."""

    def __init__(self, host: ShardHost, executor: Executor) -> None:
        self._host = host
        self._executor = executor

    async def search(self, queries: Sequence[ShardQuery], timeout_s: float) -> ShardAnswer:
        """Search several queries at once."""
        return await self._run(lambda: self._host.search(queries), timeout_s)

    async def read(self, request: Read, timeout_s: float) -> ReadAnswer:
        """Look up, list or count rows, or describe the shard."""
        return await self._run(lambda: self._host.read(request), timeout_s)

    async def sync(self, number: int, timeout_s: float) -> None:
        """Return when a log number is applied."""
        if self._host.applied < number:
            await self._run(lambda: self._host.sync(number, timeout_s), timeout_s)

    async def _run(self, work: Callable[[], T], timeout_s: float) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except (TimeoutError, ShardBehind) as error:
            raise ShardTimeout(f"the shard did not answer within {timeout_s:.3g} s") from error
        except UserError as error:
            raise ModelRefused(str(error)) from error
        except (TemporaryError, ReelspaceError) as error:
            raise ShardFailed(str(error)) from error
