"""Whether a model lives, told from what it has done and, where that tells nothing, from a real request.

Triton calls a model ready whose process is dead. A model that is only busy must not be taken for a dead one: it is no failure when a
probe waits behind others, as long as something is executed; nor when Triton says that the line is full.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from reelspace.serving.watch.control import Control, Reply, TritonAway, Work
from reelspace.serving.watch.settings import WatchSettings

NO_VERSION: Final = ""
_STUB_IS_GONE: Final = "is not healthy"


class Outcome(StrEnum):
    """What one look at one version found."""

    ANSWERED = "answered"  # a probe, even with a refusal of the model's own
    OBSERVED = "observed"  # requests of clients were executed since the last look: no probe was needed
    BUSY = "busy"  # it works on others, or its line is full
    LOADING = "loading"
    AWAY = "away"  # Triton itself does not answer
    DEAD = "dead"  # its process is gone
    FAILED = "failed"  # it answers with errors that are no client's, or its requests fail without being executed
    SILENT = "silent"  # nothing was executed for long, and a probe waits
    ABSENT = "absent"  # it is not loaded


LIVES: Final = frozenset({Outcome.ANSWERED, Outcome.OBSERVED})
IS_LOST: Final = frozenset({Outcome.DEAD, Outcome.FAILED, Outcome.SILENT, Outcome.ABSENT})


@dataclass(frozen=True, slots=True)
class Look:
    """An outcome and, where it is not a good one, why; with a dead process, how many others of its version may answer."""

    outcome: Outcome
    why: str = ""
    num_others: int = 0


class ModelEye:
    """Looks at all loaded versions of one model; it remembers what each had done before."""

    def __init__(self, control: Control, model: str, settings: WatchSettings, clock: Callable[[], float]) -> None:
        self._control = control
        self._model = model
        self._settings = settings
        self._clock = clock
        self._before: dict[str, Work] = {}
        self._worked_at: dict[str, float] = {}

    async def look(self) -> Mapping[str, Look]:
        """Look once; gives what was found by version, under `NO_VERSION` where none is loaded or Triton is away."""
        try:
            work = await self._control.work(self._model)
            if not work:
                is_loading = await self._control.is_loading(self._model)
                return {NO_VERSION: Look(Outcome.LOADING) if is_loading else Look(Outcome.ABSENT, "it is not loaded")}
            looks = await asyncio.gather(*(self._look_at(one) for one in work))
        except TritonAway as error:
            return {NO_VERSION: Look(Outcome.AWAY, str(error))}
        return {one.version: look for one, look in zip(work, looks, strict=True)}

    async def _look_at(self, now: Work) -> Look:
        before = self._before.get(now.version)
        self._before[now.version] = now
        self._worked_at.setdefault(now.version, self._clock())
        has_worked = before is not None and now.num_executions > before.num_executions
        if has_worked:
            self._worked_at[now.version] = self._clock()
        # Failures may come from one dead process of several: then the probe shall tell.
        if before is not None and has_worked and now.num_failures == before.num_failures:
            return Look(Outcome.OBSERVED)
        try:
            reply = await self._control.probe(self._model, now.version)
        except TimeoutError as error:
            return await self._waiting(now, str(error))
        if reply.num_processes > 1 and before is not None and now.has_broken_since(before) and reply.status == HTTPStatus.OK:
            # The dead one is busy failing requests of clients, so that every probe meets a living one.
            return Look(Outcome.DEAD, "requests fail beside a probe that another process answers", reply.num_processes - 1)
        return self._judged(reply, now)

    def _judged(self, reply: Reply, work: Work) -> Look:
        if reply.status in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST):
            # The probe itself must not count as a client's request at the next look.
            self._before[work.version] = replace(work, num_executions=work.num_executions + 1)
            self._worked_at[work.version] = self._clock()
            return Look(Outcome.ANSWERED)
        if reply.status == HTTPStatus.NOT_FOUND:
            return Look(Outcome.ABSENT, reply.error)
        if reply.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            return Look(Outcome.BUSY, reply.error)
        if _STUB_IS_GONE in reply.error:
            return Look(Outcome.DEAD, reply.error, reply.num_processes - 1)
        return Look(Outcome.FAILED, reply.error)

    async def _waiting(self, asked: Work, why: str) -> Look:
        """Tell a line that moves from one that does not."""
        now = next((one for one in await self._control.work(self._model) if one.version == asked.version), asked)
        if now.num_executions > asked.num_executions:
            self._worked_at[asked.version] = self._clock()
            return Look(Outcome.BUSY, why)
        if now.has_broken_since(asked):
            return Look(Outcome.FAILED, f"{why}, and others fail without being executed")
        is_silent = self._clock() - self._worked_at[asked.version] >= self._settings.silent_s
        return Look(Outcome.SILENT, f"{why}, nothing was executed for long") if is_silent else Look(Outcome.BUSY, why)
