"""Gateways over S3 servers that fail in every way of faulty_store.py: searches go on, writes are kept or refused, nothing is broken."""

import itertools
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from reelspace.core.errors import ReelspaceError
from reelspace.core.store import Store, open_store
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.storage.layout import read_current
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file
from reelspace.search.storage.seen_numbers import SeenNumbers
from reelspace.search.tools.verification import verify_store

from .ceph import ceph_gateway, unpacked_ceph
from .doomed import IVF, KEPT_S, MADE, row_of
from .faulty_store import Fault, FaultyStore, faults, faulty_store
from .first_rows import FIRST_IDS, put_first
from .local_gateways import LocalGateway, local_gateway, s3_server
from .minio_server import minio_server
from .owners import Client, Owner, rows_of
from .s3_collection import KEYS, made_bucket

OWNER_IDS = (0, 1000, 2000)
SEARCH_S = 5.0
PATIENCE_S = 60.0


@contextmanager
def server_of(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a server with a bucket; gives the URL of a store in it, and sets the environment that opens it."""
    with ExitStack() as stack:
        if kind == "moto":
            yield stack.enter_context(s3_server(monkeypatch)).url
            return
        if kind == "minio":
            port = stack.enter_context(minio_server(folder))
        else:
            root = unpacked_ceph()
            (folder / "ceph").mkdir()
            port = stack.enter_context(ceph_gateway(root, folder / "ceph", KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]))
        yield made_bucket(port, monkeypatch)


def searched(url: str, id: int, client: httpx.Client | None = None) -> str | None:
    """Search for a row by its own vector, and tell what is wrong with the answer."""
    body = {"query": row_of(id, 0)[0].tolist(), "limit": 1, "with_payload": True}
    answer = (client or httpx).post(f"{url}/collections/things/points/query?timeout={SEARCH_S}", json=body, timeout=PATIENCE_S)
    hits = answer.json()["result"]["points"] if answer.status_code == 200 else []
    found = [(hit["id"], hit["payload"]) for hit in hits]
    return None if found == [(id, row_of(id, 0)[1])] else f"{id}: {answer.status_code} {answer.text}"


@dataclass
class Searcher:
    """Searches for rows that nobody changes, through every gateway in turn, until it is stopped; keeps what was not as it must be."""

    urls: list[str]
    failures: list[str] = field(default_factory=list)
    num_searches: int = 0
    longest_s: float = 0.0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        draw = random.Random(0)
        with httpx.Client(timeout=PATIENCE_S) as client, suppress(httpx.ConnectError):  # the end of a test that failed
            while not self._stopping.wait(0.02):
                begun_s, problem = time.monotonic(), searched(self.urls[self.num_searches % len(self.urls)], draw.choice(FIRST_IDS), client)
                self.num_searches += 1
                self.longest_s = max(self.longest_s, time.monotonic() - begun_s)
                self.failures += [] if problem is None else [problem]

    def end(self) -> None:
        """Stop, and check."""
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert self.failures == []


class World:
    """A collection behind a proxy, two gateways over it, writers, one who searches, and builds now and then."""

    def __init__(self, stack: ExitStack, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seed = random.randrange(10**9)
        print(f"seed {seed}")
        self.url = stack.enter_context(server_of(kind, tmp_path, monkeypatch))
        self.direct: Store = open_store(self.url)
        create_collection(self.direct, MADE)
        replace_file(self.direct, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
        server = os.environ["REELSPACE_S3_ENDPOINT"].removeprefix("http://")
        self.proxy: FaultyStore = stack.enter_context(faulty_store(server, seed))
        monkeypatch.setenv("REELSPACE_S3_ENDPOINT", f"http://{self.proxy.address}")
        self.store = open_store(self.url)  # which asks how this server wants its conditions
        self.scratch = tmp_path / "scratch"
        self.gateways = [self._gateway(stack, tmp_path / f"gateway-{number}.log") for number in range(2)]
        urls = [one.url for one in self.gateways]
        self.owners = [put_first(urls[0]), *map(Owner, OWNER_IDS)]
        self._seen, self._shards = SeenNumbers(KEPT_S), itertools.cycle(range(MADE.num_shards))
        for _ in range(MADE.num_shards):
            self.build()
        for url in urls:
            assert searched(url, FIRST_IDS[0]) is None
        self.clients = [Client(owner, urls) for owner in self.owners[1:]]
        self.searcher = Searcher(urls)
        self.num_built = self.num_failed = 0
        self.strange: list[str] = []

    def _gateway(self, stack: ExitStack, log: Path) -> LocalGateway:
        return stack.enter_context(local_gateway(self.url, log))

    def build(self) -> None:
        """Build the next generation of the next shard, and drop what is old."""
        shard = next(self._shards)
        rebuild_shard(self.store, MADE, shard, IVF, self.scratch)
        drop_old(self.store, MADE, shard, self._seen)

    def suffer(self, name: str, fault: Fault, seconds: float) -> None:
        """Let the store fail for a while; afterwards builds and writes succeed at once."""
        before = self.proxy.num_faults
        acknowledged = sum(owner.num_acknowledged for owner in self.owners)
        building = threading.Thread(target=self.build_until, args=(time.monotonic() + seconds,))
        with self.proxy.failing(fault):
            building.start()
            time.sleep(seconds)
        building.join()  # the build that is at work ends well or badly
        during = sum(owner.num_acknowledged for owner in self.owners) - acknowledged
        print(f"{name}: {self.proxy.num_faults - before} faults, {during} acknowledged writes, {self.searcher.num_searches} searches")
        assert self.proxy.num_faults > before, name
        self.recover(name)

    def recover(self, name: str) -> None:
        """Check that all is well again, by itself."""
        begun_s = time.monotonic()
        self.build()
        for client in self.clients:
            client.until_acknowledged()
        print(f"{name}: well after {time.monotonic() - begun_s:.1f} s")
        assert (self.searcher.failures, self.strange) == ([], []), name
        assert [one.get("/readyz").status_code for one in self.gateways] == [200, 200], name

    def build_until(self, end_s: float) -> None:
        """Build until a moment, with whatever success; what is no error of ours is remembered."""
        while time.monotonic() < end_s:
            try:
                self.build()
                self.num_built += 1
            except ReelspaceError:
                self.num_failed += 1
                time.sleep(0.2)
            except Exception as error:
                self.strange.append(repr(error))
                raise

    def check(self) -> None:
        """Stop all, and compare every row; then every object that is named must be whole."""
        for client in self.clients:
            client.end()
        self.searcher.end()
        found, generation = rows_of(self.direct, MADE)
        assert set(found) <= {id for owner in self.owners for id in owner.rows}, "phantom"
        for owner in self.owners:
            owner.check(found)
        assert verify_store(self.direct).damages == []
        assert read_current(self.direct, MADE.full_name, MADE.num_shards).version > 2
        assert all(one.process.poll() is None for one in self.gateways)
        acknowledged = sum(owner.num_acknowledged for owner in self.owners)
        print(f"{acknowledged} acknowledged writes, {self.searcher.num_searches} searches, the longest {self.searcher.longest_s:.2f} s")
        print(f"generation {generation}; while the store failed {self.num_built} builds ended well and {self.num_failed} failed")


def check_faults(kind: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num: int | None = None) -> None:
    """Let a store fail in every way, or in some that are drawn, one after the other."""
    with ExitStack() as stack:
        world = World(stack, kind, tmp_path, monkeypatch)
        kinds = list(faults().items())
        for name, fault in kinds if num is None else random.sample(kinds, num):
            world.suffer(name, fault, seconds)
        world.check()


def check_outage(kind: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        world = World(stack, kind, tmp_path, monkeypatch)
        with world.proxy.away():
            end_s = time.monotonic() + seconds
            num_before = world.searcher.num_searches
            for gateway in world.gateways:
                address = f"{gateway.url}/collections/things/points/delete?wait=true&timeout=8"
                refused = httpx.post(address, json={"points": [9_000]}, timeout=PATIENCE_S)
                assert (refused.status_code, "did not answer for" in refused.json()["status"]["error"]) == (503, True), refused.text
                print(refused.text)
            while time.monotonic() < end_s:
                assert [one.get("/readyz").status_code for one in world.gateways] == [200, 200]
                world.build_until(time.monotonic() + 0.1)
                time.sleep(1.0)
            num_searches = world.searcher.num_searches - num_before
        print(f"{num_searches} searches in {seconds:g} s without a store")
        assert (world.num_built, world.searcher.failures) == (0, [])
        assert num_searches > seconds
        world.recover("outage")
        world.check()


def test_a_store_that_fails_in_every_way_breaks_no_search_and_loses_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_faults("minio", 0.7, tmp_path, monkeypatch)


def test_a_second_store_that_fails_in_some_ways_breaks_no_search_and_loses_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_faults("moto", 0.7, tmp_path, monkeypatch, num=3)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["minio", "moto", "ceph"])
def test_a_store_that_fails_for_long_in_every_way_breaks_no_search_and_loses_no_write(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_faults(kind, 20.0, tmp_path, monkeypatch)


def test_without_a_store_for_30_s_searches_go_on_and_writes_do_so_by_themselves_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_outage("moto", 30.0, tmp_path, monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["minio", "ceph"])
def test_without_a_store_for_300_s_searches_go_on_and_writes_do_so_by_themselves_afterwards(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_outage(kind, 300.0, tmp_path, monkeypatch)
