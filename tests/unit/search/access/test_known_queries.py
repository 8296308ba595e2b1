"""Queries that came before with another vector: looked up by the bytes around it, and the same as if they were read."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client.grpc import points_pb2 as p
from qdrant_client.grpc import qdrant_common_pb2 as common

from reelspace.core.errors import ReelspaceError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.messages import point_methods
from reelspace.search.access.messages.call import Call
from reelspace.search.access.messages.known_queries import MAX_KNOWN, KnownQueries, KnownQuery
from reelspace.search.access.messages.methods import dialect_methods, dialect_methods_now
from reelspace.search.access.messages.query_message import query_of, with_vector
from reelspace.search.access.messages.set_fields import parse_message
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import CreateCollection
from reelspace.search.storage.layout import VectorSettings
from reelspace.search.storage.rows import VectorField

from ..oracle_shard import OracleBackend
from .worlds import TIME_S, made, points, running, write

FIELDS = {"": VectorField(4, "cosine"), "sound": VectorField(2, "euclid")}
RED = common.Filter(must=[{"field": {"key": "color", "match": {"keyword": "red"}}}])
QUERY = "/qdrant.Points/Query"
CALL = Call(TIME_S, {})


def query(vector_D: Any, **fields: Any) -> bytes:
    message: bytes = p.QueryPoints(
        collection_name="things", query={"nearest": {"dense": {"data": list(vector_D)}}}, **fields
    ).SerializeToString()
    return message


def read(data: bytes) -> Any:
    return query_of(parse_message(p.QueryPoints, data), FIELDS)


def learned(*messages: bytes) -> KnownQueries:
    known = KnownQueries()
    for data in messages:
        message = parse_message(p.QueryPoints, data)
        known.learn(data, KnownQuery(message, FIELDS, query_of(message, FIELDS)))
    return known


def meaning(request: Any) -> Any:
    names = ("limit", "place", "using", "offset", "score_threshold", "where", "selection", "allow_partial")
    return request.target.vector_D.tolist(), *(getattr(request, name) for name in names)


@pytest.mark.parametrize(
    "fields", [{}, {"limit": 7, "filter": RED, "with_payload": {"enable": True}}, {"using": "sound", "timeout": 3}], ids=str
)
def test_a_query_like_one_before_means_what_it_says(fields: dict[str, Any]) -> None:
    dimension = 2 if "using" in fields else 4
    known = learned(query([1.0] * 4), query([1.0] * dimension, **fields), query([1.0] * 4, limit=99))
    data = query([0.5, -2.0, 3.0, 4.0][:dimension], **fields)
    found = known.find(data)
    assert found is not None
    assert meaning(with_vector(found.known.request, found.vector_D, FIELDS)) == meaning(read(data))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, 3e38])
def test_the_vector_of_a_known_query_is_checked(bad: float) -> None:
    found = learned(query([1.0] * 4)).find(query([bad] * 4))
    assert found is not None
    with pytest.raises(RequestRefused) as expected:
        read(query([bad] * 4))
    with pytest.raises(RequestRefused) as told:
        with_vector(found.known.request, found.vector_D, FIELDS)
    assert str(told.value) == str(expected.value)


@pytest.mark.parametrize("seed", range(3))
def test_bytes_changed_at_random_are_unknown_or_mean_what_they_say(seed: int) -> None:
    draw, num_found = np.random.default_rng(seed), 0
    whole = query([1.0, 2.0, 3.0, 4.0], limit=5, filter=RED)
    known = learned(whole, query([1.0, 2.0, 3.0, 4.0], limit=6, filter=RED), query([1.0] * 4))
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(draw.integers(1, 3)):
            data[draw.integers(len(data))] = draw.integers(256)
        if draw.random() < 0.1:
            del data[draw.integers(len(data))]
        found = known.find(bytes(data))
        if found is None:
            continue
        num_found += 1
        try:
            expected = meaning(read(bytes(data)))
        except ReelspaceError as error:
            with pytest.raises(type(error), match=r"query\.nearest"):
                with_vector(found.known.request, found.vector_D, FIELDS)
        else:
            assert meaning(with_vector(found.known.request, found.vector_D, FIELDS)) == expected
    assert 30 < num_found < 500


def test_what_has_no_vector_of_its_own_is_not_remembered_and_the_rest_within_bounds() -> None:
    part = p.QueryPoints(query={"nearest": {"dense": {"data": [1.0, 2.0]}}}).SerializeToString()
    point = p.QueryPoints(collection_name="things", query={"nearest": {"id": {"num": 3}}}).SerializeToString()
    for data in (part + part, point):
        assert learned(data).find(data) is None
    many = [query([1.0] * 4, limit=1 + number) for number in range(MAX_KNOWN + 5)]
    known = learned(*many)
    assert known.find(many[-1]) is not None
    assert known.find(many[0]) is None


def test_a_name_that_means_another_collection_is_read_again_and_known_queries_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def run() -> None:
        async with running(store, backend) as catalog:
            methods, now = dialect_methods(lambda: catalog)[QUERY], dialect_methods_now(lambda: catalog)[QUERY]
            service = await made(catalog)
            await service.write(write(service, points(*range(5))), TIME_S)
            for shard in backend.shards[service.collection.full_name]:
                shard.is_quick = True

            async def nearest(at: float) -> list[list[int]]:
                answers = [await methods(query([at, 0.0], limit=2), CALL), now(query([at, 0.0], limit=2), CALL)]
                return [[hit.id.num for hit in p.QueryResponse.FromString(answer or b"").result] for answer in answers]

            assert await nearest(3.2) == [[3, 4], [3, 4]]
            with monkeypatch.context() as patched:
                patched.setattr(point_methods, "parse_message", lambda *_: pytest.fail("it was read"))
                assert await nearest(1.2) == [[1, 2], [1, 2]]
            await catalog.delete("things", TIME_S)
            wide = CreateCollection({"": VectorSettings(dimension=4)}, 1)
            await made(catalog, request=wide)
            with pytest.raises(RequestRefused, match="expected a vector of length 4, got 2"):
                await methods(query([1.2, 0.0], limit=2), CALL)

    asyncio.run(run())
