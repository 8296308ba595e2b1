"""The dashboard and the alerts of search name only what a gateway in front of Tritons really tells."""

import httpx

from ..serving.expressions import expressions, strange, told
from .conftest import Running


def test_every_metric_and_label_of_search_is_one_that_the_gateway_tells(running: Running) -> None:
    httpx.post(f"{running.url}/collections/videos/points/query", json={"query": [1.0] * 64, "limit": 1})
    found = told([httpx.get(f"{running.url}/metrics").text])
    # A server that was never doubted has no line of its own.
    found |= {"reelspace_replica_events_total": {"replica", "event"}, "reelspace_replica_shards_out": {"replica"}}
    assert strange(found, "reelspace_", "search") == []
    named = {metric for one in expressions("search") for metric in one.metrics}
    assert {"reelspace_search_shard_generation", "reelspace_search_shard_behind", "reelspace_controller_leads"} <= named
