"""Two Tritons with every shard behind one gateway: one that dies or freezes costs no query, and is asked again when it is back."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from reelspace.core.local_store import LocalStore
from reelspace.gateway.servers import served_models
from reelspace.search.measure import Gallery

from .conftest import promote_rows, started_gateway, unit
from .open_loop import CheckedFace, Seen, Sender
from .slow_proxy import SlowProxy, slow_proxy
from .test_faults import frozen, parent_of, process_of
from .test_killed_tritons import Server, kept_ports

NUM_ROWS, DIMENSION, K = 3000, 32, 10
PER_S = 100.0
OUT_S, BACK_S = 3.0, 30.0
MADE = "things"


@dataclass
class Replicated:
    store: LocalStore
    servers: list[Server]
    proxy: SlowProxy
    url: str
    gallery: Gallery
    queries_QD: NDArray[np.float32]
    expected_QK: NDArray[np.int64]

    def events(self, event: str) -> float:
        """Give how often something became of servers of shards, all together."""
        return self._counted(f'event="{event}"')

    def num_out(self) -> float:
        return self._counted("reelspace_replica_shards_out{")

    def server_of(self, place: int) -> int:
        """Give the process of a Triton."""
        return parent_of(process_of(self.servers[place].triton, served_models(self.store)[0]))

    def _counted(self, part: str) -> float:
        lines = httpx.get(f"{self.url}/metrics", trust_env=False).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if part in line and "_created" not in line)


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    root = tmp_path_factory.mktemp("replicated")
    store = LocalStore(root / "store")
    _, gallery = promote_rows(store, root, NUM_ROWS, DIMENSION)
    queries_QD = unit(np.random.default_rng(2).standard_normal((64, DIMENSION)))
    best_QK = np.argsort(-(queries_QD @ gallery.vectors_ND.T), axis=1, kind="stable")[:, :K]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        servers = []
        for place in range(2):
            servers.append(Server(store, kept_ports(), root / f"triton-{place}.log", patch))
            stack.callback(servers[-1].stop)
        proxy = stack.enter_context(slow_proxy(servers[1].triton.grpc_address))
        url, _ = stack.enter_context(started_gateway(store.url, servers[0].triton, root / "gateway.log", [proxy.address]))
        yield Replicated(store, servers, proxy, url, gallery, queries_QD, np.sort(gallery.ids_N[best_QK], axis=1))


@contextmanager
def asking(replicated: Replicated) -> Iterator["Load"]:
    """Ask a hundred times a second while the block runs."""
    load = Load(replicated)
    load.thread.start()
    try:
        yield load
    finally:
        load.ending.set()
        load.thread.join(60)


class Load:
    """Queries at random moments, in windows of a second; what was seen is whole when the block is over."""

    def __init__(self, replicated: Replicated) -> None:
        self.replicated = replicated
        self.ending = threading.Event()
        self.begun_s = time.monotonic()
        self.seen: list[tuple[float, Seen]] = []
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        one = self.replicated
        bodies = [orjson.dumps({"query": query_D.tolist(), "limit": K}) for query_D in one.queries_QD]

        def is_right(number: int, body: bytes) -> bool:
            ids = sorted(point["id"] for point in orjson.loads(body)["result"]["points"])
            return ids == one.expected_QK[number].tolist()

        sender = Sender(CheckedFace(one.url, "/collections/videos/points/query?timeout=10", bodies, is_right))
        windows: list[asyncio.Task[tuple[float, Seen]]] = []

        async def window(seed: int) -> tuple[float, Seen]:
            begun_s = time.monotonic() - self.begun_s
            return begun_s, await sender.offer(PER_S, 1.0, seed)

        while not self.ending.is_set():
            windows.append(asyncio.create_task(window(len(windows))))
            await asyncio.sleep(1.0)
        self.seen = list(await asyncio.gather(*windows))
        await sender.close()

    def now_s(self) -> float:
        return time.monotonic() - self.begun_s

    def check(self) -> int:
        """Expect every query to be answered as brute force says; gives their number."""
        statuses = [answer.status for _, seen in self.seen for answer in seen.answers]
        assert set(statuses) == {200}, {status: statuses.count(status) for status in set(statuses)}
        return len(statuses)

    def p99_s(self, start_s: float, end_s: float) -> float:
        """Seconds within which 99 of 100 queries that were due in a time were answered."""
        times = [one.seconds for at_s, seen in self.seen for one in seen.answers if start_s <= at_s + one.at_s < end_s]
        return float(np.percentile(times, 99))


def until(replicated: Replicated, num_out: int, limit_s: float) -> float:
    """Wait until so many shards are not asked of some server; gives the seconds."""
    begun_s = time.monotonic()
    while replicated.num_out() != num_out:
        assert time.monotonic() - begun_s < limit_s, f"{replicated.num_out()} are out after {limit_s} s, expected {num_out}"
        time.sleep(0.05)
    return time.monotonic() - begun_s


@pytest.mark.timeout(900)
@pytest.mark.parametrize("num_kills", [2, pytest.param(30, marks=pytest.mark.long)])
def test_losing_a_replica_fails_no_query(replicated: Replicated, num_kills: int) -> None:
    usual_ms, after_ms, back_s = [], [], []
    with asking(replicated) as load:
        time.sleep(3)
        marks = []
        for number in range(num_kills):
            killed_s = load.now_s()
            replicated.servers[number % 2].kill()
            started_s = load.now_s()
            until(replicated, 0, BACK_S)
            back_s.append(load.now_s() - killed_s)
            time.sleep(3)
            marks.append((killed_s, started_s))
    num = load.check()
    for killed_s, _ in marks:
        usual_ms.append(1e3 * load.p99_s(killed_s - 3, killed_s))
        after_ms.append(1e3 * load.p99_s(killed_s, killed_s + 5))
    p99 = f"p99 {np.median(usual_ms):.1f} ms before, {np.median(after_ms):.1f} ms within 5 s after"
    print(f"{num} queries, 0 failed, {num_kills} kills; {p99}; both are back after {max(back_s):.1f} s at most")
    assert max(back_s) < BACK_S


@pytest.mark.timeout(600)
@pytest.mark.parametrize("num_restarts", [2, pytest.param(20, marks=pytest.mark.long)])
def test_restarting_servers_in_turn_fails_no_query(replicated: Replicated, num_restarts: int) -> None:
    with asking(replicated) as load:
        time.sleep(1)
        for number in range(num_restarts):
            replicated.servers[number % 2].restart()
            until(replicated, 0, BACK_S)
            time.sleep(1)
    print(f"{load.check()} queries, 0 failed, {num_restarts} restarts")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("num_freezes", [1, pytest.param(10, marks=pytest.mark.long)])
def test_a_frozen_replica_is_out_within_seconds_and_back_when_it_answers(replicated: Replicated, num_freezes: int) -> None:
    hedged, out_s, back_s, marks = replicated.events("hedged"), [], [], []
    with asking(replicated) as load:
        time.sleep(3)
        for number in range(num_freezes):
            frozen_s = load.now_s()
            with frozen(replicated.server_of(number % 2)):
                out_s.append(until(replicated, 2, 10))
                time.sleep(2)
            back_s.append(until(replicated, 0, 10))
            marks.append(frozen_s)
            time.sleep(3)
    num = load.check()
    hedged = replicated.events("hedged") - hedged
    usual_ms = [1e3 * load.p99_s(at_s - 3, at_s) for at_s in marks]
    frozen_ms = [1e3 * load.p99_s(at_s, at_s + 5) for at_s in marks]
    told = f"{num} queries, 0 failed; out after {max(out_s):.2f} s, back after {max(back_s):.2f} s, {hedged / num:.1%} asked twice"
    print(f"{told}; p99 {np.median(usual_ms):.1f} ms before, {np.median(frozen_ms):.1f} ms from then on for 5 s")
    assert max(out_s) < OUT_S
    # Two shards, each asked apart.
    assert hedged <= 0.05 * 2 * num


@pytest.mark.timeout(120)
def test_a_replica_that_answers_half_a_second_later_is_out_within_seconds_and_back_when_it_is_fast(replicated: Replicated) -> None:
    hedged = replicated.events("hedged")
    with asking(replicated) as load:
        time.sleep(3)
        slow_s, replicated.proxy.delay_s = load.now_s(), 0.5
        try:
            out_s = until(replicated, 2, 10)
            time.sleep(2)
        finally:
            replicated.proxy.delay_s = 0.0
        back_s = until(replicated, 0, 10)
        time.sleep(1)
    num = load.check()
    hedged = replicated.events("hedged") - hedged
    told = f"{num} queries, 0 failed; out after {out_s:.2f} s, back after {back_s:.2f} s, {hedged / num:.1%} asked twice"
    print(f"{told}; p99 {1e3 * load.p99_s(slow_s - 3, slow_s):.1f} ms before, {1e3 * load.p99_s(slow_s, slow_s + 5):.1f} ms from then on")
    assert out_s < OUT_S
    assert hedged <= 0.05 * 2 * num


@pytest.mark.timeout(120)
def test_a_shard_that_is_lost_on_every_server_is_never_a_silent_gap(replicated: Replicated) -> None:
    model = served_models(replicated.store)[0]
    query = {"query": replicated.queries_QD[0].tolist(), "limit": NUM_ROWS // 2}
    address = f"{replicated.url}/collections/videos/points/query?timeout=10"
    for server in replicated.servers:
        os.kill(process_of(server.triton, model), signal.SIGKILL)
    try:
        response = httpx.post(address, json=query, timeout=30)
        assert response.status_code == 503
        assert response.json()["status"]["error"].startswith("shards [0] failed")
        partial = httpx.post(address, json=query | {"allow_partial": True}, timeout=30)
        assert partial.status_code == 200
        found = partial.json()["result"]
        assert found["coverage"]["missing_shards"] == [0]
    finally:
        for server in replicated.servers:
            server.triton.unload(model)
            server.triton.load(model)
    until(replicated, 0, 10)
    assert httpx.post(address, json=query, timeout=30).status_code == 200


@pytest.mark.timeout(120)
def test_acknowledged_writes_are_seen_though_a_replica_is_frozen_and_when_it_is_back(replicated: Replicated) -> None:
    address = f"{replicated.url}/collections/{MADE}"
    with httpx.Client(timeout=60, trust_env=False) as client:
        client.put(address, json={"vectors": {"size": 2, "distance": "Dot"}}).raise_for_status()

        def write(number: int) -> float:
            begun_s = time.monotonic()
            point = {"id": number, "vector": [1.0, float(number)]}
            client.put(f"{address}/points?wait=true", json={"points": [point]}).raise_for_status()
            return time.monotonic() - begun_s

        def check(num: int) -> None:
            for _ in range(6):  # whichever server is asked
                assert client.post(f"{address}/points/count", json={"exact": True}).json()["result"]["count"] == num

        for number in range(3):
            write(number)
        check(3)
        pid = replicated.server_of(0)
        with frozen(pid):
            took_s = [write(number) for number in range(3, 13)]
            check(13)
        assert max(took_s) < OUT_S
        assert max(took_s[1:]) < 1.0
        for _ in range(20):
            check(13)
            time.sleep(0.05)
        until(replicated, 0, 10)
        check(13)
        client.delete(address).raise_for_status()
