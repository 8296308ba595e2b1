"""Gateways that are restarted in turn under load, as a load balancer sees it that asks who is ready: no request fails."""

import asyncio
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from reelspace.core.local_store import LocalStore

from ..unit.search.scheduling.publishing import MADE, serving
from .conftest import started_gateway
from .test_flips import NUM_ROWS, QUERIES_QD, Editions, K
from .test_killed_tritons import Server, kept_ports

PER_S, LOOK_S, DRAIN_S, GRACE_S = 100.0, 0.1, 1.0, 12.0


@dataclass
class Gateway:
    url: str
    process: "subprocess.Popen[bytes]"
    is_ready: bool = True


@dataclass
class Balancer:
    """Sends every request to one of the gateways that said last that they are ready."""

    gateways: dict[str, Gateway] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    is_ended: bool = False

    async def run(self, editions: Editions) -> None:
        draw, running, begun_s = random.Random(7), set(), time.monotonic()
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            looking = asyncio.create_task(self._look(client))
            number = 0
            while not self.is_ended:
                ready = [one for one in self.gateways.values() if one.is_ready]
                running.add(asyncio.create_task(self._ask(client, draw.choice(ready).url, number % len(QUERIES_QD), editions)))
                number += 1
                await asyncio.sleep(max(0.0, begun_s + number / PER_S - time.monotonic()))
            await asyncio.gather(*running)
            looking.cancel()

    async def _ask(self, client: httpx.AsyncClient, url: str, number: int, editions: Editions) -> None:
        body: Any = {"query": QUERIES_QD[number].tolist(), "limit": K, "with_payload": True}
        try:
            answer = await client.post(f"{url}/collections/{MADE.name}/points/query", json=body)
        except httpx.TransportError as error:
            editions.mixed.append(f"{type(error).__name__}: {error}")
            return
        self.statuses.append(answer.status_code)
        if answer.status_code == 200:
            editions.is_right(number, answer.content)

    async def _look(self, client: httpx.AsyncClient) -> None:
        while True:
            for one in list(self.gateways.values()):
                try:
                    one.is_ready = (await client.get(f"{one.url}/readyz")).status_code == 200
                except httpx.TransportError:
                    one.is_ready = False
            await asyncio.sleep(LOOK_S)


@contextmanager
def gateway(store: LocalStore, server: Server, log: Path) -> Iterator[Gateway]:
    with started_gateway(store.url, server.triton, log, more=["--drain-s", str(DRAIN_S)]) as (url, process):
        yield Gateway(url, process)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("num_restarts", [2, pytest.param(20, marks=pytest.mark.long)])
def test_restarting_gateways_in_turn_fails_no_request_and_each_ends_well_within_its_grace(tmp_path: Path, num_restarts: int) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path, num_rows=NUM_ROWS)
    editions, balancer, took_s = Editions(), Balancer(), []
    editions.add(1)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        server = Server(store, kept_ports(), tmp_path / "triton.log", patch)
        stack.callback(server.stop)
        for name in "ab":
            balancer.gateways[name] = stack.enter_context(gateway(store, server, tmp_path / f"{name}.log"))

        async def run() -> None:
            asking = asyncio.create_task(balancer.run(editions))
            await asyncio.sleep(1)
            for number in range(num_restarts):
                name = "ab"[number % 2]
                ending = balancer.gateways[name].process
                begun_s = time.monotonic()
                ending.terminate()
                assert await asyncio.to_thread(ending.wait, GRACE_S + DRAIN_S) == 0
                took_s.append(time.monotonic() - begun_s)
                log = tmp_path / f"{name}-{number}.log"
                balancer.gateways[name] = await asyncio.to_thread(stack.enter_context, gateway(store, server, log))
                await asyncio.sleep(1)
            balancer.is_ended = True
            await asking

        asyncio.run(run())
    assert editions.mixed == []
    assert set(balancer.statuses) == {200}
    print(f"{len(balancer.statuses)} answers, none failed, {num_restarts} restarts, each ended within {max(took_s):.1f} s with 0")
