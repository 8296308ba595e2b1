"""One gateway's side of a rollout, with versions that are functions."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from reelspace.core.errors import ServerUnavailable
from reelspace.serving.answer_checks import NotFinite, WrongAnswer, check_answer, check_finite
from reelspace.serving.rollout import live
from reelspace.serving.rollout.agreement import agreement
from reelspace.serving.rollout.live import LiveRollout
from reelspace.serving.rollout.state import Rollout, Stage
from reelspace.serving.signatures import EncoderSizes, text_signature
from reelspace.serving.upstream import ModelRefused
from reelspace.serving.wire import Answer, text_tensor

CANDIDATE = "4"
GOOD = [[0.6, 0.8]]


def answer(version: str, vector: object = GOOD, space: str = "one") -> Answer:
    vectors_BD = np.array(vector, dtype=np.float32)
    return Answer("text_encoder", version, {"EMBEDDING": vectors_BD, "SPACE_ID": text_tensor([space] * len(vectors_BD))})


def rollout(stage: Stage = "canary", number: int = 1) -> Rollout:
    return Rollout(model="text_encoder", number=number, stable=3, candidate=int(CANDIDATE), stage=stage)


class Versions:
    """Answers as version 3, or as the candidate does; keeps who was asked."""

    def __init__(self, candidate: Callable[[], Awaitable[Answer]] | None = None) -> None:
        self.asked: list[str] = []
        self._candidate = candidate
        self.stable_fails = False

    async def __call__(self, version: str) -> Answer:
        self.asked.append(version)
        await asyncio.sleep(0)
        if version == CANDIDATE:
            return answer(CANDIDATE) if self._candidate is None else await self._candidate()
        if self.stable_fails:
            raise ServerUnavailable("the stable version is gone")
        return answer("3")


def raising(error: Exception) -> Callable[[], Awaitable[Answer]]:
    async def candidate() -> Answer:
        raise error

    return candidate


def giving(vector: object, space: str = "one") -> Callable[[], Awaitable[Answer]]:
    async def candidate() -> Answer:
        return answer(CANDIDATE, vector, space)

    return candidate


async def sent(one: LiveRollout, versions: Versions, num: int, id: str | None = None) -> Counter[str]:
    """Send requests one after the other; gives how many each version answered."""
    counted: Counter[str] = Counter()
    for number in range(num):
        counted[(await one.answered(versions, id or f"request-{number}", None)).version] += 1
        while one._comparing:
            await asyncio.sleep(0)
    return counted


def following(stage: Stage = "canary") -> tuple[LiveRollout, list[str]]:
    tripped: list[str] = []
    one = LiveRollout(lambda: tripped.append("tripped"))
    one.follow(rollout(stage), True)
    return one, tripped


def test_the_candidate_gets_a_tenth_and_never_more_at_any_time() -> None:
    async def look() -> None:
        one, _ = following()
        versions, candidates = Versions(), 0
        for number in range(1, 2001):
            candidates += (await one.answered(versions, None if number % 2 else f"{number}", None)).version == CANDIDATE
            assert candidates <= number / 10
            while one._comparing:
                await asyncio.sleep(0)
        assert candidates >= 180
        assert one.evidence.requests == 2000
        assert one.evidence.answered == one.evidence.compared == candidates

    asyncio.run(look())


def test_a_client_that_always_sends_one_id_does_not_get_more_than_the_share() -> None:
    async def look() -> None:
        for id in ("a", "b", "c", "d", "e", "f"):
            one, _ = following()
            assert (await sent(one, Versions(), 200, id))[CANDIDATE] <= 20

    asyncio.run(look())


def test_while_comparing_every_client_has_the_stable_answer() -> None:
    async def look() -> None:
        one, _ = following("comparing")
        versions = Versions()
        assert await sent(one, versions, 500) == {"3": 500}
        assert 30 <= versions.asked.count(CANDIDATE) <= 50
        assert one.evidence.compared == versions.asked.count(CANDIDATE)
        assert one.evidence.answered == 0
        assert one.evidence.agreement == pytest.approx(one.evidence.compared)

    asyncio.run(look())


@pytest.mark.parametrize("stage", ["loading", "flipping", "flipped", "retired", "rolling_back", "rolled_back"])
def test_in_other_stages_only_the_version_that_serves_is_asked(stage: Stage) -> None:
    async def look() -> None:
        one, _ = following(stage)
        versions = Versions()
        await sent(one, versions, 100)
        assert set(versions.asked) == {""}

    asyncio.run(look())


def test_a_rollout_without_a_promoter_rests() -> None:
    async def look() -> None:
        one, _ = following()
        one.follow(rollout(), False)
        assert await sent(one, Versions(), 100) == {"3": 100}
        one.follow(rollout(), True)
        assert (await sent(one, Versions(), 100))[CANDIDATE] > 0

    asyncio.run(look())


BAD = {
    "error": raising(ServerUnavailable("HTTP 500")),
    "refused": raising(ModelRefused("TEXT: too long")),
    "signature": raising(WrongAnswer("FP32 [1, 3]")),
    "not_finite": giving([[float("nan"), 1.0]]),
    "timeout": raising(TimeoutError()),
}


@pytest.mark.parametrize("stage", ["comparing", "canary"])
@pytest.mark.parametrize("kind", BAD)
def test_what_the_candidate_fails_the_stable_version_answers_and_it_is_asked_no_more(kind: str, stage: Stage) -> None:
    async def look() -> None:
        one, tripped = following(stage)
        versions = Versions(BAD[kind])
        assert await sent(one, versions, 500) == {"3": 500}
        assert one.tripped
        assert tripped == ["tripped"]
        assert set(one.evidence.failures) == {kind}
        assert versions.asked.count(CANDIDATE) <= 3

    asyncio.run(look())


@pytest.mark.parametrize(("vector", "space", "says"), [([[-0.8, 0.6]], "one", "cosine"), (GOOD, "other", "signature")])
def test_vectors_that_disagree_or_are_of_another_space_end_it(vector: object, space: str, says: str) -> None:
    async def look() -> None:
        one, _ = following("comparing")
        await sent(one, Versions(giving(vector, space)), 500)
        assert says in one.tripped

    asyncio.run(look())


def test_what_both_versions_fail_is_not_counted_against_the_candidate() -> None:
    async def look() -> None:
        one, _ = following()
        versions = Versions(BAD["error"])
        versions.stable_fails = True
        for _ in range(200):
            with pytest.raises(ServerUnavailable, match="the stable version is gone"):
                await one.answered(versions, None, None)
        assert one.evidence.num_failures == 0
        assert not one.tripped

    asyncio.run(look())


def test_a_candidate_that_never_answers_costs_a_client_a_while_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_PATIENCE_S", 0.02)

    async def never() -> Answer:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def look() -> None:
        one, _ = following()
        assert await sent(one, Versions(never), 200) == {"3": 200}
        assert set(one.evidence.failures) == {"timeout"}

    asyncio.run(look())


def test_a_client_that_waits_too_short_for_a_second_try_is_not_given_to_the_candidate() -> None:
    async def look() -> None:
        one, _ = following()
        for _ in range(100):
            assert (await one.answered(Versions(), None, 0.1)).version == "3"

    asyncio.run(look())


def test_a_clients_own_deadline_is_nobodys_failure() -> None:
    async def slow() -> Answer:
        await asyncio.sleep(10)
        raise AssertionError("unreachable")

    async def look() -> None:
        one, _ = following()
        versions, num_late = Versions(slow), 0
        for _ in range(100):
            try:
                async with asyncio.timeout(0.01):
                    await one.answered(versions, None, None)
            except TimeoutError:
                num_late += 1
        assert num_late > 0
        assert one.evidence.num_failures == 0

    asyncio.run(look())


def test_counts_begin_anew_with_each_stage_and_a_trip_holds_for_the_rollout() -> None:
    async def look() -> None:
        one, _ = following("comparing")
        await sent(one, Versions(BAD["not_finite"]), 100)
        one.follow(rollout("canary"), True)
        assert one.evidence.requests == 0
        assert one.tripped
        one.follow(rollout("comparing", number=2), True)
        assert not one.tripped

    asyncio.run(look())


def test_what_began_in_an_earlier_stage_is_not_counted_in_the_next() -> None:
    async def look() -> None:
        one, _ = following("comparing")
        gate = asyncio.Event()

        async def waiting() -> Answer:
            await gate.wait()
            return answer(CANDIDATE)

        versions = Versions(waiting)
        while not one._comparing:
            await one.answered(versions, None, None)
        one.follow(rollout("canary"), True)
        gate.set()
        while one._comparing:
            await asyncio.sleep(0)
        assert one.evidence.compared == 0

    asyncio.run(look())


def test_agreement_is_the_lowest_cosine_of_all_rows() -> None:
    assert agreement(answer("4", [[1, 0], [3, 4]]), answer("3", [[2, 0], [4, 3]])) == pytest.approx(0.96)
    assert agreement(answer("4", [[0, 0]]), answer("3", [[0, 0]])) == 1.0
    assert agreement(answer("4", [[0, 0]]), answer("3", [[1, 0]])) == 0.0
    with pytest.raises(WrongAnswer, match="another space"):
        agreement(answer("4", space="two"), answer("3"))


def test_answers_are_checked_against_the_signature_and_for_numbers() -> None:
    signature = text_signature("text_encoder", EncoderSizes(dimension=2))
    check_answer(answer("4"), signature, 1)
    check_finite(answer("4"))
    with pytest.raises(WrongAnswer, match=r"FP32 \[1, 3\] as EMBEDDING, where its signature says FP32 \[1, 2\]"):
        check_answer(answer("4", [[1, 2, 3]]), signature, 1)
    with pytest.raises(WrongAnswer, match="nothing as EMBEDDING"):
        check_answer(Answer("text_encoder", "4", {}), signature, 1)
    with pytest.raises(NotFinite, match="EMBEDDING"):
        check_finite(answer("4", [[float("inf"), 1]]))
