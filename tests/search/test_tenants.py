"""Two tenants with keys of their own on one server: neither sees, counts, changes or hears of what is the other's."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from qdrant_client import grpc as messages

from .keyed_server import Connection, KeyedServer, Tenant, keyed_server

TENANTS = (Tenant("a", ("a-one", "a-two")), Tenant("b", ("b-one", "b-two")))
OTHER = {"a": "b", "b": "a"}
MARKS = {name: f"{name * 8}-" for name in OTHER}
"""How the ids of a tenant start; they stand in his payloads, too."""
COLORS = ("red", "green", "blue")
NUM_IDS = 60
DIMENSION = 4
VECTORS = {"size": DIMENSION, "distance": "Euclid"}
NUM_STREAMS = 4


def vector_of(seed: int) -> NDArray[np.float32]:
    """The same vectors for all: what leaks would be near."""
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


@dataclass
class Row:
    """What a row holds."""

    vector_D: NDArray[np.float32]
    color: str


@dataclass
class Stream:
    """Random requests of one tenant to one collection of his, compared with a dict; and to what is not his."""

    server: KeyedServer
    tenant: str
    collection: str
    draw: random.Random
    rows: dict[str, Row] = field(default_factory=dict)
    num_done: int = 0
    num_refused: int = 0

    def run(self, num: int) -> None:
        """Send so many requests, one after the other."""
        with Connection(self.server, self.tenant) as self.http, closing(grpc.insecure_channel(self.server.grpc)) as self.channel:
            self.http.ask("PUT", f"/collections/{self.collection}", {"vectors": VECTORS})
            own: list[Callable[[], None]] = [self.upsert, self.delete, self.query, self.scroll, self.count, self.look_up, self.over_grpc]
            others: list[Callable[[], None]] = [self.knock, self.knock_over_grpc, self.ask_near_anothers_row, self.list_all]
            for _ in range(num):
                self.draw.choice(own if self.draw.random() < 0.8 else others)()
                self.num_done += 1

    def upsert(self) -> None:
        points = []
        for number in self.draw.sample(range(NUM_IDS), self.draw.randint(1, 5)):
            seed, color = self.draw.randrange(100), self.draw.choice(COLORS)
            self.rows[self.id_of(number)] = Row(vector_of(seed), color)
            payload = {"color": color, "owner": MARKS[self.tenant]}
            points.append({"id": self.id_of(number), "vector": vector_of(seed).tolist(), "payload": payload})
        self.ask("PUT", "/points?wait=true", {"points": points})

    def delete(self) -> None:
        if self.draw.random() < 0.2:
            color = self.draw.choice(COLORS)
            self.rows = {id: row for id, row in self.rows.items() if row.color != color}
            self.ask("POST", "/points/delete?wait=true", {"filter": only(color)})
            return
        ids = [self.id_of(number) for number in self.draw.sample(range(NUM_IDS), 2)]
        self.rows = {id: row for id, row in self.rows.items() if id not in ids}
        self.ask("POST", "/points/delete?wait=true", {"points": ids})

    def query(self) -> None:
        vector_D, color = vector_of(self.draw.randrange(100)), self.draw.choice([None, *COLORS])
        body = {"query": vector_D.tolist(), "limit": NUM_IDS * 4, "with_payload": True} | ({"filter": only(color)} if color else {})
        points = self.ask("POST", "/points/query", body)["points"]
        assert {point["id"] for point in points} == self.expected(color)
        for point in points:
            assert point["score"] == pytest.approx(np.linalg.norm(self.rows[point["id"]].vector_D - vector_D), abs=1e-3)

    def scroll(self) -> None:
        points = self.ask("POST", "/points/scroll", {"limit": NUM_IDS * 4, "with_vector": True})["points"]
        assert {point["id"] for point in points} == set(self.rows)
        for point in points:
            assert np.array_equal(np.array(point["vector"], np.float32), self.rows[point["id"]].vector_D)

    def count(self) -> None:
        color = self.draw.choice([None, *COLORS])
        body = {"filter": only(color)} if color else {}
        assert self.ask("POST", "/points/count", body)["count"] == len(self.expected(color))

    def look_up(self) -> None:
        numbers = self.draw.sample(range(NUM_IDS), 3)
        # The other's rows of the same numbers are asked for, too.
        asked = [id for number in numbers for id in (self.id_of(number), self.id_of(number, OTHER[self.tenant]))]
        found = self.ask("POST", "/points", {"ids": asked})
        assert {point["id"] for point in found} == set(asked) & set(self.rows)

    def over_grpc(self) -> None:
        count = self.call("Count", messages.CountPoints(collection_name=self.collection, exact=True), messages.CountResponse)
        assert count.result.count == len(self.rows)
        request = messages.ScrollPoints(collection_name=self.collection, limit=NUM_IDS * 4)
        found = self.call("Scroll", request, messages.ScrollResponse)
        assert {point.id.uuid for point in found.result} == set(self.rows)

    def knock(self) -> None:
        """Ask for what is the other's, and for what nobody has: the answers are one."""
        method, path, body = self.draw.choice(
            [
                ("POST", "/points/query", {"query": [0.0] * DIMENSION}),
                ("POST", "/points/scroll", {}),
                ("POST", "/points/count", {}),
                ("POST", "/points/delete?wait=true", {"filter": {}}),
                ("PUT", "/points?wait=true", {"points": [{"id": self.id_of(0), "vector": [0.0] * DIMENSION}]}),
                ("GET", "", None),
                ("GET", "/exists", None),
                ("DELETE", "", None),
            ]
        )
        theirs = self.draw.choice(next(one.collections for one in TENANTS if one.name != self.tenant))
        answers = [self.http.send(method, f"/collections/{name}{path}", body) for name in (theirs, "nobodys")]
        texts = [orjson.loads(data)["status"]["error"] for _, data in answers]
        assert [status for status, _ in answers] == [403, 403]
        assert texts[0] == texts[1]
        self.num_refused += 1

    def knock_over_grpc(self) -> None:
        errors = []
        for name in (f"{OTHER[self.tenant]}-one", "nobodys"):
            with pytest.raises(grpc.RpcError) as refused:
                self.call("Scroll", messages.ScrollPoints(collection_name=name), messages.ScrollResponse)
            errors.append((refused.value.code(), refused.value.details()))
        assert errors[0] == errors[1]
        assert errors[0][0] == grpc.StatusCode.PERMISSION_DENIED
        self.num_refused += 1

    def ask_near_anothers_row(self) -> None:
        """Ask in the own collection for what is near a row of the other's, and near a row of nobody's: the answers are one."""
        theirs, nobodys = self.id_of(self.draw.randrange(NUM_IDS), OTHER[self.tenant]), str(UUID(int=self.draw.getrandbits(100)))
        path = f"/collections/{self.collection}/points/query"
        answers = [self.http.send("POST", path, {"query": id}) for id in (theirs, nobodys)]
        assert [status for status, _ in answers] == [404, 404]
        texts = [orjson.loads(data)["status"]["error"] for _, data in answers]
        assert texts[0].replace(theirs, "") == texts[1].replace(nobodys, "")
        self.num_refused += 1

    def list_all(self) -> None:
        names = {one["name"] for one in self.http.ask("GET", "/collections")["collections"]}
        assert self.collection in names
        assert names <= set(next(one.collections for one in TENANTS if one.name == self.tenant))

    def ask(self, method: str, path: str, body: object) -> Any:
        """Ask the own collection; nothing of an answer bears the other's mark."""
        status, data = self.http.send(method, f"/collections/{self.collection}{path}", body)
        assert status == 200, (status, data)
        assert MARKS[OTHER[self.tenant]].encode() not in data
        return orjson.loads(data)["result"]

    def call(self, method: str, request: Any, answer: Any) -> Any:
        call = self.channel.unary_unary(f"/qdrant.Points/{method}", type(request).SerializeToString, answer.FromString)
        return call(request, timeout=30, metadata=[("api-key", self.server.secrets[self.tenant])])

    def id_of(self, number: int, tenant: str | None = None) -> str:
        return f"{MARKS[tenant or self.tenant]}0000-0000-0000-{number:012d}"

    def expected(self, color: str | None) -> set[str]:
        return {id for id, row in self.rows.items() if color in (None, row.color)}


def only(color: str) -> dict[str, Any]:
    return {"must": [{"key": "color", "match": {"value": color}}]}


def check_tenants(folder: Path, num_requests: int) -> None:
    draw = random.Random(seed := random.randrange(10**9))
    with keyed_server(folder, TENANTS) as server:
        streams = [Stream(server, one.name, name, random.Random(draw.random())) for one in TENANTS for name in one.collections]
        with ThreadPoolExecutor(NUM_STREAMS) as pool:
            for running in [pool.submit(stream.run, num_requests // NUM_STREAMS) for stream in streams]:
                running.result()
        log = server.log.read_text()
    num_done, num_refused = (sum(getattr(stream, name) for stream in streams) for name in ("num_done", "num_refused"))
    print(f"seed {seed}: {num_done} requests of two tenants, {num_refused} of them for what is the other's; nothing crossed")
    assert num_done == num_requests
    assert log.count("\n") > num_requests / 2
    for mark in (*MARKS.values(), *server.secrets.values()):
        assert mark not in log


@pytest.mark.journey
def test_two_tenants_see_count_change_and_hear_of_nothing_that_is_the_others(tmp_path: Path) -> None:
    check_tenants(tmp_path, 2000)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_100000_requests_of_two_tenants_cross_nowhere(tmp_path: Path) -> None:
    check_tenants(tmp_path, 100_000)
