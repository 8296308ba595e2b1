"""Waits, deadlines and the budget of repeated requests, on a clock of the test's own."""

import pytest

from reelspace.core.errors import SettingError
from reelspace.serving.client_errors import CallFailed
from reelspace.serving.client_retries import Retries, RetryBudget, Timing, Tries

FAILED = {"may_repeat": True, "status": 503}


def tries_of(retries: Retries, end_s: float = 1000.0, budget: RetryBudget | None = None) -> Tries:
    return Tries(retries, budget or RetryBudget(retries), end_s)


def waits_of(tries: Tries, **error: object) -> list[float]:
    """Fail until there is no other try; give the waits."""
    waits = []
    while True:
        try:
            tries.begin()
            waits.append(tries.wait_s(CallFailed("no", **FAILED | error)))  # type: ignore[arg-type]
        except CallFailed:
            return waits


def still(draw: float = 1.0, now_s: float = 0.0) -> Timing:
    return Timing(now=lambda: now_s, draw=lambda: draw)


def test_longest_waits_double_up_to_a_limit_and_any_part_of_one_may_be_drawn() -> None:
    assert waits_of(tries_of(Retries(max_tries=8, timing=still()))) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert waits_of(tries_of(Retries(max_tries=4, timing=still(draw=0.5)))) == [0.025, 0.05, 0.1]
    assert waits_of(tries_of(Retries(max_tries=3, timing=still(draw=0.0)))) == [0.0, 0.0]


def test_what_is_drawn_spreads_over_the_whole_wait() -> None:
    retries = Retries(max_tries=2, first_wait_s=1.0, timing=Timing(now=lambda: 0.0))
    waits = [waits_of(tries_of(retries))[0] for _ in range(300)]
    assert min(waits) < 0.1
    assert max(waits) > 0.9
    assert 0.4 < sum(waits) / len(waits) < 0.6


def test_what_will_not_help_is_not_tried_again() -> None:
    assert waits_of(tries_of(Retries(timing=still())), may_repeat=False) == []
    assert waits_of(tries_of(Retries(max_tries=1, timing=still()))) == []


@pytest.mark.parametrize(("end_s", "expected"), [(0.0, []), (1.0, []), (1.06, [1.05]), (-5.0, [])])
def test_a_wait_that_leaves_no_time_is_not_begun(end_s: float, expected: list[float]) -> None:
    assert waits_of(tries_of(Retries(max_tries=2, timing=still()), end_s), retry_after_s=1.0) == expected


def test_nothing_is_spent_on_what_is_not_tried_again() -> None:
    retries = Retries(max_tries=2, burst=1, timing=still())
    budget = RetryBudget(retries)
    for end_s, more in ((0.01, {}), (1000.0, {"may_repeat": False})):
        assert waits_of(tries_of(retries, end_s, budget), **more) == []
    assert len(waits_of(tries_of(retries, budget=budget))) == 1
    assert waits_of(tries_of(retries, budget=budget)) == []


def test_what_is_answered_earns_its_share_up_to_the_burst() -> None:
    budget = RetryBudget(Retries(burst=2, share=0.5))
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    budget.earn()
    assert not budget.spend()
    budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("wrong", [{"max_tries": 0}, {"burst": -1}, {"share": -0.1}, {"first_wait_s": -1}, {"longest_wait_s": -1}])
def test_numbers_that_are_none_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"retries.{next(iter(wrong))}: expected"):
        Retries(**wrong)  # type: ignore[arg-type]
