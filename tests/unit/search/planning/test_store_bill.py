from typing import Any

import numpy as np
import pytest

from reelspace.search.planning.cluster import cluster
from reelspace.search.planning.settings import SearchPlanSettings
from reelspace.search.planning.store_bill import SECONDS_PER_MONTH, shard_commits_per_s, store_bill


def asked(**values: Any) -> SearchPlanSettings:
    return SearchPlanSettings.model_validate({"rows": 1_000_000, "rate": 0.0, "shards": 4, "replicas": 2, **values})


def test_polling_counted_by_hand() -> None:
    plan = asked(gateways=5)
    bill = store_bill(cluster("flat", "cpu", plan), plan)
    # Four shards in two copies read the next number and the floor; five gateways read three pointers.
    assert (bill.polling_gets_per_s, bill.gateway_gets_per_s, bill.commits_per_s) == (16, 15, 0)
    assert SECONDS_PER_MONTH == 2_629_800
    assert bill.request_usd == pytest.approx(31 * 2.6298 * 0.4)


def test_a_commit_is_a_put_and_a_read_of_the_floor_and_every_copy_reads_it() -> None:
    plan = asked(writes=100.0, rows_per_write=10)
    bill = store_bill(cluster("flat", "cpu", plan), plan)
    # Every one of ten requests a second brings rows to every shard; 10 / (0.3 + exp(-0.3)) commits follow.
    assert bill.commits_per_s == pytest.approx(4 * 9.6086, rel=1e-4)
    assert bill.polling_gets_per_s == pytest.approx(8 * (9.6086 + 1), rel=1e-4)
    assert bill.request_usd == pytest.approx((bill.commits_per_s * 5.0 + bill.gets_per_s * 0.4) * 2.6298)


@pytest.mark.parametrize(("rows_per_write", "num_shards", "requests"), [(10, 4, 10.0), (1, 4, 25.0), (2, 4, 25.0), (100, 400, 0.25)])
def test_requests_reach_as_many_shards_as_they_have_rows(rows_per_write: int, num_shards: int, requests: float) -> None:
    found = shard_commits_per_s(asked(writes=100.0, rows_per_write=rows_per_write, commit_s=1e-9), num_shards)
    assert found == pytest.approx(requests)


@pytest.mark.parametrize("rate", [1.0, 10.0, 50.0, 1000.0])
def test_commits_agree_with_a_simulation_of_requests_that_wait_for_one_put(rate: float) -> None:
    arrivals = np.cumsum(np.random.default_rng(0).exponential(1 / rate, 20_000))
    commits, place, free_s = 0, 0, 0.0
    while place < len(arrivals):
        start_s = max(free_s, arrivals[place])
        place = int(np.searchsorted(arrivals, start_s, side="right"))
        commits, free_s = commits + 1, start_s + 0.03
    assert shard_commits_per_s(asked(writes=rate, rows_per_write=1), 1) == pytest.approx(commits / arrivals[-1], rel=0.02)


def test_stored_bytes_are_index_vectors_and_payload_of_every_kept_generation() -> None:
    plan = asked(payload_bytes=100, row_bytes=8.0, stored_generations=3)
    codes, exact = (store_bill(cluster(kind, "cpu", plan), plan) for kind in ("ivf_sq8", "flat"))
    assert exact.stored_bytes == pytest.approx(3e6 * (512 + 108))
    assert exact.storage_usd == pytest.approx(3e6 * 620 / 1e9 * 0.023)
    # 2.5 x 500 x 512 bytes of centres over 250,000 rows.
    assert codes.stored_bytes == pytest.approx(3e6 * (128 + 8 + 2.5 * 500 * 512 / 250_000 + 512 + 108))
