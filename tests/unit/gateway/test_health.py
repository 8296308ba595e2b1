"""Living, having started and being ready are three things."""

import asyncio

from fastapi import FastAPI
from fastapi.testclient import TestClient

from reelspace.core.errors import ServerUnavailable
from reelspace.gateway.health import Health, add_health

PATHS = ("/livez", "/healthz", "/startupz", "/readyz")


def test_probes_answer_by_the_table() -> None:
    problem: list[str] = ["collection things: shards [1] failed"]

    async def probe(timeout_s: float) -> None:
        await asyncio.sleep(0)
        if problem:
            raise ServerUnavailable(problem[0])

    health = Health(probe, 1.0)
    public, operators = FastAPI(), FastAPI()
    add_health(public, health, tells=False)
    add_health(operators, health, tells=True)

    def statuses() -> tuple[int, ...]:
        return tuple(TestClient(public).get(path).status_code for path in PATHS)

    assert statuses() == (200, 200, 503, 503), "loading"
    assert TestClient(public).get("/readyz").json() == {"status": {"error": "not ready"}}
    assert TestClient(operators).get("/readyz").json() == {"status": {"error": "collection things: shards [1] failed"}}
    problem.clear()
    assert statuses() == (200, 200, 200, 200), "ready"
    problem.append("the store is away")
    assert statuses() == (200, 200, 200, 503), "a dependency is out"
    problem.clear()
    assert statuses() == (200, 200, 200, 200), "it is back"
    health.drain()
    assert statuses() == (200, 200, 200, 503), "ending"
    assert "ending" in TestClient(operators).get("/readyz").text


def test_probes_that_come_together_make_the_shards_work_once() -> None:
    asked = []

    async def probe(timeout_s: float) -> None:
        asked.append(timeout_s)
        await asyncio.sleep(0.01)

    async def ask() -> list[str | None]:
        health = Health(probe, 1.0)
        found = await asyncio.gather(*(health.hindrance() for _ in range(50)))
        return [*found, await health.hindrance()]

    assert asyncio.run(ask()) == [None] * 51
    assert asked == [1.0, 1.0]
