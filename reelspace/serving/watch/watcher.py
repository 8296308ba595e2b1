"""Watches models, and loads anew the ones that are lost: unload and load start a model's process again, load alone does not.

What was loaded is loaded again, also versions that a rollout has put beside the one that serves; of several versions only the lost
ones go away meanwhile.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from reelspace.core.errors import ServerUnavailable
from reelspace.core.log import log
from reelspace.serving.watch.control import Control
from reelspace.serving.watch.liveness import IS_LOST, LIVES, Look, ModelEye
from reelspace.serving.watch.settings import WatchSettings
from reelspace.serving.watch.tally import Tally

QUICK: Final = 0.25
"""The share of the interval after which a failure, or a repair, is looked at again."""


class ModelWatch:
    """The watch over one model."""

    def __init__(self, control: Control, model: str, settings: WatchSettings, tally: Tally, clock: Callable[[], float]) -> None:
        self._control = control
        self._model = model
        self._settings = settings
        self._tally = tally
        self._clock = clock
        self._eye = ModelEye(control, model, settings, clock)
        self._failures: Counter[str] = Counter()
        self._doubts: Counter[str] = Counter()
        self._pause_s = settings.pause_s
        self._not_before_s = clock()
        self._lost_since_s: float | None = None

    @property
    def is_given_up(self) -> bool:
        """Tell whether repairs have not helped for so long that Triton should be started anew."""
        return self._lost_since_s is not None and self._clock() - self._lost_since_s >= self._settings.given_up_s

    async def look(self) -> float:
        """Look once, repair what is lost, and give the seconds until the next look."""
        looks = await self._eye.look()
        for look in looks.values():
            self._tally.looked(self._model, look.outcome)
        lost = {version: look for version, look in looks.items() if look.outcome in IS_LOST}
        self._failures = self._counted(looks)
        if not self._failures:
            if looks and all(look.outcome in LIVES for look in looks.values()):
                self._found_alive()
            return self._settings.interval_s
        if not any(self._failures[version] >= self._settings.num_failures for version in lost):
            return QUICK * self._settings.interval_s
        is_repaired = await self._found_lost(lost, [*(looks.keys() - lost.keys())])
        return QUICK * self._settings.interval_s if is_repaired else self._settings.interval_s

    def _counted(self, looks: Mapping[str, Look]) -> Counter[str]:
        """Count failures in a row; of several processes the next ones to answer do not speak for the dead one."""
        counted: Counter[str] = Counter()
        for version, look in looks.items():
            if look.outcome in IS_LOST:
                counted[version] = self._failures[version] + 1
                self._doubts[version] = 2 * look.num_others
            elif self._failures[version] and self._doubts[version]:
                counted[version] = self._failures[version]
                self._doubts[version] -= 1
        return counted

    def _found_alive(self) -> None:
        if self._lost_since_s is not None:
            log("model_lives", model=self._model, lost_s=round(self._clock() - self._lost_since_s, 3))
        self._lost_since_s, self._pause_s, self._not_before_s = None, self._settings.pause_s, self._clock()
        self._tally.lives(self._model, True)

    async def _found_lost(self, looks: Mapping[str, Look], living: Sequence[str]) -> bool:
        """Keep that versions are lost, and repair the model when it is time for that; tells whether it was repaired."""
        self._tally.lives(self._model, False)
        if self._lost_since_s is None:
            self._lost_since_s = self._clock()
            found = [{"version": version, "outcome": look.outcome, "why": look.why} for version, look in looks.items()]
            log("model_lost", model=self._model, found=found)
        return self._clock() >= self._not_before_s and await self._repair(living)

    async def _repair(self, living: Sequence[str]) -> bool:
        started_s, is_repaired = self._clock(), True
        try:
            await self._load_anew(living)
        except ServerUnavailable as error:
            is_repaired = False
            log("model_not_repaired", model=self._model, error=str(error), again_in_s=self._pause_s)
        else:
            self._failures.clear()
            log("model_loaded_anew", model=self._model, seconds=round(self._clock() - started_s, 3))
        self._tally.repaired(self._model, helped=is_repaired)
        # What it is good for shows at the next look; until it lives, the next repair has to wait.
        self._not_before_s = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._settings.max_pause_s)
        return is_repaired

    async def _load_anew(self, living: Sequence[str]) -> None:
        config = await self._control.config(self._model)
        if config is not None and living:
            await self._control.load(self._model, config | {"version_policy": {"specific": {"versions": sorted(map(int, living))}}})
        elif config is not None:
            await self._control.unload(self._model)
        await self._control.load(self._model, config)


class Watcher:
    """Watches models at the same time, so that one that does not answer keeps no other one waiting."""

    def __init__(
        self, control: Control, models: Sequence[str], settings: WatchSettings, tally: Tally, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._watches = {model: ModelWatch(control, model, settings, tally, clock) for model in models}
        self._tally = tally

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for watch in self._watches.values():
                tasks.create_task(self._follow(watch, sleep))

    async def _follow(self, watch: ModelWatch, sleep: Callable[[float], Awaitable[None]]) -> None:
        while True:
            pause_s = await watch.look()
            self._tally.given_up = frozenset(model for model, one in self._watches.items() if one.is_given_up)
            await sleep(pause_s)
