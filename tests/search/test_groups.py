"""Groups of servers that come and go under load: shards move, and no query fails or is answered wrongly."""

import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.search.storage.placement import add_group, read_placement, remove_group

from ..unit.search.scheduling.publishing import DIMENSION, serving
from .conftest import started_gateway
from .test_flips import NUM_ROWS, Editions, World, asking
from .test_killed_tritons import Server, kept_ports

MADE = Collection(name="works", space_id="0123456789abcdef", vectors={"": VectorSettings(dimension=DIMENSION)}, num_shards=4)
MOVED_S = 60.0


def until_placed(store: LocalStore, wanted: dict[str, int]) -> None:
    """Wait until groups have so many shards."""
    until_s = time.monotonic() + MOVED_S
    while (have := {name: len(read_placement(store).shards_of(name)) for name in wanted}) != wanted:
        assert time.monotonic() < until_s, f"{have}, expected {wanted}"
        time.sleep(0.1)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("num_rounds", [1, pytest.param(10, marks=pytest.mark.long)])
def test_groups_come_and_go_under_load_and_no_query_fails(tmp_path: Path, num_rounds: int) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path, MADE, NUM_ROWS)
    editions = Editions()
    editions.add(1)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        servers = [Server(store, kept_ports(), tmp_path / f"triton-{place}.log", patch) for place in range(2)]
        stack.callback(servers[0].stop)
        first, second = (server.triton.grpc_address for server in servers)
        add_group(store, "first", (first,))
        url, _ = stack.enter_context(started_gateway(store.url, servers[0].triton, tmp_path / "gateway.log"))
        world = World(store, tmp_path, servers, url)
        httpx.get(f"{url}/collections/{MADE.name}", timeout=30).raise_for_status()
        until_placed(store, {"first": 4})
        with asking(world, editions) as statuses:
            for _ in range(num_rounds):
                add_group(store, "second", (second,))
                until_placed(store, {"first": 2, "second": 2})
                time.sleep(2)
                remove_group(store, "first")
                until_placed(store, {"first": 0, "second": 4})
                time.sleep(2)
                # It comes back before it is forgotten, and the other one goes.
                add_group(store, "first", (first,))
                remove_group(store, "second")
                until_placed(store, {"first": 4, "second": 0})
                time.sleep(2)
            servers[1].stop()  # nobody asks it any more
            time.sleep(2)
    assert editions.mixed == []
    assert set(statuses) == {200}, {status: statuses.count(status) for status in set(statuses)}
    print(f"{len(statuses)} answers, none failed or wrong, {10 * num_rounds} moves of shards")
