"""Generations that follow each other while clients ask: real processes, two shards on two Tritons, every answer of exactly one edition."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.pointer import roll_back
from reelspace.search.scheduling.publication import publication_of, publish, wait_until_current
from reelspace.search.storage.layout import read_current

from ..unit.search.scheduling.publishing import DIMENSION, MADE, built, serving, table_of
from .conftest import started_gateway, unit
from .open_loop import CheckedFace, Sender
from .test_killed_tritons import Server, kept_ports

NUM_ROWS, K, PER_S = 600, 10, 100.0
NAME = MADE.full_name
QUERIES_QD = unit(np.random.default_rng(3).standard_normal((32, DIMENSION)))
SERVED_S, ROLLED_BACK_S = 30.0, 5.0


@dataclass
class World:
    store: LocalStore
    scratch: Path
    servers: list[Server]
    url: str


@dataclass
class Editions:
    """What an answer of an edition is, by brute force; an answer counts for the edition that its rows name."""

    hits: dict[int, list[list[int]]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    mixed: list[str] = field(default_factory=list)

    def add(self, edition: int) -> None:
        scores_QN = QUERIES_QD @ table_of(edition, NUM_ROWS).vectors_ND.T
        self.hits[edition] = np.argsort(-scores_QN, axis=1, kind="stable")[:, :K].tolist()

    def is_right(self, number: int, body: bytes) -> bool:
        result = orjson.loads(body)["result"]
        editions = {point["payload"]["edition"] for point in result["points"]}
        (edition,) = editions if len(editions) == 1 else (0,)
        ids = [point["id"] for point in result["points"]]
        numbers = set(result["generation"])
        if len(editions) != 1 or sorted(ids) != sorted(self.hits[edition][number]) or len(numbers) != 1:
            self.mixed.append(f"editions {editions}, generations {numbers}, ids {ids}")
            return False
        self.seen.add(edition)
        return True


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("flips")
    store = LocalStore(root / "store")
    serving(store, root, num_rows=NUM_ROWS)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        servers = [Server(store, kept_ports(), root / f"triton-{place}.log", patch) for place in range(2)]
        for server in servers:
            stack.callback(server.stop)
        gateway = started_gateway(store.url, servers[0].triton, root / "gateway.log", [servers[1].triton.grpc_address])
        url, _ = stack.enter_context(gateway)
        yield World(store, root, servers, url)


@contextmanager
def asking(world: World, editions: Editions) -> Iterator[list[int]]:
    """Ask a hundred times a second while the block runs; gives the statuses, whole when it is over."""
    ending, statuses = threading.Event(), []

    async def run() -> None:
        bodies = [orjson.dumps({"query": query_D.tolist(), "limit": K, "with_payload": True}) for query_D in QUERIES_QD]
        sender = Sender(CheckedFace(world.url, f"/collections/{MADE.name}/points/query?timeout=10", bodies, editions.is_right))
        windows = []
        while not ending.is_set():
            windows.append(asyncio.create_task(sender.offer(PER_S, 1.0, len(windows))))
            await asyncio.sleep(1.0)
        for seen in await asyncio.gather(*windows):
            statuses.extend(answer.status for answer in seen.answers)
        await sender.close()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, run())
        try:
            yield statuses
        finally:
            ending.set()
            running.result(120)


def edition_served(world: World) -> int:
    answer = httpx.post(f"{world.url}/collections/{MADE.name}/points/query", json={"query": QUERIES_QD[0].tolist(), "with_payload": True})
    return int(answer.raise_for_status().json()["result"]["points"][0]["payload"]["edition"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("num_flips", [12, pytest.param(200, marks=pytest.mark.long)])
def test_every_answer_is_of_exactly_one_generation_while_generations_follow_each_other(world: World, num_flips: int) -> None:
    editions, took_s = Editions(), []
    start = edition_served(world)
    editions.add(start)
    with asking(world, editions) as statuses:
        for edition in range(start + 1, start + 1 + num_flips):
            editions.add(edition)
            two = publication_of(world.store, built(world.store, edition, world.scratch, num_rows=NUM_ROWS))
            begun_s = time.monotonic()
            publish(world.store, NAME, two)
            wait_until_current(world.store, NAME, two.number, 60)
            while edition_served(world) != edition:
                assert time.monotonic() - begun_s < SERVED_S
                time.sleep(0.02)
            took_s.append(time.monotonic() - begun_s)
    assert editions.mixed == []
    assert set(statuses) == {200}, {status: statuses.count(status) for status in set(statuses)}
    assert read_current(world.store, NAME, 2).version >= num_flips
    assert len(editions.seen) == num_flips + 1
    told = f"{len(statuses)} answers, each of exactly one of {len(editions.seen)} editions, {num_flips} flips"
    print(f"{told}; asked to served {np.median(took_s):.2f} s (median), {max(took_s):.2f} s (most)")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("num_times", [2, pytest.param(20, marks=pytest.mark.long)])
def test_the_way_back_serves_within_seconds(world: World, num_times: int) -> None:
    editions, took_s = Editions(), []
    before = edition_served(world)
    two = publication_of(world.store, built(world.store, before + 1000, world.scratch, num_rows=NUM_ROWS))
    editions.add(before)
    editions.add(before + 1000)
    publish(world.store, NAME, two)
    wait_until_current(world.store, NAME, two.number, 60)
    with asking(world, editions) as statuses:
        for number in range(num_times):
            while edition_served(world) != (before + 1000 if number % 2 == 0 else before):
                time.sleep(0.05)
            begun_s = time.monotonic()
            roll_back(world.store, NAME)
            while edition_served(world) != (before if number % 2 == 0 else before + 1000):
                assert time.monotonic() - begun_s < ROLLED_BACK_S
                time.sleep(0.02)
            took_s.append(time.monotonic() - begun_s)
    assert editions.mixed == []
    assert set(statuses) == {200}
    print(f"{len(statuses)} answers; back after {max(took_s):.2f} s at most")
