"""Takes a rollout from stage to stage until it ends. It may be killed at any moment: the next promoter goes on from the file.

Whatever a stage does is safe to do twice, and by two promoters at a time. A promoter is alive while the file's `beat` grows, as its watcher
counts time, so clocks of machines need not agree.
"""

import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from reelspace.core.errors import PreconditionFailed, ReelspaceError, ServerUnavailable, StoreUnavailable, UserError
from reelspace.core.store import Store
from reelspace.serving.rollout.compute_times import BatchTimes, ComputeTimes
from reelspace.serving.rollout.evidence import total
from reelspace.serving.rollout.judge import Verdict, judge
from reelspace.serving.rollout.loaded_versions import LoadedVersions
from reelspace.serving.rollout.model_control import ModelControl, TritonRefused
from reelspace.serving.rollout.state import ENDED, Found, Rollout, Seen, Stage, find_rollout, read_seen, write_rollout
from reelspace.serving.signatures import GRAPH_SUFFIX

NUM_PROBES: Final = 3
NEXT: Final[dict[str, Stage]] = {"comparing": "canary", "canary": "flipping"}


class Promoted(Protocol):
    """The one pointer of what is promoted."""

    def versions(self) -> dict[str, int]:
        """Give the version of each promoted model."""

    def space_id(self) -> str:
        """Give the promoted space."""

    def flip(self, models: Sequence[str], before: int, wanted: int, is_current: Callable[[], bool]) -> None:
        """Move the version of the first model, and of others that have the same one.

        Raises:
            UserError: the pointer names a third version.
            PreconditionFailed: it moved, or the flip is not wanted any more.
        """


@dataclass(frozen=True, slots=True)
class World:
    """What a rollout changes: files of a store, loaded versions of Tritons, and the pointer."""

    store: Store
    tritons: Sequence[ModelControl]
    promoted: Promoted


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a promoter looks, and how long it believes in another one that gives no sign of life, seconds."""

    tick_s: float = 1.0
    alive_s: float = 10.0


class Promoter:
    """Works on one model's rollout."""

    def __init__(self, world: World, model: str, pace: Pace, tell: Callable[[Rollout, str], None]) -> None:
        """Prepare.

        Args:
            tell: hears of every look: the rollout, and what it waits for.
        """
        self._world = world
        self._model = model
        self._pace = pace
        self._tell = tell
        self._id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._versions = LoadedVersions(world.store, world.tritons, model, world.promoted.versions)
        self._work = _Work()
        self._alive = _Alive(pace.alive_s)
        self._computed: dict[tuple[int, str], ComputeTimes] = {}

    def run(self, until: Collection[Stage] = ENDED, is_patient: bool = False) -> Rollout:
        """Go on until the rollout is in one of some stages; gives it.

        Args:
            is_patient: wait where another promoter is at work, instead of leaving the rollout to it.

        Raises:
            ServerUnavailable: another promoter is at work.
            UserError: there is no rollout of the model.
        """
        with self._work:
            while True:
                found = self._found()
                rollout = found.rollout
                if rollout.stage in until:
                    return rollout
                if rollout.owner not in ("", self._id) and not self._alive.is_gone(rollout):
                    if self._alive.has_moved and not is_patient:
                        raise ServerUnavailable(f"another promoter works on {self._model}: `reelspace serve status` shows how far it is")
                    time.sleep(self._pace.tick_s)
                    continue
                self._go_on(found)

    def _found(self) -> Found:
        while True:
            try:
                found = find_rollout(self._world.store, self._model)
            except StoreUnavailable:
                time.sleep(self._pace.tick_s)
                continue
            if found is None:
                raise UserError(f"there was never a rollout of {self._model}")
            return found

    def _go_on(self, found: Found) -> None:
        # One's own sign of life first: what follows may take a while, and two would only do it twice.
        mine = found.rollout.model_copy(update={"owner": self._id, "beat": found.rollout.beat + 1})
        try:
            held = write_rollout(self._world.store, mine, found)
            after, why = self._advanced(mine)
            self._tell(after, why)
            if after.stage != mine.stage:
                owner = "" if after.stage in ENDED else self._id
                write_rollout(self._world.store, after.model_copy(update={"owner": owner}), held)
                return
        except PreconditionFailed:
            return  # somebody else wrote: look again
        except StoreUnavailable as error:
            self._tell(mine, str(error))
        time.sleep(self._pace.tick_s)

    def _advanced(self, rollout: Rollout) -> tuple[Rollout, str]:
        """Do what the stage asks; gives the rollout, in its next stage when that is done, and what it waits for otherwise."""
        steps: dict[str, Callable[[Rollout], tuple[Rollout, str]]] = {
            "loading": self._loaded,
            "comparing": self._proven,
            "canary": self._proven,
            "flipping": self._flipped,
            "flipped": self._retired,
            "rolling_back": self._rolled_back,
        }
        return steps[rollout.stage](rollout)

    def _loaded(self, rollout: Rollout) -> tuple[Rollout, str]:
        def load() -> None:
            # A Triton that starts amid a rollout is to serve as if there were none, so the file names the stable version alone.
            self._versions.name([rollout.stable])
            self._versions.load([rollout.stable, rollout.candidate])
            for triton in self._world.tritons:
                for _ in range(NUM_PROBES):
                    triton.probe(rollout.model, rollout.candidate)

        try:
            if not self._work.is_done(rollout, load):
                return rollout, "the candidate is being loaded"
        except ServerUnavailable as error:
            return self._waiting(rollout, str(error))
        except ReelspaceError as error:
            return rollout.at("rolling_back", f"version {rollout.candidate} does not load, or does not answer: {error}"), ""
        return rollout.at("flipping" if rollout.is_known else "comparing"), ""

    def _proven(self, rollout: Rollout) -> tuple[Rollout, str]:
        serving = self._world.promoted.versions().get(rollout.model)
        if serving == rollout.candidate:
            return rollout.at("flipping"), ""  # somebody who knows better moved the pointer
        if serving != rollout.stable:
            return rollout.at("rolling_back", f"version {serving} was promoted meanwhile"), ""
        seen = [one for one in read_seen(self._world.store, rollout.model) if (one.number, one.stage) == (rollout.number, rollout.stage)]
        tripped = next((one.tripped for one in seen if one.tripped), "")
        verdicts = [judge(total(one.evidence for one in seen), rollout.gates), self._compute(rollout)]
        failing = tripped or next((verdict.reason for verdict in verdicts if verdict.outcome == "fails"), "")
        if failing:
            return rollout.at("rolling_back", failing), ""
        waiting = next((verdict.reason for verdict in verdicts if verdict.outcome == "undecided"), "")
        if waiting:
            return self._waiting(rollout, waiting)
        if rollout.stage_age_s < rollout.gates.min_stage_s:
            return rollout, f"it is looked at for {rollout.gates.min_stage_s:g} s"
        return rollout.at(NEXT[rollout.stage]), ""

    def _compute(self, rollout: Rollout) -> Verdict:
        """Judge times since this promoter first looked at this stage; a new promoter looks anew."""
        times = self._computed.setdefault((rollout.number, rollout.stage), ComputeTimes(rollout.gates))
        times.look(self._times(rollout, rollout.candidate), self._times(rollout, rollout.stable))
        if times.lacks_sizes:
            try:
                self._work.is_done(rollout, lambda: self._fill_batches(rollout))
            except TritonRefused as error:
                return Verdict("fails", f"it does not answer a full batch: {error}")
            except ServerUnavailable:
                pass  # the next look tries again, until MAX_WINDOWS
        return times.verdict()

    def _fill_batches(self, rollout: Rollout) -> None:
        """Have both versions compute a full batch on each Triton: the one size that others' requests do not change."""
        for triton in self._world.tritons:
            with suppress(TritonRefused):
                triton.probe(rollout.model, rollout.stable, is_full=True)
            triton.probe(rollout.model, rollout.candidate, is_full=True)

    def _times(self, rollout: Rollout, version: int) -> BatchTimes:
        sums: dict[int, tuple[int, float]] = {}
        for triton in self._world.tritons:
            with suppress(ServerUnavailable):
                for size, (count, seconds) in triton.times(rollout.model, version).items():
                    earlier = sums.get(size, (0, 0.0))
                    sums[size] = earlier[0] + count, earlier[1] + seconds
        return sums

    def _flipped(self, rollout: Rollout) -> tuple[Rollout, str]:
        # First the file, then the pointer: a Triton that starts in between must have what the pointer names.
        self._versions.name([rollout.stable, rollout.candidate])
        models = rollout.model, rollout.model + GRAPH_SUFFIX
        try:
            self._world.promoted.flip(models, rollout.stable, rollout.candidate, lambda: self._is_still(rollout))
        except UserError as error:
            return rollout.at("rolling_back", str(error)), ""
        return rollout.at("flipped"), ""

    def _is_still(self, rollout: Rollout) -> bool:
        found = find_rollout(self._world.store, rollout.model)
        return found is not None and (found.rollout.number, found.rollout.stage) == (rollout.number, rollout.stage)

    def _retired(self, rollout: Rollout) -> tuple[Rollout, str]:
        late = [one.gateway for one in self._alive.live(read_seen(self._world.store, rollout.model)) if one.version != rollout.candidate]
        if late:
            return rollout, f"gateway {late[0]} still asks version {rollout.stable}"
        if rollout.stage_age_s < rollout.gates.settle_s:
            return rollout, f"version {rollout.stable} stays loaded for {rollout.gates.settle_s:g} s after the flip"
        return self._left_with(rollout, {rollout.candidate}, "retired")

    def _rolled_back(self, rollout: Rollout) -> tuple[Rollout, str]:
        # A version that was promoted meanwhile by other means is kept, too.
        serving = self._world.promoted.versions().get(rollout.model, rollout.stable)
        return self._left_with(rollout, {rollout.stable, serving}, "rolled_back")

    def _left_with(self, rollout: Rollout, versions: Collection[int], stage: Stage) -> tuple[Rollout, str]:
        """Unload every other version. A Triton that does not answer loads what the file names when it starts."""

        def load() -> None:
            self._versions.name(versions)
            self._versions.leave(versions)

        try:
            if not self._work.is_done(rollout, load):
                return rollout, "the other version is being unloaded"
        except ServerUnavailable as error:
            if rollout.stage_age_s < rollout.gates.stage_s:
                return rollout, str(error)
            return rollout.at(stage, _added(rollout.reason, error)), ""
        except TritonRefused as error:
            return rollout.at(stage, _added(rollout.reason, error)), ""
        return rollout.at(stage), ""

    def _waiting(self, rollout: Rollout, why: str) -> tuple[Rollout, str]:
        if rollout.stage_age_s < rollout.gates.stage_s:
            return rollout, why
        return rollout.at("rolling_back", f"not proven within {rollout.gates.stage_s:g} s of {rollout.stage}: {why}"), ""


class _Work:
    """One long call at a time in a thread, so that signs of life go on meanwhile."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._running: tuple[tuple[int, str], Future[None]] | None = None

    def __enter__(self) -> "_Work":
        self._pool, self._running = ThreadPoolExecutor(1, thread_name_prefix="rollout"), None
        return self

    def __exit__(self, *_: object) -> None:
        assert self._pool is not None
        self._pool.shutdown(wait=False, cancel_futures=True)

    def is_done(self, rollout: Rollout, work: Callable[[], None]) -> bool:
        """Start the work of a stage, or tell whether it is done; raises what it raised, after which it can be started again."""
        assert self._pool is not None, "use it in a `with` statement"
        stage = rollout.number, rollout.stage
        if self._running is None or self._running[0] != stage:
            self._running = stage, self._pool.submit(work)
        future = self._running[1]
        with suppress(TimeoutError):
            future.exception(timeout=0.2)
        if not future.done():
            return False
        self._running = None
        future.result()
        return True


class _Alive:
    """Who gives signs of life, by this process's own clock."""

    def __init__(self, alive_s: float) -> None:
        self._alive_s = alive_s
        self._promoter: tuple[tuple[str, int], float] | None = None
        self._gateways: dict[str, tuple[int, float]] = {}
        self.has_moved = False

    def is_gone(self, rollout: Rollout) -> bool:
        """Tell whether another promoter has given no sign of life for long enough."""
        sign, now_s = (rollout.owner, rollout.beat), time.monotonic()
        if self._promoter is None or self._promoter[0] != sign:
            self.has_moved = self._promoter is not None
            self._promoter = sign, now_s
        return now_s - self._promoter[1] >= self._alive_s

    def live(self, seen: Iterable[Seen]) -> list[Seen]:
        """Give what was written by gateways that live; one that is new to us does."""
        found, now_s = list(seen), time.monotonic()
        for one in found:
            if self._gateways.get(one.gateway, (-1, 0.0))[0] != one.beat:
                self._gateways[one.gateway] = one.beat, now_s
        return [one for one in found if now_s - self._gateways[one.gateway][1] < self._alive_s]


def _added(reason: str, error: Exception) -> str:
    return "; ".join(part for part in (reason, f"the other version may still be loaded: {error}") if part)
