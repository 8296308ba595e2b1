"""An index damaged in memory under a gateway: the alarm fires within a period, the next generation is built, and the alarm clears."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.access.backend import Surroundings
from reelspace.search.access.local_backend import LocalBackend
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.recall_watch import EVERY, MIN_QUERIES
from reelspace.search.embedded import Database

from ..access.serving import serving
from ..test_recall_watch import DIMENSION, NUM_ROWS, damage, rows

PERIOD_S, BUILT_S = 0.5, 60.0


@pytest.mark.timeout(120)
def test_the_alarm_fires_within_a_period_and_clears_when_the_index_is_built_anew(tmp_path: Path) -> None:
    with Database(tmp_path / "store") as database:
        made = database.create_collection("things", DIMENSION, "cosine")
        made.upsert(list(range(NUM_ROWS)), rows(NUM_ROWS, 1))
        made.optimize(IndexSettings(flat_below=1, recall_target=0.95))
    store = LocalStore(tmp_path / "store")
    backend = LocalBackend(store, Hosting(recall_s=PERIOD_S))

    @asynccontextmanager
    async def connect(_tell: object) -> AsyncIterator[Surroundings]:
        yield Surroundings(backend, lambda _pointer: {})
        await backend.close_all()

    with serving(store, connect) as url, httpx.Client(base_url=url, trust_env=False) as client:

        def figure(name: str) -> float:
            lines = client.get("/metrics").text.splitlines()
            return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), float("nan"))

        def ask(seed: int) -> None:
            for vector_D in rows(MIN_QUERIES * EVERY, seed):
                client.post("/collections/things/points/query", json={"query": vector_D.tolist()}).raise_for_status()

        def until(name: str, wanted: float, limit_s: float) -> float:
            begun_s = time.monotonic()
            while figure(name) != wanted:
                assert time.monotonic() - begun_s < limit_s, f"{name} is {figure(name)}, expected {wanted}"
                ask_once()
            return time.monotonic() - begun_s

        def ask_once() -> None:
            client.post("/collections/things/points/query", json={"query": rows(1, 9)[0].tolist()}).raise_for_status()

        ask(2)
        begun_s = time.monotonic()
        while not figure("reelspace_search_recall ") > 0.9:
            assert time.monotonic() - begun_s < 20
            ask_once()
        assert figure("reelspace_search_recall_low ") == 0
        generation = figure("reelspace_search_shard_generation")
        [[host]] = backend._hosts.values()
        assert isinstance(host, ShardHost)
        host.with_shard(damage)
        # A period, and the second for which a gateway takes what shards told last for true.
        fired_s = until("reelspace_search_recall_low ", 1, 2 * PERIOD_S + 2.0)
        until("reelspace_search_shard_generation", generation + 1, BUILT_S)
        cleared_s = until("reelspace_search_recall_low ", 0, BUILT_S)
        print(f"the alarm fired after {fired_s:.1f} s and cleared {cleared_s:.1f} s after the next generation was there")
        ask(3)
