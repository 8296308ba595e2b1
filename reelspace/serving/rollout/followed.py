"""The rollouts that a gateway follows: it looks at their files about once a second, and writes beside them what it saw."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.serving.rollout.live import LiveRollout
from reelspace.serving.rollout.state import ENDED, Rollout, Seen, find_rollout, write_seen

UNATTENDED_S: Final = 20.0
"""So long may a promoter give no sign of life before gateways leave its candidate alone; the next promoter goes on."""


class FollowedRollouts:
    """The rollouts of a gateway's models; use it in an `async with` statement."""

    def __init__(self, store: Store, models: Iterable[str], promoted: Callable[[], Mapping[str, int]], poll_s: float) -> None:
        """Follow nothing yet.

        Args:
            promoted: reads the version of each promoted model from the one pointer; it is asked when a rollout's stage changes.
            poll_s: time between looks, seconds.
        """
        self._store = store
        self._promoted = promoted
        self._poll_s = poll_s
        self._tripped = asyncio.Event()
        self._models = {model: _Followed(LiveRollout(self._tripped.set)) for model in models}
        self._id = secrets.token_hex(8)
        self._beat = 0
        self._point: Callable[[str, int], None] = lambda _model, _version: None
        self._task: asyncio.Task[None] | None = None

    def of(self, model: str) -> LiveRollout:
        """Give the rollout of a model."""
        return self._models[model].live

    def candidate(self, model: str) -> int:
        """Give the version that takes the place of another now, 0 where none does."""
        return self._models[model].candidate

    def use_pointer(self, point: Callable[[str, int], None]) -> None:
        """Have a function called with the version that requests of a model go to from now on."""
        self._point = point

    async def __aenter__(self) -> Self:
        await self._look()
        self._task = asyncio.get_running_loop().create_task(self._follow())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for followed in self._models.values():
            await followed.live.close()

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._tripped.wait()
            except TimeoutError:
                pass
            self._tripped.clear()
            await self._look()

    async def _look(self) -> None:
        self._beat += 1
        for model, followed in self._models.items():
            try:
                await self._look_at(model, followed)
            except ReelspaceError as error:
                # What is known goes on; the store may be back at the next look.
                if str(error) != followed.error:
                    log("rollout_not_read", model=model, error=str(error))
                followed.error = str(error)
            else:
                followed.error = ""

    async def _look_at(self, model: str, followed: "_Followed") -> None:
        found = await asyncio.to_thread(find_rollout, self._store, model)
        rollout = None if found is None else found.rollout
        if rollout is not None and followed.is_news(rollout):
            version = (await asyncio.to_thread(self._promoted)).get(model)
            # A third version was promoted by other means, and nobody says that it is loaded.
            if version in (rollout.stable, rollout.candidate):
                followed.version = version
                self._point(model, version)
            log("rollout", model=model, number=rollout.number, stage=rollout.stage, version=followed.version)
        followed.take(rollout)
        if rollout is not None and not followed.is_told(rollout):
            await asyncio.to_thread(write_seen, self._store, model, followed.seen(self._id, self._beat, rollout))
            followed.told = (rollout.number, rollout.stage)


class _Followed:
    """A model's rollout as it was last seen."""

    def __init__(self, live: LiveRollout) -> None:
        self.live = live
        self.version = 0
        self.error = ""
        self.told: tuple[int, str] | None = None
        self._rollout: Rollout | None = None
        self._alive_at_s = 0.0

    @property
    def candidate(self) -> int:
        return 0 if self._rollout is None or self._rollout.stage in ENDED else self._rollout.candidate

    def is_news(self, rollout: Rollout) -> bool:
        before = self._rollout
        return before is None or (before.number, before.stage) != (rollout.number, rollout.stage)

    def is_told(self, rollout: Rollout) -> bool:
        """Tell whether nothing more is to be written of a rollout: it has ended, and the promoter knows where requests go."""
        return rollout.stage in ENDED and self.told in (None, (rollout.number, rollout.stage))

    def take(self, rollout: Rollout | None) -> None:
        before, self._rollout = self._rollout, rollout
        now_s = time.monotonic()
        if before is None or rollout is None or (before.number, before.owner, before.beat) != (rollout.number, rollout.owner, rollout.beat):
            self._alive_at_s = now_s
        self.live.follow(rollout, now_s - self._alive_at_s < UNATTENDED_S)

    def seen(self, gateway: str, beat: int, rollout: Rollout) -> Seen:
        return Seen(
            gateway=gateway,
            beat=beat,
            number=rollout.number,
            stage=rollout.stage,
            version=self.version,
            tripped=self.live.tripped,
            evidence=self.live.evidence,
        )
