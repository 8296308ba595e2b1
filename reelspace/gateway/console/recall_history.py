"""What searches of each shard found, over the last hour."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from reelspace.search.compute.queries import ShardFacts

SAMPLE_S: Final = 10.0
NUM_SAMPLES: Final = 360
MAX_SERIES: Final = 4096
"""Shards whose recall is kept; of more than that the first ones."""
Facts: TypeAlias = Mapping[str, Sequence[ShardFacts]]
"""What the shards of open collections told last, by full name."""


class RecallHistory:
    """Keeps samples of each shard's recall, the last NUM_SAMPLES of them; a shard whose recall was never known costs nothing."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, int], deque[float | None]] = {}

    def add(self, facts: Facts) -> None:
        """Take one sample of every shard; collections that are not among them any more are forgotten."""
        now = {(name, shard): one.recall for name, shards in facts.items() for shard, one in enumerate(shards)}
        self._series = {key: series for key, series in self._series.items() if key in now}
        for key, recall in now.items():
            if key in self._series:
                self._series[key].append(recall)
            elif recall is not None and len(self._series) < MAX_SERIES:
                self._series[key] = deque([recall], maxlen=NUM_SAMPLES)

    def of(self, full_name: str, shard: int) -> tuple[float | None, ...]:
        """Give the samples of a shard, oldest first."""
        return tuple(self._series.get((full_name, shard), ()))


@asynccontextmanager
async def sampling(history: RecallHistory, facts: Callable[[], Facts], every_s: float = SAMPLE_S) -> AsyncIterator[None]:
    """Add to a history what shards told last, every so many seconds, while the block runs. Asks nothing of anyone."""

    async def sample() -> None:
        while True:
            history.add(facts())
            await asyncio.sleep(every_s)

    task = asyncio.get_running_loop().create_task(sample())
    try:
        yield
    finally:
        task.cancel()
