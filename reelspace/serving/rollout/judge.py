"""Whether evidence condemns a candidate, clears it, or is not enough for either. Pure, so gateways and promoter judge alike."""

import math
from dataclasses import dataclass
from typing import Final, Literal

from reelspace.serving.rollout.evidence import Evidence
from reelspace.serving.rollout.gates import Gates

Z: Final = 3.0
"""Standard deviations of certainty. It is looked again and again, so the usual two would condemn good versions by chance."""
MIN_FAILURES: Final = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a candidate, and why."""

    outcome: Literal["passes", "undecided", "fails"]
    reason: str = ""


PASSES: Final = Verdict("passes")


def judge(evidence: Evidence, gates: Gates) -> Verdict:
    """Judge what gateways saw.

    One answer that is not finite, or not what the signature says, condemns: chance makes none. Shares condemn only when their lower
    bound is beyond the bar, so one slow or lost request of a good version does not.
    """
    for kind, what in (("not_finite", "numbers that are not finite"), ("signature", "an answer that is not what its signature says")):
        if evidence.failures.get(kind):  # type: ignore[call-overload]
            return Verdict("fails", f"it gave {what}")
    failed, of = evidence.num_failures, evidence.asked
    if failed >= MIN_FAILURES and lower_bound(failed, of) > gates.max_failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(evidence.failures.items()))
        return Verdict("fails", f"it failed {failed} of {of} requests that the stable version answered ({kinds})")
    if lower_bound(evidence.slower, evidence.compared) > 0.5:
        times = evidence.candidate_s / evidence.stable_s if evidence.stable_s else math.inf
        return Verdict("fails", f"it took {times:.1f} times as long as the stable version, at most {gates.max_slowdown:g} times is asked")
    if lower_bound(evidence.disagreeing, evidence.compared) > gates.max_disagreeing:
        mean = evidence.agreement / evidence.compared
        asked = f"at least {gates.min_agreement:g} is asked"
        return Verdict("fails", f"its vectors have a cosine of {mean:.3f} with the stable version's, {asked}")
    return _within(evidence, gates)


def lower_bound(found: int, of: int) -> float:
    """Give the lower end of Wilson's interval for a share, Z standard deviations wide (Wilson, 1927)."""
    if not found:
        return 0.0
    share, z2 = found / of, Z * Z
    middle = share + z2 / (2 * of)
    return (middle - Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))) / (1 + z2 / of)


def _within(evidence: Evidence, gates: Gates) -> Verdict:
    """Clear a candidate that nothing condemns and whose shares are what is asked."""
    if evidence.compared < gates.min_compared:
        return Verdict("undecided", f"{evidence.compared} of {gates.min_compared} requests were compared")
    shares = [
        ("of its requests failed", evidence.num_failures, evidence.asked, gates.max_failures),
        ("of the comparisons were too slow", evidence.slower, evidence.compared, 0.5),
        ("of the comparisons disagreed", evidence.disagreeing, evidence.compared, gates.max_disagreeing),
    ]
    for what, found, of, most in shares:
        if found > most * of:
            return Verdict("undecided", f"{found} of {of} {what}, which more requests must show to be chance")
    return PASSES
