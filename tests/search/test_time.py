"""Clocks that are set, wrong, or apart: no acknowledged write is lost, reordered or altered, and a key is valid by its gateway's clock.

Real processes, each with a clock of its own (fake_clock.py); what may be late or done twice by a wrong clock is said where it is tested.
"""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.core.processes import child, stop
from reelspace.gateway.keys import new_key
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.lease import LeaseFile, rebuild_lease, take_lease
from reelspace.search.storage.layout import read_collection, read_current
from reelspace.search.storage.log import RETRY_WINDOW_S, Log
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default, replace_file
from reelspace.search.storage.writer import Clock

from .doomed import MADE
from .fake_clock import FakeClock
from .forks import Fork, Forks, forks
from .local_gateways import LocalGateway, local_gateway
from .owners import Client, Owner, rows_of

HOUR_S, TEN_MINUTES_S = 3600.0, 600.0
STEPS_S = (HOUR_S, -HOUR_S, 0.0, 1.0, -1.0, TEN_MINUTES_S, -TEN_MINUTES_S)
STEP_S = 0.5
NUM_STEPS = 10
PATIENCE_S = 60.0
REBUILD = (sys.executable, "-m", "reelspace.search.scheduling.rebuild_program")
NUM_MANY = 2400
"""So many rows beside a generation that a gateway builds the next one when no more come."""


def far_s() -> float:
    """Seconds from now until after the end of 32-bit time."""
    return datetime(2040, 1, 1, tzinfo=UTC).timestamp() - time.time()


def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, "in vain"
        time.sleep(0.05)


class World:
    """A store with a collection, and owners of rows that write through gateways and say what must be there."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, LocalStore(root)
        create_collection(self.store, MADE)
        replace_file(self.store, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
        self.owners = [Owner(1000 * number) for number in range(3)]
        self.running: list[Fork] = []
        self.clients: list[Client] = []

    def begin(self, *starts: Forks) -> None:
        """Let a gateway and a builder run by each clock, and the owners write through all gateways."""
        gateways = [start.start("gateway", self.root) for start in starts]
        builders = [start.start("builder", self.root, collection=MADE.full_name) for start in starts]
        self.running = [*gateways, *builders]
        self.clients = [Client(owner, [one.url for one in gateways]) for owner in self.owners]

    def end(self) -> int:
        """End all processes, and compare every row; gives the generation that was reached."""
        for client in self.clients:
            client.end()
        for one in self.running:
            assert one.is_alive, "\n".join(one.lines)
            one.kill()
        found, generation = rows_of(self.store, MADE)
        for owner in self.owners:
            owner.check(found)
        assert set(found) <= {id for owner in self.owners for id in owner.rows}, "phantom"
        return generation

    @property
    def generation(self) -> int:
        return min(state.generation for state in read_current(self.store, MADE.full_name, MADE.num_shards).shards.values())

    @property
    def num_acknowledged(self) -> int:
        return sum(owner.num_acknowledged for owner in self.owners)


def set_again_and_again(tmp_path: Path, num_steps: int) -> None:
    clock, seed = FakeClock(tmp_path / "clock"), random.randrange(10**9)
    world, draw = World(tmp_path / "store"), random.Random(seed)
    with forks(tmp_path, clock.environment) as start:
        world.begin(start)
        for _ in range(num_steps):
            before = world.num_acknowledged
            clock.move(draw.choice(STEPS_S))
            time.sleep(STEP_S)
            until(lambda before=before: world.num_acknowledged > before)  # type: ignore[misc]
        until(lambda: world.generation > 3)
        generation = world.end()
    print(f"seed {seed}: {num_steps} steps, {world.num_acknowledged} acknowledged writes, generation {generation}")


def test_a_clock_that_is_set_by_an_hour_either_way_loses_reorders_and_alters_no_write(tmp_path: Path) -> None:
    set_again_and_again(tmp_path, NUM_STEPS)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_clock_that_is_set_500_times_loses_reorders_and_alters_no_write(tmp_path: Path) -> None:
    set_again_and_again(tmp_path, 500)


def test_what_is_written_in_2040_is_there_when_the_clock_is_right_again(tmp_path: Path) -> None:
    clock, world = FakeClock(tmp_path / "clock"), World(tmp_path / "store")
    for offset_s in (far_s(), 0.0, far_s()):
        clock.move(offset_s)
        with forks(tmp_path, clock.environment) as start:
            world.begin(start)
            before = world.num_acknowledged
            until(lambda before=before: world.num_acknowledged > before + 20)  # type: ignore[misc]
            world.end()
    years = {
        datetime.fromtimestamp(entry.writes[0].at_us / 1e6, UTC).year
        for shard in range(MADE.num_shards)
        for log in [Log(world.store, MADE.full_name, shard, MADE.fields)]
        for number in range(log.floor() + 1, log.last() + 1)
        if (entry := log.read(number))
    }
    assert 2040 in years


def test_gateways_and_builders_ten_minutes_apart_lose_reorder_and_alter_no_write(tmp_path: Path) -> None:
    clocks = [FakeClock(tmp_path / f"clock-{number}") for number in range(2)]
    clocks[1].move(TEN_MINUTES_S)
    world = World(tmp_path / "store")
    with forks(tmp_path, clocks[0].environment) as one, forks(tmp_path, clocks[1].environment) as other:
        world.begin(one, other)
        until(lambda: world.num_acknowledged > 20 and world.generation > 3)
        world.end()


def ask(gateway: LocalGateway, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, f"{gateway.url}/collections{path}", json=body, headers=sent, timeout=30)


def result(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def upsert(gateway: LocalGateway, first: int, num: int, value: float, **headers: str) -> None:
    points = [{"id": id, "vector": [value, 0.0], "payload": {"value": value}} for id in range(first, first + num)]
    result(ask(gateway, "PUT", "/mine/points?wait=true", {"points": points}, **headers))


def value_of(gateway: LocalGateway, id: int) -> float:
    return float(result(ask(gateway, "GET", f"/mine/points/{id}"))["payload"]["value"])


def rebuild(store: LocalStore, environment: Mapping[str, str]) -> None:
    """Build the next generation by a process that ends then, as the program of gateways does, by a clock."""
    full_name = read_or_default(store, Names, NAMES_KEY).collections["mine"]
    arguments = ["--store", store.url, "--collection", full_name, "--shard", "0"]
    subprocess.run([*REBUILD, *arguments], env=dict(environment), check=True, capture_output=True, timeout=PATIENCE_S)


@contextmanager
def builder(store: LocalStore, kept_s: float, environment: Mapping[str, str]) -> Iterator[Callable[[], None]]:
    """Let a process that goes on build one generation after the other, and drop what it has seen for so long; gives how to await some."""
    full_name = read_or_default(store, Names, NAMES_KEY).collections["mine"]
    words = [str(Path(__file__).with_name("soak_builder.py")), str(store.root), full_name, "0.1", str(kept_s)]
    process = child([sys.executable, *words], env=dict(environment), stdout=subprocess.PIPE)
    assert process.stdout is not None

    def await_builds() -> None:
        # One may be under way that lacks what was written just now; the next two hold it, after which it may be dropped.
        for _ in range(4):
            assert process.stdout is not None
            assert process.stdout.readline(), "it ended"

    try:
        yield await_builds
    finally:
        stop(process)
        process.stdout.close()


def send_again_after(tmp_path: Path, gateway_s: float, builder_s: float) -> float:
    """Write a row twice, let builders drop what is old, their clocks set, and send the first write again; gives what the row is then."""
    clocks = [FakeClock(tmp_path / f"clock-{number}") for number in range(2)]
    store = LocalStore(tmp_path / "store")
    with local_gateway(store.url, tmp_path / "log", environment=clocks[0].environment) as gateway:
        result(ask(gateway, "PUT", "/mine", {"vectors": {"size": 2, "distance": "Dot"}}))
        upsert(gateway, 7, 1, 1.0, idempotency_key="first")
        upsert(gateway, 7, 1, 2.0, idempotency_key="second")
        with builder(store, RETRY_WINDOW_S, clocks[1].environment) as await_builds:
            await_builds()
            for clock, offset_s in zip(clocks, (gateway_s, builder_s), strict=True):
                clock.move(offset_s)
            upsert(gateway, 100, 1, 0.0)
            await_builds()
        rebuild(store, clocks[1].environment)
        upsert(gateway, 7, 1, 1.0, idempotency_key="first")
        return value_of(gateway, 7)


@pytest.mark.parametrize(("gateway_s", "builder_s"), [(0.0, 0.0), (HOUR_S, HOUR_S), (0.0, TEN_MINUTES_S + 60), (-HOUR_S, HOUR_S)])
def test_a_write_that_is_sent_again_takes_effect_once_also_where_a_clock_is_set_or_ahead(
    tmp_path: Path, gateway_s: float, builder_s: float
) -> None:
    assert send_again_after(tmp_path, gateway_s, builder_s) == 2.0


@pytest.mark.parametrize("offset_s", [-HOUR_S, HOUR_S])
def test_a_log_is_dropped_when_it_was_seen_for_long_enough_whatever_the_time_is(tmp_path: Path, offset_s: float) -> None:
    clock, store = FakeClock(tmp_path / "clock"), LocalStore(tmp_path / "store")
    with local_gateway(store.url, tmp_path / "log") as gateway:
        result(ask(gateway, "PUT", "/mine", {"vectors": {"size": 2, "distance": "Dot"}}))
        upsert(gateway, 7, 1, 1.0)
        made = read_collection(store, read_or_default(store, Names, NAMES_KEY).collections["mine"])
        log = Log(store, made.full_name, 0, made.fields)
        with builder(store, 1.0, clock.environment):
            clock.move(offset_s)
            until(lambda: log.floor() == 1)
        upsert(gateway, 7, 1, 2.0)
        assert value_of(gateway, 7) == 2.0


def generation_of(store: LocalStore) -> int:
    full_name = read_or_default(store, Names, NAMES_KEY).collections["mine"]
    made = read_collection(store, full_name)
    return read_current(store, full_name, made.num_shards).shards["0"].generation


def test_keepers_ten_minutes_apart_may_both_build_and_harm_nothing(tmp_path: Path) -> None:
    clocks = [FakeClock(tmp_path / f"clock-{number}") for number in range(2)]
    clocks[1].move(TEN_MINUTES_S)
    store, logs = LocalStore(tmp_path / "store"), [tmp_path / f"log-{number}" for number in range(2)]
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(local_gateway(store.url, log, environment=clock.environment))
            for log, clock in zip(logs, clocks, strict=True)
        ]
        result(ask(gateways[0], "PUT", "/mine", {"vectors": {"size": 2, "distance": "Dot"}}))
        for turn in range(1, 3):
            for number, gateway in enumerate(gateways):
                upsert(gateway, number * NUM_MANY, NUM_MANY, float(turn))
            before = generation_of(store)
            until(lambda before=before: generation_of(store) > before)  # type: ignore[misc]
            for gateway in gateways:
                until(lambda gateway=gateway: result(ask(gateway, "GET", "/mine"))["points_count"] == 2 * NUM_MANY)  # type: ignore[misc]
                assert {value_of(gateway, id) for id in range(0, 2 * NUM_MANY, 97)} == {float(turn)}
        found = result(ask(gateways[1], "POST", "/mine/points/query", {"query": [1.0, 0.0], "limit": 5}))
        assert [(point["id"], point["score"]) for point in found["points"]] == [(id, 2.0) for id in range(5)]
    lines = [orjson.loads(line) for log in logs for line in log.read_text().splitlines() if line.startswith("{")]
    built = [line["generation"] for line in lines if line["event"] in ("built", "rebuilt")]
    print(f"generations built: {built}")
    assert len(set(built)) == len(built), "two builders never make the same generation"


def test_a_lease_that_a_clock_an_hour_ahead_has_left_is_not_honoured_for_an_hour(tmp_path: Path) -> None:
    store, key = LocalStore(tmp_path), rebuild_lease(MADE.full_name, 0)
    until_us = Clock().now_us() + int((HOUR_S + 30.0) * 1e6)
    replace_file(store, LeaseFile, key, lambda _: LeaseFile(owner="who was killed", until_us=until_us))
    assert take_lease(store, key, "me", 30.0)


@pytest.mark.parametrize("offset_s", [-TEN_MINUTES_S, 0.0, TEN_MINUTES_S])
def test_a_key_is_valid_until_its_end_by_the_clock_of_the_gateway_as_it_is_now(tmp_path: Path, offset_s: float) -> None:
    clock = FakeClock(tmp_path / "clock")
    ends = datetime.now(UTC) + timedelta(seconds=offset_s + 120)
    secret, key = new_key("short", ("read", "write", "admin"), ("*",), ends)
    (tmp_path / "keys.json").write_bytes(orjson.dumps([key.model_dump(mode="json")]))
    clock.move(offset_s)
    options = ("--keys-file", str(tmp_path / "keys.json"))
    with local_gateway(str(tmp_path / "store"), tmp_path / "log", *options, environment=clock.environment) as gateway:

        def is_moved(by_s: float) -> bool:
            told_s = parsedate_to_datetime(gateway.get("/livez").headers["date"]).timestamp()
            return abs(told_s - time.time() - by_s) < 3

        for more_s, expected in ((0.0, 200), (80.0, 200), (121.0, 401), (0.0, 200), (HOUR_S, 401), (-HOUR_S, 200), (far_s(), 401)):
            clock.move(offset_s + more_s)
            until(lambda more_s=more_s: is_moved(offset_s + more_s))  # type: ignore[misc]
            found = httpx.get(f"{gateway.url}/collections", headers={"api-key": secret}, timeout=30)
            assert found.status_code == expected, f"{more_s:+g} s"
