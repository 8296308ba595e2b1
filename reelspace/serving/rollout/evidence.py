"""What was seen of a candidate beside the stable version: counts that add up over gateways."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from reelspace.core.settings import Settings

Failure = Literal["error", "timeout", "refused", "signature", "not_finite"]


class Evidence(Settings):
    """Counts of one stage. A comparison is one request that both versions answered, one after the other."""

    requests: int = Field(0, ge=0, description="Requests that named no version.")
    asked: int = Field(0, ge=0, description="Of them, those that the candidate got, alone or too, and has ended.")
    answered: int = Field(0, ge=0, description="Of those, the ones whose client has the candidate's answer.")
    failures: dict[Failure, int] = Field(default_factory=dict, description="What it failed where the stable version answered, by kind.")
    compared: int = Field(0, ge=0, description="Comparisons.")
    slower: int = Field(0, ge=0, description="Comparisons in which it took longer than it may.")
    disagreeing: int = Field(0, ge=0, description="Comparisons in which the vectors disagreed.")
    agreement: float = Field(0.0, description="Sum of the cosines of all comparisons; of a request with several rows the lowest counts.")
    candidate_s: float = Field(0.0, ge=0, description="The candidate's time for all comparisons, seconds.")
    stable_s: float = Field(0.0, ge=0, description="The stable version's time for the same, seconds.")

    @property
    def num_failures(self) -> int:
        """Count failures of every kind."""
        return sum(self.failures.values())


def total(parts: Iterable[Evidence]) -> Evidence:
    """Add up evidence."""
    sums: dict[str, float] = {}
    failures: dict[Failure, int] = {}
    for part in parts:
        for kind, count in part.failures.items():
            failures[kind] = failures.get(kind, 0) + count
        for name, value in part.model_dump(exclude={"failures"}).items():
            sums[name] = sums.get(name, 0) + value
    return Evidence.model_validate({**sums, "failures": failures})
