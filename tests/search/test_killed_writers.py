"""Gateways, writers and builders that are killed: what was acknowledged is there as it was written, and nothing else is."""

import http.client
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file

from .doomed import BUILDING, LOADING, MADE, WRITING
from .forks import Fork, Forks, forks
from .owners import Client, Owner, rows_of

CLIENT_IDS = (0, 1000)
WRITER_IDS = 2000


def knock(url: str) -> None:
    """Let a gateway load the collection, which it will not live to see."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)) as connection, suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/collections/things")
        connection.getresponse().read()


class World:
    """A store with one collection, and the processes that work on it."""

    def __init__(self, start: Forks, root: Path, seed: int) -> None:
        self.start, self.root, self.draw = start, root, random.Random(seed)
        self.store = LocalStore(root)
        create_collection(self.store, MADE)
        replace_file(self.store, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
        self.owners = [Owner(first_id) for first_id in CLIENT_IDS]
        self.writer = Owner(WRITER_IDS)
        self.num_kills = self.generation = 0

    def round(self, point: str) -> None:
        """Let all of them work, one of them until it comes to a point, then end all at once and look at what is there."""
        doomed = {"gateway": "", "writer": "", "builder": ""}
        role = self.draw.choice(["gateway", "writer"]) if point in WRITING else "builder" if point in BUILDING else "gateway"
        turns = {"building": 9, "loading": 7}.get(point, 4)
        doomed[role] = f"{point}:{self.draw.randint(1, turns)}"
        gateways = [self.start.start("gateway", self.root, doomed["gateway"]), self.start.start("gateway", self.root)]
        writer = self._start_writer(doomed["writer"])
        builder = self.start.start("builder", self.root, doomed["builder"], collection=MADE.full_name)
        # What is doomed may be gone before it answers.
        urls = [gateways[1].url] if point in LOADING else [one.url for one in gateways]
        if point in LOADING:
            knock(gateways[0].url)
        clients = [Client(owner, urls) for owner in self.owners]
        victim = {"gateway": gateways[0], "writer": writer, "builder": builder}[role]
        assert victim.wait(20), f"{role} did not come to {doomed[role]}: {victim.lines[-3:]}"
        time.sleep(self.draw.uniform(0.0, 0.3))
        for client in clients:
            client.stopping = True
        for fork in self.draw.sample([*gateways, writer, builder], 4):
            assert fork is victim or fork.is_alive, "\n".join(fork.lines)
            self.num_kills += 1
            fork.kill()
        for client in clients:
            client.end()
        self._hear(writer)
        self._check()

    def check_through_a_gateway(self) -> None:
        """Start a gateway over what is left, send again what was not answered, and compare what it gives."""
        gateway = self.start.start("gateway", self.root)
        for owner in self.owners:
            client = Client(owner, [gateway.url])
            client.until_acknowledged()
            client.end()
        gateway.kill()
        self._check()

    def _start_writer(self, doom: str) -> Fork:
        facts = {"collection": MADE.full_name, "first_id": WRITER_IDS, "turn": self.writer.turn + 1}
        return self.start.start("writer", self.root, doom, **facts)

    def _hear(self, writer: Fork) -> None:
        for line in writer.lines:
            word, _, turn = line.partition(" ")
            assert word in ("begin", "done"), "\n".join(writer.lines)
            if word == "begin":
                self.writer.begin(int(turn))
            else:
                self.writer.acknowledge()

    def _check(self) -> None:
        """Compare every row, and let each be found by its own vector through the index."""
        found, generation = rows_of(self.store, MADE)
        self.generation = max(self.generation, generation)
        owners = [*self.owners, self.writer]
        assert set(found) <= {id for owner in owners for id in owner.rows}, "phantom"
        for owner in owners:
            owner.check(found)
        self.writer.pending = {}


@contextmanager
def world(tmp_path: Path, seed: int) -> Iterator[World]:
    with forks(tmp_path) as start:
        yield World(start, tmp_path / "store", seed)


def run(tmp_path: Path, points: list[str], seed: int) -> World:
    with world(tmp_path, seed) as one:
        for point in points:
            one.round(point)
        one.check_through_a_gateway()
        acknowledged = sum(owner.num_acknowledged for owner in [*one.owners, one.writer])
        print(f"seed {seed}: {one.num_kills} kills, {acknowledged} acknowledged writes, generation {one.generation}")
        assert acknowledged > 2 * len(points)
        assert one.generation > 1
        return one


def test_killed_gateways_writers_and_builders_lose_duplicate_invent_and_alter_no_row(tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    draw = random.Random(seed)
    points = [draw.choice(WRITING), draw.choice(BUILDING), draw.choice(LOADING)]
    assert run(tmp_path, draw.sample(points, 3), seed).num_kills >= 6


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_200_kills_lose_duplicate_invent_and_alter_no_row(tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    draw = random.Random(seed)
    points = [draw.choice([*WRITING, *BUILDING, *LOADING]) for _ in range(50)]
    assert run(tmp_path, points, seed).num_kills >= 200
