"""What one gateway acknowledged is found through another at once; and what is sent again after a lost answer takes effect once."""

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import pytest

from reelspace.core.errors import ServerUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.search.storage.log import Log
from reelspace.search.storage.reader import read_from
from reelspace.search.tools.gateway import Gateway as ToolGateway
from reelspace.search.tools.retry_budget import RESERVE, SHARE

from .doomed import MADE
from .forks import Forks, forks

VISIBLE_S = 1.0
"""A shard that nobody tells of a write looks at its log this often."""


class Gateway:
    """One connection to one gateway for one collection, for one thread at a time."""

    def __init__(self, url: str, collection: str) -> None:
        self._collection = collection
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def ask(self, method: str, body: object, path: str = "", **headers: str) -> Any:
        """Send a request; its result, or an error that tells what was answered."""
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, f"/collections/{self._collection}{path}", orjson.dumps(body), sent)
        response = self._connection.getresponse()
        data = response.read()
        assert response.status == 200, (response.status, data)
        return orjson.loads(data)["result"]

    def upsert(self, id: int, vector: list[float], *, wait: bool, **headers: str) -> None:
        points = [{"id": id, "vector": vector, "payload": {"id": id}}]
        self.ask("PUT", {"points": points}, f"/points?wait={'true' if wait else 'false'}", **headers)

    def nearest(self, vector: list[float]) -> tuple[int, float] | None:
        points = self.ask("POST", {"query": vector, "limit": 1}, "/points/query")["points"]
        return (points[0]["id"], points[0]["score"]) if points else None

    def close(self) -> None:
        self._connection.close()


def vector_of(seed: int) -> list[float]:
    found: list[float] = np.random.default_rng(seed).standard_normal(8).astype(np.float32).tolist()
    return found


@dataclass(frozen=True)
class Two:
    """Two gateways over one directory that know of each other: each looks at the log before it searches."""

    root: Path
    urls: tuple[str, str]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("two")
    with forks(folder) as start:
        yield started(start, folder / "store")


def started(start: Forks, root: Path, *, share_ports: bool = True) -> Two:
    gateways = [start.start("gateway", root, share_ports=share_ports) for _ in range(2)]
    return Two(root, (gateways[0].url, gateways[1].url))


def make(two: Two) -> str:
    """Make a collection and give its name."""
    name = f"things-{token_hex(4)}"
    with closing(Gateway(two.urls[0], name)) as gateway:
        gateway.ask("PUT", {"vectors": {"size": 8, "distance": "Euclid"}, "shard_number": 2})
    return name


def check_read_your_writes(two: Two, num_checks: int) -> float:
    """Write through one gateway and search through the other, some at a time; gives the longest time to be seen without `wait`, seconds."""

    name = make(two)

    def checked(numbers: range) -> float:
        longest_s = 0.0
        with closing(Gateway(two.urls[0], name)) as one, closing(Gateway(two.urls[1], name)) as other:
            for number in numbers:
                writing, reading = (one, other) if number % 3 else (other, one)
                # Every second row is written for the second time.
                vector, wait = vector_of(number), number % 5 > 0
                writing.upsert(number // 2, vector, wait=wait)
                begun_s = time.monotonic()
                while reading.nearest(vector) != (number // 2, 0.0):
                    assert not wait, f"row {number // 2} was acknowledged as seen, and is not found"
                    assert time.monotonic() - begun_s < 10 * VISIBLE_S
                    time.sleep(0.002)
                longest_s = longest_s if wait else max(longest_s, time.monotonic() - begun_s)
        return longest_s

    with ThreadPoolExecutor(4) as pool:
        size = num_checks // 4
        return max(pool.map(checked, [range(first * size * 2, first * size * 2 + size) for first in range(4)]))


def test_what_one_gateway_acknowledged_is_found_through_another_at_once(two: Two) -> None:
    longest_s = check_read_your_writes(two, 500)
    print(f"500 checks, none stale; without waiting a row was seen after {longest_s:.3f} s at most")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_10000_writes_are_found_through_another_gateway_at_once(two: Two) -> None:
    longest_s = check_read_your_writes(two, 10_000)
    print(f"10,000 checks, none stale; without waiting a row was seen after {longest_s:.3f} s at most")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_gateways_that_do_not_know_of_each_other_see_what_the_other_wrote_within_a_second(tmp_path: Path) -> None:
    with forks(tmp_path) as start:
        two = started(start, tmp_path / "store", share_ports=False)
        name = make(two)

        def longest_s(numbers: range) -> float:
            found = 0.0
            with closing(Gateway(two.urls[0], name)) as one, closing(Gateway(two.urls[1], name)) as other:
                other.nearest(vector_of(0))
                for number in numbers:
                    one.upsert(number, vector_of(number), wait=True)
                    begun_s = time.monotonic()
                    while other.nearest(vector_of(number)) != (number, 0.0):
                        time.sleep(0.01)
                    found = max(found, time.monotonic() - begun_s)
            return found

        with ThreadPoolExecutor(8) as pool:
            longest = max(pool.map(longest_s, [range(first, first + 25) for first in range(0, 800, 100)]))
        print(f"200 rows, seen by the other after {longest:.3f} s at most")
        assert longest < VISIBLE_S + 0.5


@dataclass
class LossyProxy:
    """Passes requests on, whole, and loses some of their answers."""

    listener: socket.socket
    url: str
    draw: random.Random
    share: float
    num_passed: int = 0
    num_lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self) -> None:
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(accepted,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        host, port = urlsplit(self.url).netloc.split(":")
        with client, socket.create_connection((host, int(port))) as server:
            while request := _message(client):
                server.sendall(request)
                answer = _message(server)
                with self.lock:
                    lost = self.draw.random() < self.share
                    self.num_passed += 1
                    self.num_lost += lost
                if lost:
                    return
                client.sendall(answer)


def _message(source: socket.socket) -> bytes:
    """Read one message of HTTP with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = source.recv(65_536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = int(lengths[0].partition(b":")[2]) - len(body)
    while missing > 0:
        more = source.recv(65_536)
        data, missing = data + more, missing - len(more)
    return data


@contextmanager
def losing_answers(url: str, seed: int) -> Iterator[LossyProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = LossyProxy(listener, url, random.Random(seed), 0.2)
        threading.Thread(target=proxy.serve, daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)


def until_answered(addresses: list[str], name: str, send: Callable[[Gateway], None]) -> int:
    """Send to one gateway after the other until one answers; gives how often it was sent."""
    for number in range(100):
        with closing(Gateway(addresses[number % 2], name)) as gateway:
            try:
                send(gateway)
            except (OSError, http.client.HTTPException):
                continue
            return number + 1
    raise AssertionError("never answered")


def check_retries(two: Two, num_writes: int, seed: int) -> tuple[int, int]:
    """Write through proxies that lose answers; gives how often something was sent, and how many answers were lost."""
    name = make(two)
    with losing_answers(two.urls[0], seed) as one, losing_answers(two.urls[1], seed + 1) as other:
        addresses = [f"http://127.0.0.1:{proxy.listener.getsockname()[1]}" for proxy in (one, other)]

        def written(number: int) -> int:
            key, vector = f"{seed}-{number}", vector_of(number)
            return until_answered(
                addresses, name, lambda gateway: gateway.upsert(number, vector, wait=number % 2 == 0, Idempotency_Key=key)
            )

        with ThreadPoolExecutor(4) as pool:
            num_sent = sum(pool.map(written, range(num_writes)))
        num_lost = one.num_lost + other.num_lost
    with closing(Gateway(two.urls[0], name)) as gateway:
        assert gateway.ask("POST", {}, "/points/count")["count"] == num_writes
    keys, numbers = keys_of_log(two.root, name)
    assert sorted(keys) == sorted(f"{seed}-{number}#1" for number in range(num_writes)), "each once, and no other"
    assert sorted(numbers) == list(range(num_writes))
    return num_sent, num_lost


def keys_of_log(root: Path, name: str) -> tuple[list[str], list[Any]]:
    """Read the request keys and ids of every write of the collection."""
    store = LocalStore(root)
    full_name = json.loads(store.get("collections/names.json"))["collections"][name]
    writes = [write for shard in range(2) for entry in read_from(Log(store, full_name, shard, MADE.fields), 0) for write in entry.writes]
    return [write.request_key for write in writes], [id for write in writes for id in write.rows.ids]


def test_writes_sent_again_after_lost_answers_take_effect_once(two: Two) -> None:
    num_sent, num_lost = check_retries(two, 300, seed=1)
    print(f"300 writes, {num_lost} answers lost, sent {num_sent} times: each took effect once")
    assert num_sent > 330


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_50000_writes_sent_again_after_lost_answers_take_effect_once(two: Two) -> None:
    seed = random.randrange(10**6)
    # In parts of a collection each: what the log says of a write may be dropped ten minutes later.
    num_sent, num_lost = map(sum, zip(*(check_retries(two, 5_000, seed + 2 * part) for part in range(10)), strict=True))
    print(f"50,000 writes, {num_lost} answers lost, sent {num_sent} times: each took effect once")


def check_budget(two: Two, num_writes: int, seed: int) -> tuple[int, int]:
    """Write as the tools do through a proxy that loses answers; gives how often something was sent, and how many were told."""
    name, num_told = make(two), 0
    with losing_answers(two.urls[0], seed) as proxy:
        with ToolGateway(f"http://127.0.0.1:{proxy.listener.getsockname()[1]}", first_pause_s=1e-4) as gateway:
            for number in range(num_writes):
                points = [{"id": number, "vector": vector_of(number)}]
                try:
                    gateway.ask("PUT", f"/collections/{name}/points", {"points": points}, key=f"{seed}-{number}")
                    num_told += 1
                except ServerUnavailable:
                    continue  # it took effect, and the budget of retries did not allow to hear so
        num_sent = proxy.num_passed
    _, numbers = keys_of_log(two.root, name)
    assert sorted(numbers) == list(range(num_writes)), "each took effect once"
    return num_sent, num_told


def test_what_the_tools_send_again_is_a_tenth_more_at_most_and_takes_effect_once(two: Two) -> None:
    num_sent, num_told = check_budget(two, 400, seed=3)
    print(f"400 writes, sent {num_sent} times, {num_told} acknowledged: each took effect once")
    assert 420 < num_sent <= 400 * (1 + SHARE) + RESERVE
    assert num_told > 340


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_what_the_tools_send_again_is_a_tenth_more_at_most_over_50000_writes(two: Two) -> None:
    seed = random.randrange(10**6)
    for part in range(5):
        num_sent, num_told = check_budget(two, 10_000, seed + part)
        print(f"10,000 writes, sent {num_sent} times, {num_told} acknowledged: each took effect once")
        assert num_sent <= 10_000 * (1 + SHARE) + RESERVE
