"""What the shards of open collections hold, for Prometheus: a series per shard and figure, bounded in number.

Collections are made by whoever has the admin scope, and few: their names are the only ones of clients' that make series.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reelspace.search.compute.queries import ShardFacts

MAX_SHARDS: Final = 1000
"""Shards that are told of; of more than that the first ones."""
LABELS: Final = ("collection", "shard")


@dataclass(frozen=True, slots=True)
class HeldShard:
    """One shard of an open collection: what it told last, and how many log objects written here lie beyond that."""

    collection: str
    shard: int
    facts: ShardFacts
    num_behind: int


FIGURES: Final[tuple[tuple[str, str, Callable[[HeldShard], float]], ...]] = (
    ("rows", "Rows that are not deleted", lambda one: one.facts.num_rows),
    ("unsealed", "Changes beside the generation", lambda one: one.facts.num_unsealed),
    ("behind", "Log objects written through this gateway that the shard has not told of", lambda one: one.num_behind),
    ("applied", "Last log number applied", lambda one: one.facts.applied),
    ("generation", "Generation that is asked", lambda one: one.facts.generation),
    ("loaded", "Generations that the shard has loaded", lambda one: len(one.facts.loaded)),
    ("refused", "Generations that the shard should load and cannot", lambda one: len(one.facts.refused)),
    ("damages", "Times that what a shard had loaded was found changed", lambda one: one.facts.num_damages),
    ("bytes", "Memory of the generation", lambda one: one.facts.size_bytes),
)


class ShardCollector(Collector):
    """Asks for the shards whenever the counters are read."""

    def __init__(self, shards: Callable[[], Iterable[HeldShard]]) -> None:
        self._shards = shards

    def collect(self) -> Iterator[Metric]:
        """Give a gauge for every figure."""
        held = [one for _, one in zip(range(MAX_SHARDS), self._shards(), strict=False)]
        for name, about, value in FIGURES:
            family = GaugeMetricFamily(f"reelspace_search_shard_{name}", about, labels=LABELS)
            for one in held:
                family.add_metric([one.collection, str(one.shard)], value(one))
            yield family
