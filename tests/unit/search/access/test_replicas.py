"""Two servers with the same rows, one of which dies, freezes or is slow: no question is lost, few are asked twice, and it comes back."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from reelspace.search.access.replicas import Event, Replicas, ReplicaSettings
from reelspace.search.access.shard_client import ModelRefused, ShardFailed, ShardTimeout

from .virtual_time import run

USUAL_S = 0.005
TIMEOUT_S = 5.0


@dataclass
class Server:
    """Answers with its name after some time, as it is told to be."""

    name: str
    draw: random.Random
    slower_s: float = 0.0
    is_dead: bool = False
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    num_asked: int = 0

    def __post_init__(self) -> None:
        self.thawed.set()

    async def answer(self, timeout_s: float) -> str:
        self.num_asked += 1
        try:
            async with asyncio.timeout(timeout_s):
                if self.is_dead:
                    await asyncio.sleep(0.0005)
                    raise ShardFailed(f"{self.name} cannot be reached")
                await asyncio.sleep(USUAL_S * self.draw.uniform(0.8, 1.2) + self.slower_s)
                await self.thawed.wait()
        except TimeoutError as error:
            raise ShardTimeout(f"{self.name} is silent") from error
        return self.name


@dataclass
class Cluster:
    servers: list[Server]
    replicas: Replicas[Server]
    events: list[tuple[float, int, Event]]
    answers: list[tuple[float, float, str]] = field(default_factory=list)

    def num(self, event: Event) -> int:
        return Counter(one for _, _, one in self.events)[event]

    def when(self, event: Event) -> float:
        return next(at_s for at_s, _, one in self.events if one == event)

    async def ask(self) -> None:
        start_s = now_s()
        name = await self.replicas.ask(Server.answer, TIMEOUT_S)
        self.answers.append((start_s, now_s() - start_s, name))

    async def load(self, seconds: float, per_s: float = 100.0) -> None:
        """Ask at a steady rate, whatever the answers take, and wait for all."""
        end_s, asked = now_s() + seconds, []
        while now_s() < end_s:
            asked.append(asyncio.ensure_future(self.ask()))
            await asyncio.sleep(1 / per_s)
        await asyncio.gather(*asked)

    def since(self, start_s: float) -> list[float]:
        return [seconds for at_s, seconds, _ in self.answers if at_s >= start_s]


def now_s() -> float:
    return asyncio.get_running_loop().time()


def made(num: int = 2, settings: ReplicaSettings | None = None) -> Cluster:
    events: list[tuple[float, int, Event]] = []
    draw = random.Random(4)

    async def probe(server: Server) -> None:
        await server.answer(60.0)

    servers = [Server(f"server {place}", draw) for place in range(num)]
    return Cluster(servers, Replicas(servers, probe, settings, lambda place, event: events.append((now_s(), place, event))), events)


def test_the_server_with_the_least_to_do_is_asked() -> None:
    async def go() -> None:
        cluster = made(3)
        cluster.servers[1].slower_s = 2 * USUAL_S
        await cluster.load(20.0, per_s=300.0)
        asked = [server.num_asked for server in cluster.servers]
        assert asked[1] < 0.7 * min(asked[0], asked[2])
        assert cluster.num("out") == 0

    run(go())


def test_a_server_that_dies_costs_no_question_and_is_asked_again_when_it_is_back() -> None:
    async def go() -> None:
        cluster = made()
        await cluster.load(5.0)
        for round_number in range(30):
            dead = cluster.servers[round_number % 2]
            died_s, dead.is_dead = now_s(), True
            await cluster.load(3.0)
            assert np.percentile(cluster.since(died_s), 99) < 2 * USUAL_S
            dead.is_dead = False
            await cluster.load(1.0)
            assert all(cluster.replicas.is_trusted(place) for place in (0, 1))
        assert cluster.num("back") == 30
        assert len(cluster.answers) == pytest.approx(100 * (5 + 30 * 4), abs=35)

    run(go())


@pytest.mark.parametrize("num", [2, 3])
def test_a_frozen_server_is_out_within_three_seconds_and_slows_few_answers(num: int) -> None:
    async def go() -> None:
        cluster = made(num)
        await cluster.load(5.0)
        frozen_s = now_s()
        cluster.servers[0].thawed.clear()
        await cluster.load(10.0)
        assert cluster.when("out") - frozen_s < 3.0
        hedge_s = 1.2 * USUAL_S
        assert np.percentile(cluster.since(frozen_s), 99) <= hedge_s + 1.5 * USUAL_S
        assert cluster.num("hedged") <= 0.05 * len(cluster.answers)
        assert {name for at_s, _, name in cluster.answers if at_s > frozen_s + 3} == {server.name for server in cluster.servers[1:]}
        cluster.servers[0].thawed.set()
        await cluster.load(2.0)
        assert cluster.num("back") == 1
        assert cluster.replicas.is_trusted(0)
        assert "server 0" in {name for at_s, _, name in cluster.answers if at_s > now_s() - 1}

    run(go())


def test_a_server_half_a_second_slower_is_out_and_back_when_it_is_fast() -> None:
    async def go() -> None:
        cluster = made()
        await cluster.load(5.0)
        slow_s, cluster.servers[1].slower_s = now_s(), 0.5
        await cluster.load(10.0)
        assert cluster.when("out") - slow_s < 3.0
        assert np.percentile(cluster.since(slow_s), 99) <= 1.2 * USUAL_S + 1.5 * USUAL_S
        assert cluster.num("hedged") <= 0.05 * len(cluster.answers)
        cluster.servers[1].slower_s = 0.0
        await cluster.load(2.0)
        assert cluster.replicas.is_trusted(1)

    run(go())


def test_questions_of_a_server_that_is_put_out_are_asked_of_others_without_a_budget_for_hedges() -> None:
    async def go() -> None:
        cluster = made(settings=ReplicaSettings(hedge_share=0.0, silent_s=0.5))
        cluster.replicas.times.hedge_s = 60.0
        cluster.servers[0].thawed.clear()
        await cluster.load(5.0)
        assert len(cluster.answers) == pytest.approx(500, abs=2)
        assert max(cluster.since(0.0)) < 0.5 + 3 * USUAL_S
        assert cluster.num("hedged") == 0

    run(go())


def test_where_all_are_slow_none_is_left_out_and_none_is_lost() -> None:
    async def go() -> None:
        cluster = made()
        await cluster.load(2.0)
        for server in cluster.servers:
            server.slower_s = 1.5
        await cluster.load(10.0, per_s=20.0)
        assert {name for _, _, name in cluster.answers[-20:]} == {"server 0", "server 1"}

    run(go())


def test_what_is_no_fault_of_a_server_is_told_at_once() -> None:
    async def go() -> None:
        cluster = made()

        async def refuse(_server: Server, _timeout_s: float) -> None:
            raise ModelRefused("a vector of another length")

        with pytest.raises(ModelRefused, match="another length"):
            await cluster.replicas.ask(refuse, TIMEOUT_S)
        assert cluster.events == []

    run(go())


@pytest.mark.parametrize("num", [1, 2])
def test_where_all_fail_the_last_one_says_why_and_silence_ends_at_the_deadline(num: int) -> None:
    async def go() -> None:
        cluster = made(num)
        for server in cluster.servers:
            server.is_dead = True
        with pytest.raises(ShardFailed, match="cannot be reached"):
            await cluster.ask()
        for server in cluster.servers:
            server.is_dead = False
            server.thawed.clear()
        start_s = now_s()
        with pytest.raises(ShardTimeout):
            await cluster.ask()
        assert now_s() - start_s == pytest.approx(TIMEOUT_S, abs=0.01)
        for server in cluster.servers:
            server.thawed.set()
        await cluster.ask()

    run(go())


def test_whoever_is_asked_together_need_not_wait_for_one_that_lags() -> None:
    async def go() -> None:
        cluster = made(3)
        cluster.servers[2].thawed.clear()
        start_s = now_s()
        await cluster.replicas.each(Server.answer, TIMEOUT_S)
        assert now_s() - start_s < 1.0 + 2 * USUAL_S
        assert [cluster.replicas.is_trusted(place) for place in range(3)] == [True, True, False]
        start_s = now_s()
        await cluster.replicas.each(Server.answer, TIMEOUT_S)
        assert now_s() - start_s < 2 * USUAL_S

    run(go())


def test_one_that_has_not_answered_when_the_time_is_over_is_not_trusted_with_what_the_other_has() -> None:
    async def go() -> None:
        cluster = made()
        cluster.servers[1].thawed.clear()
        start_s = now_s()
        await cluster.replicas.each(Server.answer, 0.3)
        assert now_s() - start_s == pytest.approx(0.3, abs=0.01)
        assert [cluster.replicas.is_trusted(place) for place in range(2)] == [True, False]

    run(go())


@pytest.mark.parametrize("num", [1, 2])
def test_whoever_are_asked_together_and_all_fail_say_so(num: int) -> None:
    async def go() -> None:
        cluster = made(num)
        for server in cluster.servers:
            server.is_dead = True
        with pytest.raises(ShardFailed):
            await cluster.replicas.each(Server.answer, TIMEOUT_S)

    run(go())


def test_a_question_that_nobody_waits_for_any_more_is_given_up() -> None:
    async def go() -> None:
        cluster = made()
        cancelled: list[str] = []

        async def hang(server: Server, _timeout_s: float) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(server.name)
                raise

        asked = asyncio.ensure_future(cluster.replicas.ask(hang, TIMEOUT_S))
        await asyncio.sleep(0.5)
        asked.cancel()
        await asyncio.sleep(0.1)
        assert len(cancelled) == 2
        assert cluster.num("doubted") == 0

    run(go())


def test_servers_are_examined_no_more_after_the_end() -> None:
    async def go() -> int:
        cluster = made()
        cluster.servers[0].is_dead = True
        await cluster.load(1.5)
        assert cluster.num("out") == 1
        cluster.replicas.close()
        assert cluster.num("left") == 1
        await asyncio.sleep(0.01)
        asked = cluster.servers[0].num_asked
        await asyncio.sleep(5)
        return cluster.servers[0].num_asked - asked

    assert run(go()) == 0


def test_a_bug_of_an_examination_leaves_no_server_doubted_for_good() -> None:
    server, bugs = Server("a", random.Random(1), is_dead=True), []

    async def probe(_server: Server) -> None:
        bugs.append(None)
        raise ValueError("a bug")

    async def ask() -> None:
        replicas = Replicas([server, Server("b", random.Random(2))], probe)
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        for _ in range(20):
            assert await replicas.ask(lambda one, left_s: one.answer(left_s), TIMEOUT_S) == "b"
            await asyncio.sleep(0.1)
        assert len(bugs) > 1
        server.is_dead = False
        await asyncio.sleep(0.1)
        assert replicas.is_trusted(0)
        replicas.close()

    run(ask())


def test_a_server_that_is_not_trusted_is_asked_only_when_it_has_what_the_others_were_waited_for() -> None:
    async def work() -> None:
        draw, caught_up = random.Random(4), asyncio.Event()
        servers = [Server("first", draw), Server("second", draw)]

        async def probe(server: Server) -> None:
            await (caught_up.wait() if server is servers[1] else server.answer(60.0))

        async def catch_up(server: Server, timeout_s: float) -> None:
            async with asyncio.timeout(timeout_s):
                await caught_up.wait()

        replicas = Replicas(servers, probe, catch_up=catch_up)
        asyncio.get_running_loop().call_later(0.1, caught_up.set)
        assert await replicas.ask(Server.answer, TIMEOUT_S) == "second"  # trusted: at once
        assert now_s() < 0.1
        replicas.doubt(next(state for state in replicas.by_preference() if state.replica is servers[1]))
        assert [place for place in (0, 1) if replicas.is_trusted(place)] == [0]
        servers[0].is_dead = True
        asked_before = servers[1].num_asked
        answer = asyncio.ensure_future(replicas.ask(Server.answer, TIMEOUT_S))
        await asyncio.sleep(0.05)
        assert servers[1].num_asked == asked_before
        assert await answer == "second"
        assert now_s() > 0.1
        replicas.close()

    run(work())


def test_a_server_is_trusted_again_only_with_what_was_acknowledged_while_it_was_examined() -> None:
    async def work() -> None:
        draw, wanted, applied = random.Random(4), [1], [0]
        servers = [Server("first", draw), Server("second", draw)]

        async def probe(server: Server) -> None:
            if server is servers[1]:
                applied[0] = wanted[0]  # it has all, when this part of the examination ends
            else:
                await asyncio.sleep(0.02)  # as long as the other one takes, a write is acknowledged by the first alone
                wanted[0] += 1

        async def catch_up(server: Server, _timeout_s: float) -> None:
            while server is servers[1] and applied[0] < wanted[0]:
                await asyncio.sleep(0.005)
                applied[0] += 1

        replicas = Replicas(servers, probe, catch_up=catch_up)
        replicas.doubt(next(state for state in replicas.by_preference() if state.replica is servers[1]))
        while not replicas.is_trusted(1):
            await asyncio.sleep(0.001)
        assert applied == wanted == [2]
        replicas.close()

    run(work())
