"""The watch over models, in front of a scripted Triton and a clock that stands until it is moved."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import httpx
import pytest

from reelspace.core.errors import ServerUnavailable, UserError
from reelspace.serving.watch.__main__ import parse_arguments
from reelspace.serving.watch.control import Reply, TritonAway, Work
from reelspace.serving.watch.liveness import IS_LOST, LIVES, Outcome
from reelspace.serving.watch.page import telling
from reelspace.serving.watch.settings import WatchSettings
from reelspace.serving.watch.tally import Tally
from reelspace.serving.watch.watcher import ModelWatch, Watcher

DEAD = Reply(500, "Failed to process the request(s) for model instance 'm_0_0', message: Stub process 'm_0_0' is not healthy.")
FULL = Reply(503, "Exceeds maximum queue size")
SETTINGS = WatchSettings()
CONFIG = {"name": "m", "version_policy": {"specific": {"versions": ["1", "2"]}}}


@dataclass
class Scripted:
    """A Triton whose model's one process is alive, dead, busy or frozen, as a test says, and that keeps what it was asked to do."""

    state: str = "alive"
    load_helps: bool = True
    tells_reasons: bool = True
    executions: int = 0
    failures: int = 0
    num_probes: int = 0
    orders: list[str] = field(default_factory=list)
    loaded: Mapping[str, Any] | None = None
    now_s: float = 0.0

    def clock(self) -> float:
        return self.now_s

    async def work(self, model: str) -> list[Work]:
        if self.state == "away":
            raise TritonAway("Triton cannot be reached: refused")
        broken = self.failures if self.tells_reasons else None
        return [] if self.state in ("absent", "loading") else [Work("1", self.executions, self.failures, broken)]

    async def is_loading(self, model: str) -> bool:
        return self.state == "loading"

    async def probe(self, model: str, version: str) -> Reply:
        self.num_probes += 1
        if self.state in ("busy", "mixed", "frozen", "failing"):
            self.now_s += SETTINGS.probe_timeout_s
            self.executions += self.state in ("busy", "mixed")
            self.failures += self.state in ("mixed", "failing")
            raise TimeoutError("no answer within 2.5 s")
        self.executions += self.state in ("alive", "refusing")
        return {"alive": Reply(200), "refusing": Reply(400, "X: wrong"), "dead": DEAD, "full": FULL, "broken": Reply(500, "no")}[self.state]

    async def config(self, model: str) -> dict[str, Any] | None:
        return None if self.state == "absent" else CONFIG

    async def load(self, model: str, config: Mapping[str, Any] | None) -> None:
        self.orders.append("load" if config in (None, CONFIG) else "load a part")
        self.loaded = config
        if not self.load_helps:
            raise ServerUnavailable("load of model m failed in Triton: no such file")
        self.state, self.executions, self.failures = "alive", 0, 0

    async def unload(self, model: str) -> None:
        self.orders.append("unload")
        self.state = "absent"


@dataclass
class Watched:
    triton: Scripted
    tally: Tally
    watch: ModelWatch

    def look(self, times: int = 1) -> None:
        """Look as often, with the time between that the watch asks for."""
        for _ in range(times):
            pause_s = asyncio.run(self.watch.look())
            self.triton.now_s += pause_s

    def counted(self) -> dict[str, int]:
        """Give what was found, how often."""
        prefix = 'reelspace_model_looks_total{model="m",outcome="'
        lines = [line.removeprefix(prefix) for line in self.tally.text().splitlines() if line.startswith(prefix)]
        return {line.partition('"')[0]: int(line.rpartition(" ")[2]) for line in lines}

    @property
    def is_up(self) -> bool:
        return 'reelspace_model_up{model="m"} 1' in self.tally.text().splitlines()


def watched(state: str = "alive", settings: WatchSettings = SETTINGS) -> Watched:
    triton, tally = Scripted(state), Tally(["m"])
    return Watched(triton, tally, ModelWatch(triton, "m", settings, tally, triton.clock))


def test_a_dead_model_is_unloaded_and_loaded_after_two_failures_and_not_after_one() -> None:
    one = watched()
    one.look()
    assert one.is_up
    one.triton.state = "dead"
    one.look()
    assert (one.triton.orders, one.is_up) == ([], True)
    before_s = one.triton.now_s
    one.look()
    assert (one.triton.orders, one.is_up) == (["unload", "load"], False)
    assert one.triton.now_s - before_s == SETTINGS.interval_s / 4, "a repair is looked at soon"
    one.look()
    assert one.is_up
    assert one.counted() == {"answered": 2, "dead": 2}


@pytest.mark.parametrize("state", ["busy", "mixed", "full", "refusing", "loading", "away"])
def test_a_model_that_is_busy_or_not_to_blame_is_never_touched(state: str) -> None:
    one = watched()
    one.look()
    one.triton.state = state
    one.look(100)
    assert one.triton.orders == []
    assert one.is_up


@pytest.mark.parametrize(("state", "outcome"), [("dead", "dead"), ("broken", "failed"), ("failing", "failed"), ("absent", "absent")])
def test_every_loss_is_repaired_and_a_model_that_is_not_loaded_is_only_loaded(state: str, outcome: str) -> None:
    one = watched()
    one.look()
    one.triton.state = state
    one.look(3)
    assert one.triton.orders == (["load"] if state == "absent" else ["unload", "load"])
    assert one.triton.loaded == (None if state == "absent" else CONFIG), "what was loaded is loaded again"
    assert one.counted() == {"answered": 2, outcome: 2}


def test_of_two_versions_the_living_one_stays_while_the_lost_one_is_loaded_anew() -> None:
    class Two(Scripted):
        async def work(self, model: str) -> list[Work]:
            return [Work("1", self.executions, 0), Work("2", 0, 0)]

        async def probe(self, model: str, version: str) -> Reply:
            return Reply(200) if version == "1" else DEAD

        async def load(self, model: str, config: Mapping[str, Any] | None) -> None:
            assert config is not None
            self.orders.append(f"load {config['version_policy']['specific']['versions']}")

    triton, tally = Two(), Tally(["m"])
    one = Watched(triton, tally, ModelWatch(triton, "m", SETTINGS, tally, triton.clock))
    one.look(2)
    assert triton.orders == ["load [1]", "load ['1', '2']"]
    assert 'reelspace_model_up{model="m"} 0' in tally.text().splitlines()


def test_requests_of_clients_that_left_are_no_sign_of_death_where_reasons_are_not_told() -> None:
    one = watched()
    one.look()
    one.triton.state, one.triton.tells_reasons = "failing", False
    one.look(8)
    assert (one.triton.orders, one.triton.now_s < SETTINGS.silent_s) == ([], True)


def test_a_dead_process_that_meets_no_probe_is_noticed_by_the_requests_it_fails() -> None:
    class Behind(Scripted):
        async def probe(self, model: str, version: str) -> Reply:
            self.executions += 1
            return Reply(200, num_processes=2)

    triton, tally = Behind(), Tally(["m"])
    one = Watched(triton, tally, ModelWatch(triton, "m", SETTINGS, tally, triton.clock))
    one.look()
    for _ in range(2):
        assert triton.orders == []
        triton.executions += 5
        triton.failures += 1
        one.look()
    assert triton.orders == ["unload", "load"]


@pytest.mark.parametrize(("num_processes", "orders"), [(1, []), (2, ["unload", "load"])])
def test_a_dead_process_is_noticed_behind_another_one_that_answers_every_second_probe(num_processes: int, orders: list[str]) -> None:
    class Alternating(Scripted):
        async def probe(self, model: str, version: str) -> Reply:
            self.num_probes += 1
            is_good = self.num_probes % 2 == 0 or self.orders
            return replace(Reply(200) if is_good else DEAD, num_processes=num_processes)

    triton, tally = Alternating(), Tally(["m"])
    one = Watched(triton, tally, ModelWatch(triton, "m", SETTINGS, tally, triton.clock))
    one.look(20)
    assert triton.orders == orders
    assert one.is_up


def test_a_frozen_model_is_lost_only_when_nothing_was_executed_for_long() -> None:
    one = watched()
    one.look()
    one.triton.state = "frozen"
    while not one.triton.orders:
        one.look()
        assert one.triton.now_s < 2 * SETTINGS.silent_s
    assert one.triton.now_s > SETTINGS.silent_s
    assert one.counted()["busy"] >= 8


def test_a_model_that_clients_keep_at_work_is_not_probed_and_its_own_probe_is_no_client() -> None:
    one = watched()
    for _ in range(5):
        one.look()
        one.triton.executions += 1
    assert one.triton.num_probes == 1
    one.look(4)
    assert one.triton.num_probes == 4, "the last work of a client is seen once, then it is asked each time"


def test_work_beside_failures_does_not_count_as_life_since_one_process_of_several_may_be_dead() -> None:
    one = watched()
    one.look()
    one.triton.state = "dead"
    for _ in range(2):
        one.triton.executions += 1
        one.triton.failures += 1
        one.look()
    assert one.triton.orders == ["unload", "load"]


def test_repairs_that_do_not_help_come_ever_more_rarely_until_one_does() -> None:
    one = watched()
    one.look()
    one.triton.state, one.triton.load_helps = "dead", False
    at_s = []
    while one.triton.now_s < 600:
        before = len(one.triton.orders)
        one.look()
        if len(one.triton.orders) > before:
            at_s.append(one.triton.now_s)
    gaps_s = [after - before for before, after in pairwise(at_s)]
    assert gaps_s == sorted(gaps_s)
    assert SETTINGS.pause_s <= gaps_s[0] < 2 * SETTINGS.pause_s
    assert SETTINGS.max_pause_s <= gaps_s[-1] < 1.1 * SETTINGS.max_pause_s
    assert one.triton.orders[:3] == ["unload", "load", "load"]
    assert one.watch.is_given_up
    one.triton.load_helps = True
    while not one.is_up:
        one.look()
        assert one.triton.now_s < 700
    assert not one.watch.is_given_up
    one.triton.state = "dead"
    one.look(3)
    assert one.is_up, "after a repair that helped the next one does not wait"


def test_several_models_are_watched_at_once_and_a_hanging_one_holds_up_no_other() -> None:
    class Two(Scripted):
        looked = 0

        async def work(self, model: str) -> list[Work]:
            if model == "hangs":
                await asyncio.sleep(3600)
            self.looked += 1
            return await super().work(model)

    async def few(triton: Two) -> None:
        ended = asyncio.Event()

        async def sleep(_seconds: float) -> None:
            if triton.looked >= 5:
                ended.set()
            await asyncio.sleep(0)

        running = asyncio.ensure_future(Watcher(triton, ["hangs", "m"], SETTINGS, Tally(["hangs", "m"]), triton.clock).run(sleep))
        await asyncio.wait_for(ended.wait(), 5)
        running.cancel()

    triton = Two()
    asyncio.run(few(triton))
    assert triton.looked >= 5


def test_outcomes_are_good_or_lost_or_neither() -> None:
    assert not LIVES & IS_LOST
    assert set(Outcome) - LIVES - IS_LOST == {Outcome.BUSY, Outcome.LOADING, Outcome.AWAY}


def test_the_page_tells_counters_and_whether_triton_should_be_started_anew() -> None:
    tally = Tally(["m"])
    tally.looked("m", Outcome.DEAD)
    with telling(tally, "127.0.0.1", 0) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert 'reelspace_model_looks_total{model="m",outcome="dead"} 1' in client.get("/metrics").text.splitlines()
        assert 'reelspace_model_repairs_total{model="m",outcome="failed"} 0' in client.get("/metrics").text.splitlines()
        assert client.get("/livez").status_code == 200
        tally.given_up = frozenset({"m"})
        assert (client.get("/livez").status_code, client.get("/livez").text) == (503, "repairs do not help m\n")
        assert client.get("/other").status_code == 404
        assert (client.get("/readyz").status_code, client.get("/readyz").text) == (503, "no answer of m\n")
        tally.looked("m", Outcome.ANSWERED)
        assert client.get("/readyz").status_code == 503, "it is not known to live before it was found alive"
        tally.lives("m", True)
        assert client.get("/readyz").status_code == 200
        tally.looked("m", Outcome.AWAY)
        assert client.get("/readyz").status_code == 503
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}"), telling(tally, "127.0.0.1", port):
            pass


@pytest.mark.parametrize(("words", "named"), [({"--models": ","}, "--models"), ({"--triton": "127.0.0.1:8000"}, "--triton")])
def test_a_wrong_command_line_is_refused_by_its_option(words: Mapping[str, str], named: str) -> None:
    given = {"--triton": "http://127.0.0.1:1", "--models": "a,b"}
    assert parse_arguments([word for pair in given.items() for word in pair]).models == ["a", "b"]
    with pytest.raises(UserError, match=named):
        parse_arguments([word for pair in (given | words).items() for word in pair])
