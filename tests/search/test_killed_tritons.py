"""Shards on Triton that are killed under writes, searches and rebuilds: what was acknowledged is there, and no answer is wrong."""

import http.client
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.gateway.servers import served_models
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file
from reelspace.serving.triton import Ports, TritonProcess

from .conftest import started_gateway
from .doomed import MADE, row_of
from .first_rows import FIRST_IDS, put_first
from .forks import forks
from .owners import PATIENCE_S, Client, Owner, rows_of
from .test_faults import parent_of, process_of

OWNER_IDS = (0, 1000)
BATCH = 50
NOT_EPHEMERAL = range(20_000, 32_000)


def kept_ports() -> Ports:
    """Choose ports that the kernel gives nobody who asks for a free one: a server that is started again listens on the same."""
    found: list[int] = []
    while len(found) < 3:
        port = random.choice(NOT_EPHEMERAL)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return Ports(*found)


class Server:
    """A Triton with every shard, which is started again where it was."""

    def __init__(self, store: LocalStore, ports: Ports, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._store, self._ports, self._log, self._monkeypatch = store, ports, log, monkeypatch
        self._triton = self._started()

    @property
    def triton(self) -> TritonProcess:
        """The one that runs."""
        return self._triton

    def kill(self) -> None:
        """End the server at once, and start another."""
        shard = process_of(self._triton, served_models(self._store)[0])
        os.kill(parent_of(shard), signal.SIGKILL)
        self._triton.stop()
        self._triton = self._started()

    def restart(self) -> None:
        """End the server as an upgrade does, when what it is at is answered, and start another."""
        self._triton.stop()
        self._triton = self._started()

    def kill_shard(self, model: str) -> None:
        """End the process of one shard at once, and load it again: the server does not start another by itself."""
        os.kill(process_of(self._triton, model), signal.SIGKILL)
        self._triton.unload(model)
        self._triton.load(model)

    def stop(self) -> None:
        """End it."""
        self._triton.stop()

    def _started(self) -> TritonProcess:
        models, environment = served_models(self._store), {"REELSPACE_STORE": self._store.url}
        with self._monkeypatch.context() as patched:
            patched.setattr(Ports, "free", lambda: self._ports)
            return TritonProcess.start([f"{self._store.url}/repository"], models, environment, log_path=self._log)


class Searcher(threading.Thread):
    """Searches for rows that nobody changes, by their own vectors: an answer is that row, or an error."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.stopping, self.error = url, False, ""
        self.num_answered = self.num_refused = 0
        self.start()

    def run(self) -> None:
        while not self.stopping and not self.error:
            id = random.choice(FIRST_IDS)
            status, answer = ask(self.url, "/points/query", {"query": row_of(id, 0)[0].tolist(), "limit": 1})
            if status == 200:
                self.num_answered += 1
                if [point["id"] for point in answer["result"]["points"]] != [id]:
                    self.error = f"the row {id} was not found: {answer}"
            elif status in (503, 504):
                self.num_refused += 1
                time.sleep(0.02)
            else:
                self.error = f"{status}: {answer}"

    def until_answered(self) -> None:
        """Wait for the next answer."""
        before, deadline_s = self.num_answered, time.monotonic() + PATIENCE_S
        while self.num_answered == before:
            assert not self.error, self.error
            assert time.monotonic() < deadline_s, "never answered"
            time.sleep(0.01)

    def end(self) -> None:
        """Let it stop after what it is at."""
        self.stopping = True
        self.join(PATIENCE_S)
        assert not self.error, self.error


def ask(url: str, path: str, body: object) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)) as connection:
        connection.request("POST", f"/collections/things{path}", orjson.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, orjson.loads(response.read())


class World:
    """A collection on Triton behind a gateway, with a builder, writers and a searcher."""

    def __init__(self, url: str, store: LocalStore, server: Server, seed: int) -> None:
        self.url, self.store, self.server, self.draw = url, store, server, random.Random(seed)
        self.first = put_first(url)
        self.clients = [Client(Owner(first_id), [url]) for first_id in OWNER_IDS]
        self.searcher = Searcher(url)
        self.num_kills = {"server": 0, "shard": 0}

    @property
    def owners(self) -> list[Owner]:
        """All who wrote."""
        return [self.first, *(client.owner for client in self.clients)]

    def kill(self, what: str) -> None:
        """Kill at a random moment, and wait until writes are acknowledged and searches answered again."""
        time.sleep(self.draw.uniform(0.0, 0.3))
        if what == "server":
            self.server.kill()
        else:
            self.server.kill_shard(self.draw.choice(served_models(self.store)))
        self.num_kills[what] += 1
        for client in self.clients:
            client.until_acknowledged()
        self.searcher.until_answered()

    def end(self) -> None:
        """Let all stop once what they are at is acknowledged."""
        for client in self.clients:
            client.until_acknowledged()
            client.end()
        self.searcher.end()

    def check(self) -> int:
        """Compare every row, read from the store and through the shards that were started again; gives the newest generation."""
        found, generation = rows_of(self.store, MADE)
        assert set(found) <= {id for owner in self.owners for id in owner.rows}, "phantom"
        for owner in self.owners:
            owner.check(found)
        status, answer = ask(self.url, "/points/scroll", {"limit": len(found) + 100, "with_vector": True})
        assert status == 200, answer
        points = answer["result"]["points"]
        assert [point["id"] for point in points] == sorted(found)
        for point in points:
            vector_D, payload = row_of(point["id"], found[point["id"]] or 0)
            assert point["payload"] == payload
            assert np.array_equal(np.array(point["vector"], np.float32), vector_D)
        for first in range(0, len(points), BATCH):
            some = points[first : first + BATCH]
            status, answer = ask(self.url, "/points/query/batch", {"searches": [{"query": one["vector"], "limit": 1} for one in some]})
            assert status == 200, answer
            assert [one["points"][0]["id"] for one in answer["result"]] == [one["id"] for one in some]
        return generation


@contextmanager
def world(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    store = LocalStore(tmp_path / "store")
    create_collection(store, MADE)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
    served_models(store)
    with ExitStack() as stack:
        start = stack.enter_context(forks(tmp_path))
        server = Server(store, kept_ports(), tmp_path / "triton.log", monkeypatch)
        stack.callback(server.stop)
        url, _ = stack.enter_context(started_gateway(store.url, server.triton, tmp_path / "gateway.log"))
        start.start("builder", store.root, collection=MADE.full_name)
        yield World(url, store, server, seed)


def run(tmp_path: Path, kills: list[str], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path, seed, monkeypatch) as one:
        for what in kills:
            one.kill(what)
        one.end()
        generation = one.check()
        acknowledged = sum(client.owner.num_acknowledged for client in one.clients)
        answered, refused = one.searcher.num_answered, one.searcher.num_refused
    print(f"seed {seed}: {one.num_kills} killed, {acknowledged} acknowledged writes, generation {generation}")
    print(f"{answered} searches answered right, {refused} refused while nobody could answer")
    assert acknowledged > len(kills)
    assert generation > 1


@pytest.mark.journey
def test_a_killed_shard_and_a_killed_triton_lose_invent_and_alter_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, ["shard", "server"], random.randrange(10**9), monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_50_killed_shards_and_tritons_lose_invent_and_alter_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(10**9)
    run(tmp_path, random.Random(seed).choices(["shard", "server"], k=50), seed, monkeypatch)
