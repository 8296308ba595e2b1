"""A served collection gets another number of shards while it is asked and written to: no query and no write fails, none is wrong.

The rows that are asked for lie together and stay; what is written lies far away, so every query has one right answer, by brute force.
"""

import asyncio
import http.client
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from reelspace.core.local_store import LocalStore
from reelspace.core.processes import child, stop
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default
from reelspace.search.tools.verification import verify_store

from .open_loop import CheckedFace, Sender

NUM_ROWS, DIMENSION, K = 2000, 16, 10
PER_S = 100.0
NUM_WRITERS, ROWS_AT_ONCE = 3, 4
AWAY = 100.0
LIMIT_S = 120
LOCAL: Sequence[str] = ()
PROCESSES = ("--processes", "2")
TRITONS = ("--triton", "--replicas", "2")


def vector_of(id: int) -> list[float]:
    """Give what is written for an id, far from what is asked for."""
    found: list[float] = (np.random.default_rng(id).standard_normal(DIMENSION).astype(np.float32) + np.float32(AWAY)).tolist()
    return found


class Client:
    """A connection to a server, for one thread at a time."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=90)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Ask about the collection, and give the result."""
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, f"/collections/things{path}", orjson.dumps(body or {}), sent)
        response = self._connection.getresponse()
        data = response.read()
        assert response.status == 200, (response.status, data)
        return orjson.loads(data)["result"]

    def put(self, ids: Sequence[int], vectors: Sequence[Sequence[float]], key: str) -> None:
        batch = {"ids": list(ids), "vectors": list(vectors), "payloads": [{"key": key}] * len(ids)}
        self.ask("PUT", "/points?wait=true&timeout=60", {"batch": batch}, Idempotency_Key=key)

    def close(self) -> None:
        self._connection.close()


@dataclass
class Writer:
    """Puts new rows and new versions of old ones, and looks each up at once; some requests are sent again much later."""

    url: str
    number: int
    last_key: dict[int, str] = field(default_factory=dict)
    num_requests: int = 0
    longest_s: float = 0.0
    error: BaseException | None = None
    is_over: bool = False

    def run(self) -> None:
        try:
            with closing(Client(self.url)) as client:
                while not self.is_over:
                    self._request(client)
        except BaseException as error:  # noqa: BLE001, the test that waits must hear of it
            self.error = error

    def _request(self, client: Client) -> None:
        draw = random.Random(f"{self.number}-{self.num_requests}")
        ids = [draw.randrange(400) + 1_000_000 * (self.number + 1) for _ in range(ROWS_AT_ONCE)]
        key = f"w{self.number}-{self.num_requests}"
        begun_s = time.monotonic()
        client.put(ids, [vector_of(id) for id in ids], key)
        self.longest_s = max(self.longest_s, time.monotonic() - begun_s)
        self.last_key |= dict.fromkeys(ids, key)
        if self.num_requests > 20 and draw.random() < 0.3:
            again = random.Random(f"{self.number}-{self.num_requests - 20}")
            old = [again.randrange(400) + 1_000_000 * (self.number + 1) for _ in range(ROWS_AT_ONCE)]
            client.put(old, [vector_of(id) for id in old], f"w{self.number}-{self.num_requests - 20}")
        points = client.ask("POST", "/points/query", {"query": vector_of(ids[-1]), "limit": 1, "with_payload": True})["points"]
        assert [(one["id"], one["payload"]["key"]) for one in points] == [(ids[-1], key)], "acknowledged, and not found"
        self.num_requests += 1


@dataclass
class Served:
    """A server, and what it is to answer."""

    root: Path
    url: str
    vectors_ND: NDArray[np.float32]
    queries_QD: NDArray[np.float32]
    expected_QK: list[list[int]]

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "reelspace.cli", "search", *words, "--dir", str(self.root), "--json"]

    def run(self, *words: str) -> Any:
        done = subprocess.run(self.command(*words), capture_output=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    @property
    def full_name(self) -> str:
        return read_or_default(LocalStore(self.root), Names, NAMES_KEY).collections["things"]

    def num_shards(self) -> int:
        with closing(Client(self.url)) as client:
            found: int = client.ask("GET", "")["config"]["params"]["shard_number"]
            return found


@contextmanager
def served(root: Path, options: Sequence[str]) -> Iterator[Served]:
    """Serve a collection of two shards."""
    draw = np.random.default_rng(1)
    vectors_ND = draw.standard_normal((NUM_ROWS, DIMENSION)).astype(np.float32)
    queries_QD = draw.standard_normal((32, DIMENSION)).astype(np.float32)
    away_QN = ((queries_QD[:, None, :].astype(np.float64) - vectors_ND[None]) ** 2).sum(axis=2)
    expected_QK = np.argsort(away_QN, axis=1, kind="stable")[:, :K].tolist()
    command = [sys.executable, "-m", "reelspace.cli", "search", "serve", "--dir", str(root), "--port", "0", "--grpc-port", "0", *options]
    log = root.parent / "server.log"
    with log.open("wb") as errors:
        process = child(command, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            one = Served(root, orjson.loads(line)["url"], vectors_ND, queries_QD, expected_QK)
            with closing(Client(one.url)) as client:
                client.ask("PUT", "", {"vectors": {"size": DIMENSION, "distance": "Euclid"}, "shard_number": 2})
                for start in range(0, NUM_ROWS, 500):
                    rows = range(start, start + 500)
                    client.put(rows, vectors_ND[start : start + 500].tolist(), f"base-{start}")
            yield one
        finally:
            stop(process)
            process.stdout.close()


class Asking:
    """Queries that come a hundred times a second, whether those before are answered or not."""

    def __init__(self, one: Served) -> None:
        self._one = one
        self._ending = threading.Event()
        self._statuses: list[int] = []
        self._seconds: list[float] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        one = self._one
        bodies = [orjson.dumps({"query": query_D.tolist(), "limit": K}) for query_D in one.queries_QD]

        def is_right(number: int, body: bytes) -> bool:
            return [point["id"] for point in orjson.loads(body)["result"]["points"]] == one.expected_QK[number]

        sender = Sender(CheckedFace(one.url, "/collections/things/points/query?timeout=10", bodies, is_right))
        windows = []
        while not self._ending.is_set():
            windows.append(asyncio.create_task(sender.offer(PER_S, 1.0, len(windows))))
            await asyncio.sleep(1.0)
        for seen in await asyncio.gather(*windows):
            self._statuses += [one.status for one in seen.answers]
            self._seconds += [one.seconds for one in seen.answers]
        await sender.close()

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(60)

    def check(self) -> str:
        """Expect every query to be answered as brute force says."""
        assert set(self._statuses) == {200}, {status: self._statuses.count(status) for status in set(self._statuses)}
        return f"{len(self._statuses)} queries, 0 failed, p99 {1e3 * float(np.percentile(self._seconds, 99)):.1f} ms"


@contextmanager
def writing(one: Served) -> Iterator[list[Writer]]:
    """Let some write while the block runs."""
    writers = [Writer(one.url, number) for number in range(NUM_WRITERS)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.is_over = True
        for thread in threads:
            thread.join(120)
    for writer in writers:
        if writer.error is not None:
            raise writer.error


def killed(one: Served, num_shards: int, draw: random.Random) -> None:
    """Begin to reshard, and kill that at a random moment, which may be before it has begun."""
    process = subprocess.Popen(
        one.command("reshard", "things", "--shards", str(num_shards)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(draw.uniform(0.5, 7.0))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait()


def check_rows(one: Served, writers: Sequence[Writer]) -> int:
    """Compare every row with what was acknowledged last; gives their number."""
    last_key = {id: key for writer in writers for id, key in writer.last_key.items()}
    found: dict[int, tuple[str, list[float]]] = {}
    with closing(Client(one.url)) as client:
        offset = 0
        while offset is not None:
            page = client.ask("POST", "/points/scroll", {"limit": 1000, "offset": offset, "with_vector": True, "with_payload": True})
            for point in page["points"]:
                found[point["id"]] = point["payload"]["key"], np.array(point["vector"], dtype=np.float32).tolist()
            offset = page["next_page_offset"]
    expected = {id: (key, vector_of(id)) for id, key in last_key.items()}
    for id in range(NUM_ROWS):
        expected[id] = f"base-{id // 500 * 500}", one.vectors_ND[id].tolist()
    assert found == expected
    return len(found)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("options", "numbers", "num_kills"),
    [
        pytest.param(LOCAL, (4,), 1, id="local"),
        pytest.param(PROCESSES, (4,), 0, id="processes"),
        pytest.param(TRITONS, (4,), 0, id="tritons"),
        pytest.param(LOCAL, (4, 3, 1, 6, 2), 3, id="local-5", marks=pytest.mark.long),
        pytest.param(PROCESSES, (4, 3, 1, 6, 2), 2, id="processes-5", marks=pytest.mark.long),
        pytest.param(TRITONS, (4, 3, 1, 6, 2), 1, id="tritons-5", marks=pytest.mark.long),
    ],
)
def test_resharding_under_load_fails_no_query_and_no_write_and_keeps_what_was_there(
    tmp_path: Path, options: Sequence[str], numbers: Sequence[int], num_kills: int
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    with served(tmp_path / "store", options) as one:
        old = [one.full_name]
        with Asking(one) as asking, writing(one) as writers:
            time.sleep(1)
            waited_s = []
            for num_shards in numbers:
                for _ in range(num_kills):
                    killed(one, num_shards, draw)
                waited_s.append(one.run("reshard", "things", "--shards", str(num_shards))["waited_s"])
                time.sleep(2)
                assert one.num_shards() == num_shards
                old.append(one.full_name)
        num_requests, longest_s = sum(writer.num_requests for writer in writers), max(writer.longest_s for writer in writers)
        print(f"{asking.check()}; {num_requests} writes, 0 failed, the longest {longest_s:.2f} s; logs were closed {max(waited_s):.2f} s")
        num_rows = check_rows(one, writers)
        store = LocalStore(one.root)
        for full_name in old[:-1]:
            assert list(store.list(f"collections/{full_name}/shards/0/log/"))
            one.run("retire", full_name)
            assert not list(store.list(f"collections/{full_name}/"))
        assert check_rows(one, writers) == num_rows
        assert not verify_store(store).damages
