"""Batches of queries that differ only in their vectors: read, searched and answered in columns, the same as one by one."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from qdrant_client.grpc import points_pb2 as p
from qdrant_client.grpc import qdrant_common_pb2 as common

from reelspace.core.errors import ReelspaceError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.messages.alike_message import alike_requests_of, read_alike
from reelspace.search.access.messages.answers import alike_answer
from reelspace.search.access.messages.call import Call
from reelspace.search.access.messages.hit_bytes import batch_bytes
from reelspace.search.access.messages.methods import dialect_methods
from reelspace.search.access.messages.query_message import queries_of
from reelspace.search.access.messages.set_fields import parse_message
from reelspace.search.access.requests import CreateCollection, VectorTarget
from reelspace.search.access.results import AlikeResult, Coverage
from reelspace.search.compute.queries import AlikeQueries
from reelspace.search.storage.ids import NO_ID, id_words
from reelspace.search.storage.layout import VectorSettings
from reelspace.search.storage.rows import VectorField

from ..oracle_shard import OracleBackend
from .worlds import TIME_S, made, running, write

FIELDS = {"": VectorField(4, "cosine"), "sound": VectorField(2, "euclid")}
VECTORS = {"": VectorSettings(dimension=4), "sound": VectorSettings(dimension=2, metric="euclid")}
RED = common.Filter(must=[{"field": {"key": "color", "match": {"keyword": "red"}}}])
QUERY_BATCH = "/qdrant.Points/QueryBatch"
CALL = Call(TIME_S, {})


def batch(vectors_QD: Any, **fields: Any) -> p.QueryBatchPoints:
    queries = [
        p.QueryPoints(collection_name="things", query={"nearest": {"dense": {"data": list(vector_D)}}}, **fields) for vector_D in vectors_QD
    ]
    return p.QueryBatchPoints(collection_name="things", query_points=queries)


def drawn(num: int, dimension: int = 4, seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal((num, dimension)).astype(np.float32)


def read(data: bytes) -> Any:
    alike = read_alike(data)
    return None if alike is None else alike_requests_of(alike, FIELDS)


def one_by_one(data: bytes) -> Any:
    return queries_of(parse_message(p.QueryBatchPoints, data), FIELDS)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"limit": 7, "offset": 3, "score_threshold": 0.25, "with_payload": {"enable": False}},
        {"filter": RED, "timeout": 4},
        {"using": "sound", "limit": 2048},
    ],
)
def test_a_batch_read_once_means_the_same_as_read_query_by_query(fields: dict[str, Any]) -> None:
    vectors_QD = drawn(9, 2 if "using" in fields else 4)
    message = batch(vectors_QD, **fields)
    message.timeout = 9
    found, expected = read(message.SerializeToString()), one_by_one(message.SerializeToString())
    assert found.vectors_QD.tolist() == vectors_QD.tolist() == [one.target.vector_D.tolist() for one in expected]
    for one in expected:
        for name in ("limit", "using", "offset", "score_threshold", "where", "selection", "allow_partial"):
            assert getattr(found.request, name) == getattr(one, name)


def changed(change: Callable[[p.QueryBatchPoints], object]) -> bytes:
    message = batch(drawn(5))
    change(message)
    return message.SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        batch(drawn(1)).SerializeToString(),
        batch(drawn(600)).SerializeToString(),
        batch(drawn(5), with_payload={"enable": True}).SerializeToString(),
        batch(drawn(5), with_vectors={"enable": True}).SerializeToString(),
        batch([[]] * 5).SerializeToString(),
        changed(lambda message: setattr(message.query_points[4], "limit", 3)),
        changed(lambda message: setattr(message.query_points[2], "collection_name", "thingz")),
        changed(lambda message: message.query_points[2].query.nearest.dense.data.append(1.0)),
        changed(lambda message: message.query_points[1].query.nearest.dense.data.__setitem__(0, float("nan"))),
        changed(lambda message: message.query_points[3].query.nearest.dense.data.__setitem__(slice(None), [0.0] * 4)),
        changed(lambda message: message.query_points[3].query.nearest.id.__setattr__("num", 7)),
        changed(lambda message: message.query_points[0].query.nearest.document.__setattr__("text", "cat")),
    ],
)
def test_what_is_not_regular_is_left_to_the_reader_of_single_queries(data: bytes) -> None:
    assert read(data) is None


def test_a_query_in_two_parts_is_left_to_the_reader_of_single_queries() -> None:
    # Whoever reads a message puts both parts together: the vector is longer than either of them.
    part = p.QueryPoints(query={"nearest": {"dense": {"data": [1.0, 2.0]}}}).SerializeToString()
    query = part + part
    data = b"".join(b"\x12" + bytes([len(query)]) + query for _ in range(4))
    assert read(data) is None
    assert [one.target.vector_D.tolist() for one in one_by_one(data)] == [[1.0, 2.0, 1.0, 2.0]] * 4


def test_a_field_that_is_not_known_is_refused_as_in_single_queries() -> None:
    query = batch(drawn(1)).query_points[0].SerializeToString() + b"\xf8\x3f\x01"
    data = b"".join(b"\x12" + bytes([len(query)]) + query for _ in range(4))
    for reader in (read, one_by_one):
        with pytest.raises(ReelspaceError, match="fields that a"):
            reader(data)


@pytest.mark.parametrize("seed", range(3))
def test_bytes_changed_at_random_mean_the_same_or_are_refused_alike(seed: int) -> None:
    draw, num_read = np.random.default_rng(seed), 0
    whole = batch(drawn(3), limit=5, filter=RED).SerializeToString()
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(draw.integers(1, 3)):
            data[draw.integers(len(data))] = draw.integers(256)
        try:
            found = read(bytes(data))
        except ReelspaceError as error:
            with pytest.raises(type(error)):
                one_by_one(bytes(data))
            continue
        if found is not None:
            num_read += 1
            expected = one_by_one(bytes(data))
            assert found.vectors_QD.tolist() == [one.target.vector_D.tolist() for one in expected]
            request = found.request
            assert {(one.limit, one.where, one.using) for one in expected} == {(request.limit, request.where, request.using)}
    assert 50 < num_read < 550


@pytest.mark.parametrize("version", [0, 1, 127, 128, 2**63])
@pytest.mark.parametrize("ids", [[[0, 1, 127], [128, 16_383, 16_384]], [[2**64 - 1, 5, 2**63], [7, None, None]], [[None] * 3] * 2])
def test_hits_written_in_columns_are_what_the_library_of_messages_writes(version: int, ids: list[list[int | None]]) -> None:
    ids_QK3 = np.array([[[NO_ID, 0, 0] if one is None else id_words([one])[0].tolist() for one in row] for row in ids], dtype=np.uint64)
    scores_QK = np.array([[0.5, -0.0, 3e38], [-1.5, 0.0, -np.inf]], dtype=np.float32)
    expected = p.QueryBatchResponse(time=0.25)
    for row, scores in zip(ids, scores_QK.tolist(), strict=True):
        hits = expected.result.add().result
        for id, score in zip(row, scores, strict=True):
            if id is not None:
                hits.add(id={"num": id}, score=score, version=version)
    assert p.QueryBatchResponse.FromString(batch_bytes(ids_QK3, scores_QK, version, 0.25)) == expected


def test_ids_that_are_no_numbers_are_answered_as_messages() -> None:
    ids = [5, UUID(int=6)]
    words_QK3 = np.concatenate([id_words(ids), [[NO_ID, 0, 0]]]).astype(np.uint64)[None]
    answer = alike_answer(AlikeResult(words_QK3, np.array([[2.0, 1.0, -np.inf]], np.float32), Coverage(2, 2, (3,))), 0.5)
    (found,) = answer.result
    assert [(hit.id.num or UUID(hit.id.uuid), hit.score, hit.version) for hit in found.result] == [(5, 2.0, 3), (UUID(int=6), 1.0, 3)]


async def filled(catalog: Any) -> CollectionService:
    service = await made(catalog, request=CreateCollection(VECTORS, 3))
    rows = zip(drawn(40, 4, seed=2).tolist(), drawn(40, 2, seed=3).tolist(), strict=True)
    points = [
        {"id": number, "vector": {"": one, "sound": other}, "payload": {"color": "red" if number % 5 == 0 else "blue"}}
        for number, (one, other) in enumerate(rows)
    ]
    await service.write(write(service, {"upsert": {"points": points}}), TIME_S)
    return service


@pytest.mark.parametrize(
    ("fields", "is_quick"),
    [
        ({"limit": 6, "offset": 2, "filter": RED}, False),
        ({"using": "sound", "score_threshold": 0.9}, True),
        ({"score_threshold": 0.6}, False),
    ],
)
def test_a_batch_is_answered_as_its_queries_one_by_one(tmp_path: Path, fields: dict[str, Any], is_quick: bool) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)
    message = batch(drawn(150, 2 if "using" in fields else 4), **fields)

    async def run() -> None:
        async with running(store, backend) as catalog:
            service = await filled(catalog)
            shards = backend.shards[service.collection.full_name]
            for shard in shards:
                shard.is_quick = is_quick
                shard.calls.clear()
            answer = p.QueryBatchResponse.FromString(await dialect_methods(lambda: catalog)[QUERY_BATCH](message.SerializeToString(), CALL))
            calls = [call for call in shards[0].calls if isinstance(call, AlikeQueries)]
            assert [len(call) for call in calls] == [64, 64, 22]
            expected = await service.query_batch(queries_of(message, service.fields), TIME_S)
            assert len(answer.result) == len(expected) == 150
            for found, one in zip(answer.result, expected, strict=True):
                assert [hit.id.num for hit in found.result] == list(one.ids)
                assert [hit.score for hit in found.result] == np.float32(one.scores).tolist()
            assert len({len(one.ids) for one in expected}) > 1 or "score_threshold" not in fields

    asyncio.run(run())


def test_queries_of_single_targets_and_of_batches_answer_beside_each_other(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    vectors_QD = drawn(30)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await filled(catalog)
            requests = queries_of(batch(vectors_QD, limit=4), service.fields)
            assert all(isinstance(request.target, VectorTarget) for request in requests)
            method = dialect_methods(lambda: catalog)[QUERY_BATCH]
            asked = [method(batch(vectors_QD[start : start + 10], limit=4).SerializeToString(), CALL) for start in (0, 10, 20)]
            singles = [service.query(request, TIME_S) for request in requests]
            *batches, first = await asyncio.gather(*asked, singles[0])
            others = await asyncio.gather(*singles[1:])
            found = [[hit.id.num for hit in one.result] for data in batches for one in p.QueryBatchResponse.FromString(data).result]
            assert found == [list(one.ids) for one in (first, *others)]

    asyncio.run(run())
