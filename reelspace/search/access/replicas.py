"""Chooses among servers that have the same rows: the one with the least to do, and another one where it fails or keeps silent.

A server is trusted until a call of it fails, others are faster than it several times in a row, or it says nothing for long. Then others are
asked in its place, and it is examined by real requests until it answers as fast as they do. One that does not for long is out, and what
it still owes is asked of others. Where none is trusted all are asked, in the order of what they have to do.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from pydantic import Field

from reelspace.core.errors import ReelspaceError
from reelspace.core.settings import Settings
from reelspace.search.access.shard_client import ModelRefused, ShardFailed, ShardTimeout

R = TypeVar("R")
T = TypeVar("T")
Call: TypeAlias = Callable[[R, float], Awaitable[T]]
"""Asks a server within so many seconds; ShardFailed, ShardTimeout: that server has no answer."""
Event: TypeAlias = Literal["hedged", "moved", "doubted", "out", "back", "left"]
Told: TypeAlias = Callable[[int, Event], None]
"""Hears what becomes of servers and calls: the place of the server, and the event; "left": one that was out is looked at no more."""

NUM_TIMES: Final = 256
MIN_TIMES: Final = 20
MOST_TOKENS: Final = 10.0
FIRST_HEDGE_S: Final = 0.05


class ReplicaSettings(Settings):
    """When another server is asked, and when one is asked no more."""

    hedge_quantile: float = Field(0.95, gt=0, lt=1, description="Share of calls that is answered before another server is asked, too.")
    hedge_share: float = Field(0.05, ge=0, le=1, description="Calls that may be asked of a second server, as a share of all.")
    min_hedge_s: float = Field(0.002, gt=0, description="Shortest time before another server is asked, seconds.")
    most_outpaced: int = Field(3, ge=1, description="Calls in a row that others answered first, after which a server is examined.")
    silent_s: float = Field(1.0, gt=0, description="Time without an answer after which a server is examined, seconds.")
    out_s: float = Field(1.0, gt=0, description="Time that an examined server has before it is out, seconds.")
    probe_s: float = Field(0.25, gt=0, description="Time between two looks at an examined server, seconds.")
    max_slowdown: float = Field(3.0, gt=1, description="How many times as long as a trusted server an examined one may take.")
    slack_s: float = Field(0.02, ge=0, description="Seconds that it may take longer in any case.")


def untold(_replica: int, _event: Event) -> None:
    """Keep nothing."""


@dataclass(eq=False)
class _State(Generic[R]):
    """What is known of one server."""

    place: int
    replica: R
    running: "set[asyncio.Task[Any]]" = field(default_factory=set)
    num_outpaced: int = 0
    is_out: bool = False
    examination: "asyncio.Task[None] | None" = None

    @property
    def is_trusted(self) -> bool:
        return self.examination is None


class _Times:
    """How long answers took, and what share of them may be asked for twice."""

    def __init__(self, settings: ReplicaSettings) -> None:
        self._settings = settings
        self._seconds: deque[float] = deque(maxlen=NUM_TIMES)
        self._num_new = 0
        self._tokens = MOST_TOKENS / 2 if settings.hedge_share else 0.0
        self.hedge_s = max(FIRST_HEDGE_S, settings.min_hedge_s)

    def begin(self) -> None:
        self._tokens = min(MOST_TOKENS, self._tokens + self._settings.hedge_share)

    def may_hedge(self) -> bool:
        return self._tokens >= 1

    def hedge(self) -> None:
        self._tokens -= 1

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self._num_new += 1
        if self._num_new >= MIN_TIMES:
            self._num_new = 0
            place = min(len(self._seconds) - 1, math.ceil(self._settings.hedge_quantile * len(self._seconds)))
            self.hedge_s = max(self._settings.min_hedge_s, sorted(self._seconds)[place])


class Replicas(Generic[R]):
    """Servers that have the same rows. Belongs to one event loop; close it there."""

    def __init__(
        self,
        replicas: Sequence[R],
        probe: Callable[[R], Awaitable[None]],
        settings: ReplicaSettings | None = None,
        tell: Told = untold,
        catch_up: "Call[R, object] | None" = None,
    ) -> None:
        """Trust all of them.

        Args:
            probe: makes one answer a real request; raises what hinders it.
            catch_up: waits until one has what the others were waited for to have, by a look that nothing comes between when it returns;
                one that is not trusted is asked for nothing before, and not trusted before.
        """
        self._states = tuple(_State(place, replica) for place, replica in enumerate(replicas))
        self._probe = probe
        self._catch_up = catch_up
        self._settings = settings or ReplicaSettings()
        self._tell = tell
        self._times = _Times(self._settings)
        self._turn = 0
        self._is_closed = False

    def close(self) -> None:
        """Examine no more; what is asked is still answered."""
        self._is_closed = True
        for state in self._states:
            if state.examination is not None:
                state.examination.cancel()
            if state.is_out:
                self.told(state, "left")

    def is_trusted(self, place: int) -> bool:
        """Tell whether a server is asked before others are."""
        return self._states[place].is_trusted

    async def ask(self, call: "Call[R, T]", timeout_s: float) -> T:
        """Give the first answer.

        Raises:
            ShardFailed: all failed; what the last one said.
            ShardTimeout: none answered in time.
            Exception: whatever else a server raised first.
        """
        if len(self._states) == 1:
            return await self._ask_only(call, timeout_s)
        asked = _Asked(self, call, timeout_s)
        try:
            return await asked.answer()
        except BaseException:
            asked.give_up()
            raise

    async def _ask_only(self, call: "Call[R, T]", timeout_s: float) -> T:
        state = self._states[0]
        try:
            return await call(state.replica, timeout_s)
        except (ShardFailed, ShardTimeout):
            self.doubt(state)  # an examination may mend it
            raise

    async def each(self, call: "Call[R, object]", timeout_s: float) -> None:
        """Wait until every trusted server has answered; one that is trusted no more meanwhile is not waited for.

        Raises:
            ShardFailed, ShardTimeout: not one of them answered.
        """
        trusted = [state for state in self._states if state.is_trusted] or list(self._states)
        tasks = {state: self.start(state, call, timeout_s) for state in trusted}
        try:
            await self._all_or_late(tasks, timeout_s)
        except BaseException:
            for task in tasks.values():
                task.cancel()
            raise

    async def _all_or_late(self, tasks: "dict[_State[R], asyncio.Task[object]]", timeout_s: float) -> None:
        errors: list[BaseException] = []
        deadline_s, late_s = _now_s() + timeout_s, math.inf
        while tasks and _now_s() < min(deadline_s, late_s):
            await asyncio.wait(tasks.values(), timeout=max(0.0, min(deadline_s, late_s) - _now_s()), return_when=asyncio.FIRST_COMPLETED)
            for state, task in [(state, task) for state, task in tasks.items() if task.done()]:
                del tasks[state]
                error = _error_of(task)
                if error is None:
                    late_s = min(late_s, _now_s() + self._settings.silent_s)
                else:
                    self.take(state, error)
                    errors.append(error)
        if late_s == math.inf:
            raise _last_of(errors) or ShardTimeout(f"no server answered within {timeout_s:.3g} s")
        # What another one has done by now these should have, too. They are trusted again when they have.
        for state in tasks:
            self.doubt(state)

    # What a call that is being answered needs of the servers.

    @property
    def servers(self) -> tuple[R, ...]:
        """Give the servers."""
        return tuple(state.replica for state in self._states)

    @property
    def settings(self) -> ReplicaSettings:
        """Give the settings."""
        return self._settings

    @property
    def times(self) -> _Times:
        """Give how long answers take."""
        return self._times

    def by_preference(self) -> list[_State[R]]:
        """Give the servers, the one to be asked first first: trusted ones before others, then by what they have to do, in turns."""
        self._turn += 1
        num = len(self._states)
        turned = [self._states[(self._turn + place) % num] for place in range(num)]
        return sorted(turned, key=lambda state: (state.is_out, not state.is_trusted, len(state.running)))

    def start(self, state: _State[R], call: "Call[R, T]", timeout_s: float) -> "asyncio.Task[T]":
        """Ask one server."""
        task = asyncio.ensure_future(call(state.replica, timeout_s))
        state.running.add(task)
        task.add_done_callback(lambda ended: _forget(state, ended))
        return task

    def call_of(self, state: _State[R], call: "Call[R, T]") -> "Call[R, T]":
        """Give a call as it is made of a server: one that is not trusted catches up first."""
        catch_up = self._catch_up
        if catch_up is None or state.is_trusted:
            return call

        async def caught_up(replica: R, timeout_s: float) -> T:
            deadline_s = _now_s() + timeout_s
            await catch_up(replica, timeout_s)
            return await call(replica, max(0.001, deadline_s - _now_s()))

        return caught_up

    def told(self, state: _State[R], event: Event) -> None:
        """Tell of an event."""
        self._tell(state.place, event)

    def take(self, state: _State[R], error: BaseException) -> None:
        """Take that a server has no answer; what is no fault of the server's is raised."""
        if isinstance(error, asyncio.CancelledError):
            self.told(state, "moved")  # the server was put out
        elif isinstance(error, ShardFailed | ShardTimeout):
            self.doubt(state)
        else:
            raise error

    def outpaced(self, state: _State[R], task: "asyncio.Task[Any]", since_s: float) -> None:
        """Hear that another server answered first, while this one still has a task since a moment."""
        state.num_outpaced += 1
        if state.num_outpaced >= self._settings.most_outpaced:
            self.doubt(state)
        else:
            asyncio.get_running_loop().call_at(since_s + self._settings.silent_s, self._doubt_if_silent, state, task)

    def _doubt_if_silent(self, state: _State[R], task: "asyncio.Task[Any]") -> None:
        if not task.done():
            self.doubt(state)

    def doubt(self, state: _State[R]) -> None:
        """Ask others first until the server answers as it should."""
        if state.examination is None and not self._is_closed:
            self.told(state, "doubted")
            state.examination = asyncio.get_running_loop().create_task(self._examine(state))

    async def _examine(self, state: _State[R]) -> None:
        begun_s = _now_s()
        try:
            while not (await self._answers(state, begun_s) and await self._is_abreast(state)):
                if not state.is_out and _now_s() - begun_s >= self._settings.out_s:
                    self._put_out(state)
                await asyncio.sleep(self._settings.probe_s)
        finally:
            # Also after a bug of a probe: the server is asked again then, and doubted again if it fails.
            state.examination, state.num_outpaced = None, 0
            was_out, state.is_out = state.is_out, False
            if was_out and not self._is_closed:
                self.told(state, "back")

    def _put_out(self, state: _State[R]) -> None:
        state.is_out = True
        self.told(state, "out")
        if any(one.is_trusted for one in self._states):
            # Whoever waits for one of these asks another server.
            for task in state.running:
                task.cancel()

    async def _answers(self, state: _State[R], begun_s: float) -> bool:
        """Tell whether a server answers a real request, not much slower than one that is trusted does at the same time."""
        other = next((one for one in self._states if one.is_trusted), None)
        limit_s = self._settings.out_s if state.is_out else max(self._settings.probe_s, begun_s + self._settings.out_s - _now_s())
        took_s, others_s = await asyncio.gather(self._probed_s(state, limit_s), self._probed_s(other, limit_s))
        if took_s is None:
            return False
        return others_s is None or took_s <= self._settings.max_slowdown * others_s + self._settings.slack_s

    async def _is_abreast(self, state: _State[R]) -> bool:
        """Tell whether a server has all, at this moment: what others are waited for from now on, it is waited for, too."""
        if self._catch_up is None:
            return True
        try:
            async with asyncio.timeout(self._settings.out_s):
                await self._catch_up(state.replica, self._settings.out_s)
        except (ReelspaceError, TimeoutError):
            return False
        return True

    async def _probed_s(self, state: _State[R] | None, limit_s: float) -> float | None:
        """Give how long a real request takes; None without an answer."""
        if state is None:
            return None
        start_s = _now_s()
        try:
            async with asyncio.timeout(limit_s):
                await self._probe(state.replica)
        except ModelRefused:
            pass  # it is an answer
        except (ReelspaceError, TimeoutError):
            return None
        return _now_s() - start_s


class _Asked(Generic[R, T]):
    """One call, on its way to one or several servers."""

    def __init__(self, replicas: Replicas[R], call: "Call[R, T]", timeout_s: float) -> None:
        self._replicas = replicas
        self._call = call
        self._timeout_s = timeout_s
        self._deadline_s = _now_s() + timeout_s
        self._untried = replicas.by_preference()
        self._running: dict[asyncio.Task[T], tuple[_State[R], float]] = {}
        self._errors: list[BaseException] = []

    async def answer(self) -> T:
        """Ask, and ask others, until one has answered."""
        times, silent_s = self._replicas.times, self._replicas.settings.silent_s
        times.begin()
        self._ask_next()
        hedge_at_s, silent_at_s = _now_s() + times.hedge_s, _now_s() + silent_s
        while True:
            if not self._may_hedge():
                hedge_at_s = math.inf
            look_at_s = min(self._deadline_s, hedge_at_s, silent_at_s)
            await asyncio.wait(self._running, timeout=max(0.0, look_at_s - _now_s()), return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in self._running if task.done()]:
                state, since_s = self._running.pop(task)
                error = _error_of(task)
                if error is None:
                    times.add(_now_s() - since_s)
                    state.num_outpaced = 0
                    # What still runs ends by itself: until then a server counts as having it to do.
                    for other_task, (other, other_since_s) in self._running.items():
                        self._replicas.outpaced(other, other_task, other_since_s)
                    return task.result()
                self._replicas.take(state, error)
                self._errors.append(error)
            if not self._running:
                self._go_on()
            elif _now_s() >= self._deadline_s:
                self._doubt_all()
                raise ShardTimeout(f"no server answered within {self._timeout_s:.3g} s")
            elif _now_s() >= silent_at_s:
                self._doubt_all()
                silent_at_s = _now_s() + silent_s
                if self._untried:
                    self._ask_another("moved")
            elif _now_s() >= hedge_at_s:
                times.hedge()
                self._ask_another("hedged")
                hedge_at_s = math.inf

    def give_up(self) -> None:
        """Let nobody work for an answer that nobody waits for."""
        for task in self._running:
            task.cancel()

    def _may_hedge(self) -> bool:
        return bool(self._untried) and self._untried[0].is_trusted and self._replicas.times.may_hedge()

    def _ask_another(self, event: Event) -> None:
        for state, _ in self._running.values():
            self._replicas.told(state, event)
        self._ask_next()

    def _ask_next(self) -> None:
        state, now_s = self._untried.pop(0), _now_s()
        call = self._replicas.call_of(state, self._call)
        self._running[self._replicas.start(state, call, max(0.001, self._deadline_s - now_s))] = state, now_s

    def _go_on(self) -> None:
        """Ask the next server; raises when none is left, or no time."""
        if not self._untried or _now_s() >= self._deadline_s:
            raise _last_of(self._errors) or ShardFailed("every server was put out while it was asked")
        self._ask_next()

    def _doubt_all(self) -> None:
        for state, _ in self._running.values():
            self._replicas.doubt(state)


def _last_of(errors: Sequence[BaseException]) -> BaseException | None:
    return next((error for error in reversed(errors) if isinstance(error, ShardFailed | ShardTimeout)), None)


def _forget(state: _State[R], task: "asyncio.Task[Any]") -> None:
    state.running.discard(task)
    if not task.cancelled():
        task.exception()  # where others answered first nobody asks for it


def _error_of(task: "asyncio.Task[Any]") -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
