from typing import Any

import pytest

from reelspace.core.errors import UserError
from reelspace.search.planning.cluster import ShardsTooLarge, cluster, memory_parts, needed_shards, processors_of
from reelspace.search.planning.measured import KINDS, Kind
from reelspace.search.planning.settings import SearchPlanSettings


def asked(**values: Any) -> SearchPlanSettings:
    return SearchPlanSettings.model_validate({"rows": 1_000_000, "row_bytes": 0.0, "margin": 0.5, "rate": 0.0, **values})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("generations", [1, 2])
def test_shards_are_the_fewest_that_fit(kind: Kind, generations: int) -> None:
    plan = asked(rows=7_654_321, generations=generations, payload_bytes=10)

    def fits(num_shards: int) -> bool:
        rows = plan.rows / num_shards
        return generations * rows * sum(part.size_bytes for part in memory_parts(kind, plan, rows)) <= 50e6

    assert needed_shards(kind, plan, 50e6) == next(number for number in range(1, 10_000) if fits(number))


def test_a_cluster_counted_by_hand() -> None:
    plan = asked(shards=10, rate=9_000.0, cpu={"memory_gb": 0.512, "cores": 16})
    found = cluster("flat", "cpu", plan)
    # 100,000 rows of 512 bytes; half of 512 MB holds five of them.
    assert (found.shard_bytes, found.shards_per_machine, found.machines_per_copy) == (51.2e6, 5, 2)
    # 0.387 ms were measured at 100,000 rows; a query asks five shards of each machine.
    assert found.seconds == pytest.approx(0.000387)
    assert found.capacity == pytest.approx(16 / (5 * 0.000387) * 0.6)
    assert (found.num_copies, found.num_machines) == (2, 4)
    assert cluster("flat", "cpu", plan.model_copy(update={"replicas": 3})).num_machines == 6


def test_reads_of_a_disk_bound_what_a_copy_answers() -> None:
    plan = asked(rate=700.0, cpu={"disk_reads_per_s": 100_000.0})
    found = cluster("ivf_pq64_reranked", "cpu", plan)
    # Ten hits, ten candidates each: 1,000 queries a second, 600 of them at the planned load.
    assert (found.disk_reads, found.capacity, found.num_copies) == (100, pytest.approx(600), 2)
    assert cluster("ivf_pq64", "cpu", plan).capacity > 1_000
    # Four shards on one machine share its disk.
    assert cluster("ivf_pq64_reranked", "cpu", plan.model_copy(update={"shards": 4})).capacity == pytest.approx(150)


def test_vectors_scored_again_are_in_memory_or_on_disk() -> None:
    plan = asked(row_bytes=8.0, payload_bytes=100)
    sizes = {kind: cluster(kind, "cpu", plan).row_bytes for kind in KINDS}
    assert sizes["ivf_pq64_reranked"] == sizes["ivf_pq64"]
    assert sizes["ivf_pq_fastscan"] > 512 + 40 + 108
    assert sizes["flat"] == 512 + 108


def test_too_few_shards_are_refused_with_the_number_that_fits() -> None:
    with pytest.raises(ShardsTooLarge, match=r"3 shards take 0\.17 GB each, 0\.10 are free; use 6 or more"):
        cluster("flat", "cpu", asked(shards=3, cpu={"memory_gb": 0.2}))
    with pytest.raises(UserError, match="one row of flat takes more than"):
        cluster("flat", "cpu", asked(rows=3, cpu={"memory_gb": 1e-7}))


def test_types_without_a_form_for_gpus_run_on_processors_only() -> None:
    assert [kind for kind in KINDS if processors_of(kind) == ("cpu",)] == ["ivf_pq_fastscan", "hnsw"]
