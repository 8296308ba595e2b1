"""Controllers as processes of their own: the one that leads is killed at random moments, and another goes on."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.core.processes import child, stop
from reelspace.search.scheduling.leader import LEADER_KEY, LeaderFile
from reelspace.search.scheduling.publication import publication_of, publish, wait_until_current
from reelspace.search.storage.replaced_file import read_or_default

from ..unit.search.scheduling.publishing import MADE, built, serving
from .conftest import started_gateway
from .test_flips import NUM_ROWS, Editions, World, asking, edition_served
from .test_killed_tritons import Server, kept_ports

HOLD_S = 1.0
LEADS_S = 60.0
NAME = MADE.full_name


@dataclass
class Running:
    process: "subprocess.Popen[bytes]"
    url: str

    def leads(self) -> bool:
        return "reelspace_controller_leads 1.0" in httpx.get(f"{self.url}/metrics").text


@contextmanager
def started_controller(store: LocalStore, triton: str, log: Path) -> Iterator[Running]:
    """Start a controller and wait for its line."""
    options = ["--dir", store.url, "--triton", triton, "--port", "0", "--hold-s", str(HOLD_S), "--keep-s", "2"]
    with log.open("ab") as errors:
        process = child([sys.executable, "-m", "reelspace.cli", "search", "controller", *options], stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            url = orjson.loads(line)["url"]
            assert httpx.get(f"{url}/livez").status_code == 200
            yield Running(process, url)
        finally:
            stop(process)
            process.stdout.close()


def leading(running: Sequence[Running]) -> Running:
    """Give the controller that leads; on a busy machine none may for a moment."""
    until_s = time.monotonic() + LEADS_S
    while time.monotonic() < until_s:
        for one in running:
            if one.leads():
                return one
        time.sleep(0.05)
    raise AssertionError("no controller leads")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("num_kills", [3, pytest.param(40, marks=pytest.mark.long)])
def test_a_killed_controller_is_followed_by_another_that_finishes_what_it_had_begun(tmp_path: Path, num_kills: int) -> None:
    draw = random.Random(seed := random.randrange(10**9))
    print(f"seed {seed}")
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path, num_rows=NUM_ROWS)
    editions, took_s = Editions(), []
    editions.add(1)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        server = Server(store, kept_ports(), tmp_path / "triton.log", patch)
        stack.callback(server.stop)
        address = server.triton.grpc_address
        gateway = started_gateway(store.url, server.triton, tmp_path / "gateway.log", more=["--without-controller"])
        url, _ = stack.enter_context(gateway)
        world = World(store, tmp_path, [server], url)
        assert edition_served(world) == 1
        running = [stack.enter_context(started_controller(store, address, tmp_path / "controller.log")) for _ in range(2)]
        with asking(world, editions) as statuses:
            for edition in range(2, 2 + num_kills):
                editions.add(edition)
                published = publication_of(store, built(store, edition, tmp_path, num_rows=NUM_ROWS))
                publish(store, NAME, published)
                begun_s = time.monotonic()
                time.sleep(draw.uniform(0.0, 1.0))
                leader = leading(running)
                leader.process.kill()
                leader.process.wait()
                running.remove(leader)
                running.append(stack.enter_context(started_controller(store, address, tmp_path / "controller.log")))
                wait_until_current(store, NAME, published.number, 60)
                took_s.append(time.monotonic() - begun_s)
            while edition_served(world) != 1 + num_kills:
                time.sleep(0.05)
    assert editions.mixed == []
    assert set(statuses) == {200}
    # A busy machine may keep one from touching the lock in time, too.
    assert read_or_default(store, LeaderFile, LEADER_KEY).epoch >= 1 + num_kills
    print(f"{len(statuses)} answers, none failed or mixed; {num_kills} controllers killed, current after {max(took_s):.1f} s at most")
