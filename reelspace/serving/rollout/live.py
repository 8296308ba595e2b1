"""A rollout in one gateway, for one model: which requests the candidate gets, and what is seen of it.

What the candidate fails, the stable version answers, so clients see no error of it. Every answer is whole from one version.
"""

import asyncio
import random
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

from reelspace.core.errors import ReelspaceError, ServerUnavailable
from reelspace.serving.answer_checks import NotFinite, WrongAnswer, check_finite
from reelspace.serving.rollout.agreement import agreement
from reelspace.serving.rollout.evidence import Evidence, Failure
from reelspace.serving.rollout.judge import judge
from reelspace.serving.rollout.state import WITH_REQUESTS, Rollout
from reelspace.serving.upstream import ModelRefused
from reelspace.serving.wire import Answer

Ask: TypeAlias = Callable[[str], Awaitable[Answer]]
"""Sends the request to a version, "" for the one that serves, and checks the answer against the signature."""

MAX_COMPARISONS: Final = 4
PATIENCE: Final = 10.0
LEAST_PATIENCE_S: Final = 0.5
FIRST_PATIENCE_S: Final = 5.0
RECENT: Final = 0.1
_HASHES: Final = 1 << 32


class LiveRollout:
    """Sends requests as the rollout that it follows says, and counts."""

    def __init__(self, tell_tripped: Callable[[], None]) -> None:
        """Follow nothing yet.

        Args:
            tell_tripped: called once when what was seen here condemns the candidate.
        """
        self.tripped = ""
        self._tell_tripped = tell_tripped
        self._rollout: Rollout | None = None
        self._is_attended = False
        self._requests = 0
        self._asked = 0
        self._evidence = Evidence()
        self._usual_s: float | None = None
        self._comparing: set[asyncio.Task[None]] = set()

    def follow(self, rollout: Rollout | None, is_attended: bool) -> None:
        """Do as a rollout says from now on; counts are of its present stage.

        Args:
            is_attended: its promoter gives signs of life; without one the candidate gets nothing.
        """
        before, self._rollout, self._is_attended = self._rollout, rollout, is_attended
        if before is None or rollout is None or before.number != rollout.number:
            self.tripped, self._usual_s = "", None
        elif before.stage == rollout.stage:
            return
        self._requests, self._asked, self._evidence = 0, 0, Evidence()

    @property
    def evidence(self) -> Evidence:
        """Give what was seen in this stage."""
        return self._evidence.model_copy(update={"requests": self._requests})

    async def answered(self, ask: Ask, request_id: str | None, left_s: float | None) -> Answer:
        """Answer one request that names no version.

        Args:
            request_id: the client's own id, if it gave one; equal ones go to the same version while its share allows.
            left_s: how long the client still waits; None where it does not say.

        Raises:
            ModelRefused, ServerUnavailable: as the stable version answered, or did not.
        """
        rollout = self._rollout
        if rollout is None or rollout.stage not in WITH_REQUESTS or not self._is_attended or self.tripped:
            return await ask("")
        self._requests += 1
        patience_s = self._patience_s()
        if len(self._comparing) >= MAX_COMPARISONS or not self._is_chosen(rollout, request_id):
            return await ask("")
        if rollout.stage == "comparing":
            self._asked += 1
            answer, stable_s = await _timed(ask, "")
            self._spawn(self._mirrored(ask, rollout, answer, stable_s))
            return answer
        if left_s is not None and left_s < 2 * patience_s:
            return await ask("")
        self._asked += 1
        return await self._by_candidate(ask, rollout, patience_s)

    async def close(self) -> None:
        """Stop comparing."""
        for task in self._comparing:
            task.cancel()
        await asyncio.gather(*self._comparing, return_exceptions=True)

    def _is_chosen(self, rollout: Rollout, request_id: str | None) -> bool:
        """Choose by the client's id, so that retries agree, and never more than the share of all until now, whatever ids clients make."""
        if self._asked + 1 > rollout.share * self._requests:
            return False
        if request_id is None:
            # Not every tenth: clients may have a rhythm of their own.
            return random.random() < 2 * rollout.share
        return zlib.crc32(f"{rollout.number} {request_id}".encode()) < 2 * rollout.share * _HASHES

    async def _by_candidate(self, ask: Ask, rollout: Rollout, patience_s: float) -> Answer:
        try:
            answer, candidate_s = await self._of_candidate(ask, rollout, patience_s)
        except (ModelRefused, ServerUnavailable, TimeoutError) as error:
            # Where the stable version fails, too, this raises, and the candidate is not to blame.
            answer = await ask("")
            self._count_failure(rollout, _kind_of(error))
            return answer
        self._spawn(self._repeated(ask, rollout, answer, candidate_s))
        return answer

    async def _mirrored(self, ask: Ask, rollout: Rollout, stable: Answer, stable_s: float) -> None:
        try:
            candidate, candidate_s = await self._of_candidate(ask, rollout, self._patience_s())
        except (ModelRefused, ServerUnavailable, TimeoutError) as error:
            self._count_failure(rollout, _kind_of(error))
            return
        self._compare(rollout, (candidate, candidate_s), (stable, stable_s))

    async def _repeated(self, ask: Ask, rollout: Rollout, candidate: Answer, candidate_s: float) -> None:
        self._count(rollout, asked=1, answered=1)
        try:
            stable, stable_s = await _timed(ask, "")
        except ReelspaceError:
            return  # nothing to compare with
        self._compare(rollout, (candidate, candidate_s), (stable, stable_s), is_new=False)

    async def _of_candidate(self, ask: Ask, rollout: Rollout, patience_s: float) -> tuple[Answer, float]:
        async with asyncio.timeout(patience_s):
            answer, seconds = await _timed(ask, str(rollout.candidate))
        check_finite(answer)
        return answer, seconds

    def _compare(self, rollout: Rollout, candidate: tuple[Answer, float], stable: tuple[Answer, float], is_new: bool = True) -> None:
        try:
            cosine = agreement(candidate[0], stable[0])
        except WrongAnswer as error:
            self._count_failure(rollout, _kind_of(error), is_new)
            return
        self._usual_s = stable[1] if self._usual_s is None else (1 - RECENT) * self._usual_s + RECENT * stable[1]
        self._count(
            rollout,
            asked=int(is_new),
            compared=1,
            slower=int(candidate[1] - rollout.gates.slack_s > rollout.gates.max_slowdown * stable[1]),
            disagreeing=int(cosine < rollout.gates.min_agreement),
            agreement=cosine,
            candidate_s=candidate[1],
            stable_s=stable[1],
        )

    def _count_failure(self, rollout: Rollout, kind: Failure, is_new: bool = True) -> None:
        failures = self._evidence.failures
        self._count(rollout, asked=int(is_new), failures={**failures, kind: failures.get(kind, 0) + 1})

    def _count(self, rollout: Rollout, failures: dict[Failure, int] | None = None, **more: float) -> None:
        """Add to the evidence, and stop asking the candidate at once where that condemns it."""
        now = self._rollout
        if now is None or (now.number, now.stage) != (rollout.number, rollout.stage):
            return  # the request began in another stage
        sums = {name: getattr(self._evidence, name) + value for name, value in more.items()}
        self._evidence = self._evidence.model_copy(update=sums if failures is None else {**sums, "failures": failures})
        verdict = judge(self._evidence, rollout.gates)
        if verdict.outcome == "fails" and not self.tripped:
            self.tripped = verdict.reason
            self._tell_tripped()

    def _patience_s(self) -> float:
        return FIRST_PATIENCE_S if self._usual_s is None else max(LEAST_PATIENCE_S, PATIENCE * self._usual_s)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._comparing.add(task)
        task.add_done_callback(self._comparing.discard)


async def _timed(ask: Ask, version: str) -> tuple[Answer, float]:
    start_s = time.perf_counter()
    answer = await ask(version)
    return answer, time.perf_counter() - start_s


def _kind_of(error: Exception) -> Failure:
    kinds: list[tuple[type[Exception], Failure]] = [
        (NotFinite, "not_finite"),
        (WrongAnswer, "signature"),
        (ModelRefused, "refused"),
        (TimeoutError, "timeout"),
    ]
    return next((name for kind, name in kinds if isinstance(error, kind)), "error")
