"""Requests to the object store and the bytes in it, for a month.

Polling: every copy of every shard reads the next number of its log and the floor once a second, or as often as there are commits;
every gateway reads three pointers a second. A commit is one PUT, and one GET of the floor after it.
"""

import math
from dataclasses import dataclass
from typing import Final

from reelspace.search.planning.cluster import Cluster
from reelspace.search.planning.settings import SearchPlanSettings

SECONDS_PER_MONTH: Final = 365.25 * 86_400 / 12
HOURS_PER_MONTH: Final = SECONDS_PER_MONTH / 3600
GATEWAY_POINTERS: Final = 3


@dataclass(frozen=True, slots=True)
class StoreBill:
    """Requests a second, bytes at rest, and their price for a month."""

    polling_gets_per_s: float
    gateway_gets_per_s: float
    commits_per_s: float
    stored_bytes: float
    request_usd: float
    storage_usd: float

    @property
    def gets_per_s(self) -> float:
        """All GETs a second."""
        return self.polling_gets_per_s + self.gateway_gets_per_s + self.commits_per_s


def store_bill(cluster: Cluster, plan: SearchPlanSettings) -> StoreBill:
    """Count requests and bytes."""
    commits = shard_commits_per_s(plan, cluster.num_shards)
    polling = cluster.num_shards * cluster.num_copies * (max(1.0, commits) + 1)
    gateways = float(GATEWAY_POINTERS * plan.gateways)
    all_commits = cluster.num_shards * commits
    gets = polling + gateways + all_commits
    index = cluster.row_bytes - plan.payload_bytes - plan.row_bytes
    # The vectors are stored once beside an index that holds no whole ones.
    whole = 0 if index >= 4 * plan.dimension else 4 * plan.dimension
    stored = plan.rows * (index + whole + plan.payload_bytes + plan.row_bytes) * plan.stored_generations
    prices = plan.store
    requests_usd = (all_commits * prices.usd_per_million_puts + gets * prices.usd_per_million_gets) * SECONDS_PER_MONTH / 1e6
    return StoreBill(polling, gateways, all_commits, stored, requests_usd, stored / 1e9 * prices.usd_per_gb_month)


def shard_commits_per_s(plan: SearchPlanSettings, num_shards: int) -> float:
    """Give the commits of one shard a second.

    The rows of a request are spread over the shards. Whatever comes to a shard while a PUT is in flight shares the next one, which starts
    at once; where nothing came, with the chance exp(-requests * commit_s) of a Poisson process, it waits for the next request.
    """
    requests = plan.writes / plan.rows_per_write * min(plan.rows_per_write, num_shards) / num_shards
    return requests / (requests * plan.commit_s + math.exp(-requests * plan.commit_s))
