"""What condemns a candidate and what does not, also where little was seen."""

import random

import pytest

from reelspace.serving.rollout.compute_times import MIN_SAME_SIZE, MIN_WINDOWS, ComputeTimes, slowdown
from reelspace.serving.rollout.evidence import Evidence, total
from reelspace.serving.rollout.gates import Gates
from reelspace.serving.rollout.judge import judge, lower_bound

GATES = Gates()


def seen(compared: int = 100, **more: object) -> Evidence:
    """Evidence of a good candidate but for what is given."""
    usual = {"requests": 10 * compared, "asked": compared, "compared": compared, "agreement": 0.99 * compared}
    return Evidence.model_validate({**usual, "candidate_s": float(compared), "stable_s": float(compared), **more})


def test_nothing_seen_is_undecided() -> None:
    assert judge(Evidence(), GATES).outcome == "undecided"


def test_a_good_candidate_passes_once_enough_was_compared() -> None:
    assert judge(seen(49), GATES).reason == "49 of 50 requests were compared"
    assert judge(seen(50), GATES).outcome == "passes"


@pytest.mark.parametrize("few", [1, 2, 5])
def test_one_slow_or_failed_request_of_few_does_not_condemn(few: int) -> None:
    assert judge(seen(few, slower=1, candidate_s=100.0), GATES).outcome == "undecided"
    assert judge(seen(few, asked=few + 1, failures={"error": 1}), GATES).outcome == "undecided"
    assert judge(seen(few, disagreeing=1), GATES).outcome == "undecided"


@pytest.mark.parametrize(
    ("kind", "says"), [("not_finite", "numbers that are not finite"), ("signature", "an answer that is not what its signature says")]
)
def test_one_answer_that_no_chance_makes_condemns(kind: str, says: str) -> None:
    verdict = judge(seen(0, asked=1, failures={kind: 1}), GATES)
    assert (verdict.outcome, verdict.reason) == ("fails", f"it gave {says}")


def test_a_candidate_that_always_fails_is_condemned_at_the_third_request() -> None:
    outcomes = [judge(Evidence(asked=number, failures={"error": number}), GATES).outcome for number in (1, 2, 3)]
    assert outcomes == ["undecided", "undecided", "fails"]


def test_a_candidate_that_is_always_slower_is_condemned_at_the_tenth_comparison() -> None:
    outcomes = [judge(seen(number, slower=number, candidate_s=5.0 * number), GATES).outcome for number in (9, 10)]
    assert outcomes == ["undecided", "fails"]
    assert judge(seen(10, slower=10, candidate_s=50.0), GATES).reason.startswith("it took 5.0 times as long")


def test_vectors_that_disagree_are_told_with_their_cosine() -> None:
    verdict = judge(seen(20, disagreeing=20, agreement=10.0), GATES)
    assert verdict.outcome == "fails"
    assert "a cosine of 0.500" in verdict.reason


def test_shares_at_the_bar_pass_and_above_it_wait_for_more() -> None:
    assert judge(seen(100, failures={"error": 1}), GATES).outcome == "passes"
    assert judge(seen(100, failures={"error": 2}), GATES).outcome == "undecided"
    assert judge(seen(100, disagreeing=10), GATES).outcome == "passes"
    assert judge(seen(100, disagreeing=11), GATES).outcome == "undecided"


def test_a_good_candidate_on_a_noisy_machine_is_condemned_in_none_of_a_thousand_rollouts() -> None:
    """Three of ten comparisons too slow by chance, looked at after each, as gateways do."""
    draw, condemned = random.Random(0), 0
    for _ in range(1000):
        slower = 0
        for compared in range(1, 201):
            slower += draw.random() < 0.3
            if lower_bound(slower, compared) > 0.5:
                condemned += 1
                break
    assert condemned == 0


@pytest.mark.parametrize(("found", "of"), [(1, 1), (3, 10), (50, 100), (100, 100)])
def test_the_lower_bound_is_the_root_that_wilson_gives(found: int, of: int) -> None:
    """The share p below `found / of` that is exactly three standard deviations of its own away."""
    low, high = 0.0, found / of
    for _ in range(60):
        p = (low + high) / 2
        low, high = (p, high) if found / of - p > 3 * (p * (1 - p) / of) ** 0.5 else (low, p)
    assert lower_bound(found, of) == pytest.approx(low, abs=1e-9)


def test_evidence_of_gateways_adds_up() -> None:
    parts = [seen(10, failures={"error": 1, "timeout": 2}), seen(20, failures={"error": 3}), Evidence()]
    added = total(parts)
    assert added.compared == 30
    assert added.failures == {"error": 4, "timeout": 2}
    assert added.agreement == pytest.approx(29.7)
    assert total([]) == Evidence()


def times(**sizes: tuple[int, float]) -> dict[int, tuple[int, float]]:
    return {int(name[1:]): (count, count * mean) for name, (count, mean) in sizes.items()}


def looked(candidate_s: list[float], stable: dict[int, tuple[int, float]]) -> ComputeTimes:
    """Windows of five executions of one row, of these mean seconds each."""
    found, count, seconds = ComputeTimes(GATES), 0, 0.0
    found.look({}, {})
    for mean_s in candidate_s:
        count, seconds = count + 5, seconds + 5 * mean_s
        found.look({1: (count, seconds)}, stable)
    return found


def test_times_are_compared_at_the_same_batch_size() -> None:
    # Eight rows at a time cost less per row: that is none of the candidate's fault.
    stable = times(b1=(10, 0.010), b8=(1000, 0.030))
    assert slowdown(times(b1=(7, 0.011)), stable) == pytest.approx((1.1, 1.1))
    assert slowdown(times(b8=(7, 0.150)), stable) == pytest.approx((5.0, 5.0))


def test_a_size_that_the_stable_version_had_not_is_bounded_by_others() -> None:
    assert slowdown(times(b1=(5, 0.030)), times(b4=(50, 0.040))) == pytest.approx((0.75, 3.0))
    assert slowdown(times(b4=(5, 0.030)), times(b2=(50, 0.010))) == pytest.approx((1.5, 3.0))
    assert slowdown(times(b2=(5, 0.030)), times(b1=(50, 0.010), b4=(50, 0.030))) == pytest.approx((1.5, 2.0))


def test_five_times_slower_fails_and_what_only_may_be_slower_waits() -> None:
    assert looked([0.05] * 4, times(b1=(99, 0.01))).verdict().outcome == "undecided"
    assert looked([0.05] * 5, times(b1=(99, 0.01))).verdict().outcome == "fails"
    assert looked([0.01] * 5, times(b1=(99, 0.01))).verdict().outcome == "passes"
    assert looked([0.03] * 5, times(b4=(99, 0.04))).verdict().outcome == "undecided"
    assert looked([0.01] * 5, {}).verdict().outcome == "undecided"


def test_what_cannot_be_compared_for_long_counts_as_too_slow() -> None:
    always_eight = times(b8=(99, 0.016))
    assert looked([0.03] * 39, always_eight).verdict().outcome == "undecided"
    assert looked([0.03] * 40, always_eight).verdict().outcome == "fails"
    assert looked([0.002] * 40, always_eight).verdict().outcome == "passes"


@pytest.mark.parametrize(("full_s", "outcome"), [(0.1, "fails"), (0.022, "passes")])
def test_full_batches_decide_where_other_sizes_cannot(full_s: float, outcome: str) -> None:
    found = looked([0.03] * 5, times(b8=(99, 0.016)))
    assert (found.verdict().outcome, found.lacks_sizes) == ("undecided", True)
    for full in range(1, MIN_SAME_SIZE + MIN_WINDOWS):
        assert found.verdict().outcome == "undecided"
        candidate = times(b1=(25 + 5 * full, 0.03), b32=(full, full_s))
        found.look(candidate, times(b8=(99, 0.016), b32=(full, 0.02)))
    assert (found.verdict().outcome, found.lacks_sizes) == (outcome, False)


def test_a_few_milliseconds_are_no_slowdown_of_a_model_that_takes_one() -> None:
    """What is asked seldom finds its weights in no cache."""
    assert looked([0.005] * 5, times(b1=(99, 0.001))).verdict().outcome == "passes"
    assert looked([0.008] * 5, times(b1=(99, 0.001))).verdict().outcome == "fails"


def test_two_hiccups_of_the_machine_do_not_condemn() -> None:
    assert looked([0.01, 5.0, 0.01, 0.01, 5.0], times(b1=(99, 0.01))).verdict().outcome == "passes"


def test_a_version_that_is_loaded_anew_is_looked_at_anew() -> None:
    found = looked([0.05] * 3, times(b1=(99, 0.01)))
    found.look({1: (1, 0.01)}, times(b1=(99, 0.01)))
    found.look({1: (6, 0.06)}, times(b1=(120, 0.01)))
    assert found.verdict().reason == "4 of 5 windows of 5 executions were timed"
