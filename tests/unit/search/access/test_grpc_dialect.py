"""The official client over gRPC on a gateway over oracle shards, against its own memory; and messages that it never sends."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client import models as m
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.grpc import collections_pb2 as c
from qdrant_client.grpc import points_pb2 as p

from reelspace.core.local_store import LocalStore
from reelspace.search.access.fanout import Overloaded

from .grpc_serving import Served, serving_both
from .histories import NAME, NAMED, SINGLE, Do, History, alike, plain


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_both(LocalStore(tmp_path_factory.mktemp("store"))) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[QdrantClient]:
    client = QdrantClient(host="127.0.0.1", grpc_port=served.port, prefer_grpc=True, check_compatibility=False, timeout=20)
    yield client
    for one in client.get_collections().collections:
        client.delete_collection(one.name)
    client.close()


def outcome(do: Do, client: QdrantClient) -> Any:
    try:
        return without_empty(plain(do(client)))
    except grpc.RpcError as error:
        if error.code() not in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
            raise
    except (ValueError, KeyError):
        pass
    return None


def without_empty(answer: Any) -> Any:
    """Take no payload and an empty one as the same: messages cannot tell them apart."""
    if isinstance(answer, dict):
        return {name: without_empty(one) for name, one in answer.items() if not (name == "payload" and not one)}
    return [without_empty(one) for one in answer] if isinstance(answer, list) else answer


def compare(client: QdrantClient, seed: int, num_operations: int, vectors: Any) -> int:
    memory = QdrantClient(":memory:")
    for one in (client, memory):
        one.create_collection(NAME, vectors_config=vectors, shard_number=1 + seed % 3)
    history, num_answered = History(seed, vectors), 0
    for step in range(num_operations):
        do = history.operation()
        own, expected = outcome(do, client), outcome(do, memory)
        assert alike(own, expected), (seed, step, own, expected)
        num_answered += expected is not None
    memory.close()
    return num_answered


@pytest.mark.parametrize(("seed", "vectors"), [(11, SINGLE), (12, NAMED)])
def test_a_random_history_is_answered_as_the_official_client_answers_it(client: QdrantClient, seed: int, vectors: Any) -> None:
    assert compare(client, seed, 120, vectors) > 60


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200, 240))
def test_many_random_histories_are_answered_as_the_official_client_answers_them(client: QdrantClient, seed: int) -> None:
    assert compare(client, seed, 300, SINGLE if seed % 2 else NAMED) > 150


def test_collections_aliases_and_indexed_keys_are_made_described_and_deleted(client: QdrantClient) -> None:
    assert client.create_collection("one", vectors_config=SINGLE, shard_number=2)
    assert client.create_collection("many", vectors_config=NAMED)
    assert {one.name for one in client.get_collections().collections} == {"one", "many"}
    assert client.collection_exists("one")
    assert not client.collection_exists("none")
    aliases = [m.CreateAlias(collection_name="one", alias_name="first"), m.CreateAlias(collection_name="many", alias_name="second")]
    renaming = m.RenameAliasOperation(rename_alias=m.RenameAlias(old_alias_name="second", new_alias_name="all"))
    assert client.update_collection_aliases([*(m.CreateAliasOperation(create_alias=one) for one in aliases), renaming])
    assert client.update_collection_aliases([m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name="first"))])
    assert [(one.alias_name, one.collection_name) for one in client.get_aliases().aliases] == [("all", "many")]
    assert client.get_collection_aliases("one").aliases == []
    assert client.create_payload_index("one", "year", m.PayloadSchemaType.INTEGER).status == m.UpdateStatus.COMPLETED
    client.create_payload_index("one", "kind", m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD))
    client.upsert("one", [m.PointStruct(id=1, vector=[1, 2, 3, 4], payload={"year": 1999})])
    info = client.get_collection("one")
    assert (info.status, info.points_count, info.segments_count) == (m.CollectionStatus.GREEN, 1, 2)
    assert info.config.params.vectors == m.VectorParams(size=4, distance=m.Distance.COSINE)
    schema = {key: (one.data_type, one.points) for key, one in info.payload_schema.items()}
    assert schema == {"year": (m.PayloadSchemaType.INTEGER, 1), "kind": (m.PayloadSchemaType.KEYWORD, 0)}
    assert client.delete_payload_index("one", "kind").status == m.UpdateStatus.COMPLETED
    assert list(client.get_collection("one").payload_schema) == ["year"]
    assert client.get_collection("all").config.params.vectors == NAMED
    assert client.delete_collection("one")
    assert not client.collection_exists("one")


def test_the_asynchronous_client_is_answered_too(served: Served, client: QdrantClient) -> None:
    async def run() -> None:
        other = AsyncQdrantClient(host="127.0.0.1", grpc_port=served.port, prefer_grpc=True, check_compatibility=False)
        await other.create_collection(NAME, vectors_config=SINGLE)
        points = [m.PointStruct(id=number, vector=[1, number, 0, 0], payload={"number": number}) for number in range(20)]
        await other.upsert(NAME, points)
        requests = [m.QueryRequest(query=[1.0, number, 0, 0], limit=1, with_payload=True) for number in range(20)]
        answers = await other.query_batch_points(NAME, requests)
        assert [answer.points[0].payload for answer in answers] == [{"number": number} for number in range(20)]
        assert (await other.count(NAME)).count == 20
        assert (await other.info()).title == "reelspace"
        await other.close()

    asyncio.run(run())


def test_a_write_without_waiting_is_acknowledged_and_one_with_completed(client: QdrantClient) -> None:
    client.create_collection(NAME, vectors_config=SINGLE)
    point = [m.PointStruct(id=1, vector=[1, 2, 3, 4])]
    assert client.upsert(NAME, point, wait=False).status == m.UpdateStatus.ACKNOWLEDGED
    assert client.upsert(NAME, point, wait=True).status == m.UpdateStatus.COMPLETED


def test_both_faces_of_a_gateway_serve_the_same_rows_and_count_together(served: Served, client: QdrantClient) -> None:
    client.create_collection(NAME, vectors_config=SINGLE)
    client.upsert(NAME, [m.PointStruct(id=1, vector=[1, 2, 3, 4], payload={"a": 1})])
    over_http = QdrantClient(url=served.url, check_compatibility=False)
    rows = [one.retrieve(NAME, [1], with_vectors=True) for one in (over_http, client)]
    assert alike(plain(rows[0]), plain(rows[1])), rows
    assert plain(over_http.get_collection(NAME).config.params) == plain(client.get_collection(NAME).config.params)
    over_http.close()
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    assert any(line.startswith('reelspace_requests_total{method="gRPC",route="/qdrant.Points/Upsert",status="OK"}') for line in lines)
    assert any(line.startswith('reelspace_request_seconds_count{route="/qdrant.Points/Get"}') for line in lines)


def test_payloads_come_back_as_json_has_them(client: QdrantClient) -> None:
    client.create_collection(NAME, vectors_config=SINGLE)
    payload = {
        "int": [2**63 - 1, -(2**63), 0],
        "float": [1.0, -0.5, 1e300],
        "text": "猫\0",
        "none": None,
        "flags": [True, False],
        "": {"": []},
    }
    client.upsert(NAME, [m.PointStruct(id=1, vector=[1, 2, 3, 4], payload=payload)])
    found = client.retrieve(NAME, [1])[0].payload
    assert found == payload
    assert found is not None
    assert [type(one) for one in found["float"]] == [float, float, float]


def called(served: Served, name: str, message: Any, answer: Any = p.PointsOperationResponse, **more: Any) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        return answer.FromString(channel.unary_unary(f"/qdrant.{name}")(message, timeout=10, **more))


def refused(served: Served, name: str, message: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as failed:
        called(served, name, message if isinstance(message, bytes) else message.SerializeToString())
    return failed.value.code().name, failed.value.details()


def query(**more: Any) -> p.QueryPoints:
    message = p.QueryPoints(collection_name=NAME, **more)
    if not message.HasField("query"):
        message.query.nearest.dense.data.extend([1, 2, 3, 4])
    return message


def nearest(**one: Any) -> p.Query:
    return p.Query(nearest=p.VectorInput(**one))


def upsert(*vectors: p.Vectors, **more: Any) -> p.UpsertPoints:
    points = [p.PointStruct(id={"num": number}, vectors=vector) for number, vector in enumerate(vectors)]
    return p.UpsertPoints(collection_name=NAME, points=points, **more)


def dense(*data: float) -> p.Vectors:
    return p.Vectors(vector=p.Vector(dense=p.DenseVector(data=data)))


NAN, ONE = float("nan"), p.PointsSelector(points=p.PointsIdsList(ids=[{"num": 1}]))
DEEP = query().SerializeToString() + b"\x2a\x00"
BAD: dict[str, tuple[str, Any, str, str]] = {
    "cut": ("Points/Query", query().SerializeToString()[:-2], "INVALID_ARGUMENT", "message: expected a message qdrant.QueryPoints"),
    "random": ("Points/Query", b"\xff\xfe\xfd", "INVALID_ARGUMENT", "message: expected a message"),
    "unknown field": ("Points/Query", query().SerializeToString() + b"\xa2\x06\x01x", "INVALID_ARGUMENT", "message: it has fields"),
    "wrong wire type": ("Points/Query", query().SerializeToString() + b"\x42\x01x", "INVALID_ARGUMENT", "message: it has fields"),
    "no collection": ("Points/Query", p.QueryPoints(collection_name="none"), "NOT_FOUND", "collection: Collection `none`"),
    "no query": ("Points/Query", p.QueryPoints(collection_name=NAME), "INVALID_ARGUMENT", "query: missing"),
    "empty query": ("Points/Query", query(query=p.Query()), "INVALID_ARGUMENT", "query: expected one kind"),
    "nan": ("Points/Query", query(query=nearest(dense={"data": [1, NAN, 3, 4]})), "INVALID_ARGUMENT", "query[1]: expected a finite"),
    "short": ("Points/Query", query(query=nearest(dense={"data": [1]})), "INVALID_ARGUMENT", "query: expected a vector of length 4, got 1"),
    "zero": ("Points/Query", query(query=nearest(dense={"data": [0] * 4})), "INVALID_ARGUMENT", "query: expected a vector that is not all"),
    "sparse": (
        "Points/Query",
        query(query=nearest(sparse={"values": [1], "indices": [1]})),
        "UNIMPLEMENTED",
        "query.sparse: sparse vectors",
    ),
    "several": ("Points/Query", query(query=nearest(multi_dense={})), "UNIMPLEMENTED", "query.multi_dense: several vectors"),
    "image": ("Points/Query", query(query=nearest(image={"model": "x"})), "UNIMPLEMENTED", "query.image"),
    "unknown point": ("Points/Query", query(query=nearest(id={"num": 77})), "NOT_FOUND", "query: no point with id 77"),
    "no uuid": ("Points/Query", query(query=nearest(id={"uuid": "x"})), "INVALID_ARGUMENT", "query: expected a whole number or a UUID"),
    "empty id": ("Points/Query", query(query=nearest(id={})), "INVALID_ARGUMENT", "query: expected one kind"),
    "fusion": ("Points/Query", query(query=p.Query(fusion=p.RRF)), "UNIMPLEMENTED", "query.fusion"),
    "strategy": ("Points/Query", query(query=p.Query(recommend={"strategy": 1})), "UNIMPLEMENTED", "query.recommend.strategy"),
    "limit 0": ("Points/Query", query(limit=0), "INVALID_ARGUMENT", "limit: expected a whole number from 1 to 2048, got 0"),
    "limit 2^63": ("Points/Query", query(limit=2**63), "INVALID_ARGUMENT", "limit: expected"),
    "timeout 0": ("Points/Query", query(timeout=0), "INVALID_ARGUMENT", "timeout: expected seconds above 0"),
    "timeout 10^9": ("Points/Query", query(timeout=10**9), "INVALID_ARGUMENT", "timeout: expected seconds above 0"),
    "using": ("Points/Query", query(using="x"), "INVALID_ARGUMENT", "using: expected the name of a vector"),
    "exact": ("Points/Query", query(params={"exact": True}), "UNIMPLEMENTED", "params.exact"),
    "prefetch": ("Points/Query", query(prefetch=[{}]), "UNIMPLEMENTED", "prefetch is not served here"),
    "consistency": ("Points/Query", query(read_consistency={"factor": 1}), "UNIMPLEMENTED", "read_consistency"),
    "lookup": ("Points/Query", query(lookup_from={}), "UNIMPLEMENTED", "lookup_from"),
    "shard key": ("Points/Query", query(shard_key_selector={}), "UNIMPLEMENTED", "shard_key_selector"),
    "no selector": ("Points/Query", query(with_payload={}), "INVALID_ARGUMENT", "with_payload: expected one kind"),
    "batch": (
        "Points/QueryBatch",
        p.QueryBatchPoints(collection_name=NAME, query_points=[query(), query(limit=0)]),
        "INVALID_ARGUMENT",
        "searches[1].limit: expected",
    ),
    "empty batch": ("Points/QueryBatch", p.QueryBatchPoints(collection_name=NAME), "INVALID_ARGUMENT", "searches: expected 1 to 512"),
    "two collections": (
        "Points/QueryBatch",
        p.QueryBatchPoints(collection_name=NAME, query_points=[p.QueryPoints(collection_name="x")]),
        "INVALID_ARGUMENT",
        "searches[0].collection_name: expected 'things' as around it",
    ),
    "groups": (
        "Points/QueryGroups",
        p.QueryPointGroups(collection_name=NAME, query=query().query),
        "INVALID_ARGUMENT",
        "group_by: missing",
    ),
    "no points": ("Points/Upsert", upsert(), "INVALID_ARGUMENT", "points: expected 1 to 10000"),
    "one bad of many": ("Points/Upsert", upsert(dense(1, 2, 3, 4), dense(1, 2)), "INVALID_ARGUMENT", "points[1].vector: expected a vector"),
    "infinite": ("Points/Upsert", upsert(dense(1, 2, 3, float("inf"))), "INVALID_ARGUMENT", "points[0].vector[3]: expected a finite"),
    "text": ("Points/Upsert", upsert(p.Vectors(vector={"document": {"text": "x"}})), "UNIMPLEMENTED", "points[0].vectors: embedding on"),
    "no vectors": ("Points/Upsert", upsert(p.Vectors()), "INVALID_ARGUMENT", "points[0].vectors: expected one kind"),
    "old sparse": ("Points/Upsert", upsert(p.Vectors(vector={"data": [1], "indices": {}})), "UNIMPLEMENTED", "points[0].vectors: sparse"),
    "strong": ("Points/Upsert", upsert(dense(1, 2, 3, 4), ordering={"type": 2}), "UNIMPLEMENTED", "ordering: an ordering other than weak"),
    "conditional": ("Points/Upsert", upsert(dense(1, 2, 3, 4), update_filter={}), "UNIMPLEMENTED", "update_filter is not served here"),
    "nan in payload": (
        "Points/SetPayload",
        p.SetPayloadPoints(collection_name=NAME, payload={"a": {"double_value": NAN}}, points_selector=ONE),
        "INVALID_ARGUMENT",
        "payload: expected finite numbers, got nan",
    ),
    "delete all": (
        "Points/Delete",
        p.DeletePoints(collection_name=NAME, points={"filter": {}}),
        "INVALID_ARGUMENT",
        "filter: an empty filter",
    ),
    "delete nothing": ("Points/Delete", p.DeletePoints(collection_name=NAME), "INVALID_ARGUMENT", "points: expected either"),
    "update vectors": (
        "Points/UpdateBatch",
        p.UpdateBatchPoints(collection_name=NAME, operations=[{"update_vectors": {}}]),
        "UNIMPLEMENTED",
        "operations[0].update_vectors is not served here",
    ),
    "order by": ("Points/Scroll", p.ScrollPoints(collection_name=NAME, order_by={"key": "a"}), "UNIMPLEMENTED", "order_by"),
    "nested": (
        "Points/Count",
        p.CountPoints(collection_name=NAME, filter={"must": [{"nested": {"key": "a"}}]}),
        "UNIMPLEMENTED",
        "filter.must[0].nested: the condition nested is not served here",
    ),
    "old search": ("Points/Search", p.SearchPoints(collection_name=NAME), "UNIMPLEMENTED", "qdrant.Points/Search is not served here"),
    "snapshots": ("Snapshots/List", b"", "UNIMPLEMENTED", "qdrant.Snapshots/List is not served here"),
    "no vectors config": ("Collections/Create", c.CreateCollection(collection_name="x"), "INVALID_ARGUMENT", "vectors: missing"),
    "manhattan": (
        "Collections/Create",
        c.CreateCollection(collection_name="x", vectors_config={"params": {"size": 4, "distance": c.Manhattan}}),
        "UNIMPLEMENTED",
        "vectors.distance: the distance Manhattan",
    ),
    "replicas": (
        "Collections/Create",
        c.CreateCollection(collection_name="x", vectors_config={"params": {"size": 4, "distance": c.Dot}}, replication_factor=2),
        "UNIMPLEMENTED",
        "replication_factor: replication_factor above 1",
    ),
    "hnsw": (
        "Collections/Create",
        c.CreateCollection(collection_name="x", vectors_config={"params": {"size": 4, "distance": c.Dot}}, hnsw_config={"m": 4}),
        "UNIMPLEMENTED",
        "hnsw_config is not served here",
    ),
    "exists": (
        "Collections/Create",
        c.CreateCollection(collection_name=NAME, vectors_config={"params": {"size": 4, "distance": c.Dot}}),
        "ALREADY_EXISTS",
        "collection: Collection `things` already exists",
    ),
    "no such alias": (
        "Collections/UpdateAliases",
        c.ChangeAliases(actions=[{"create_alias": {"collection_name": "none", "alias_name": "x"}}]),
        "NOT_FOUND",
        "collection: Collection `none` doesn't exist",
    ),
    "geo index": (
        "Points/CreateFieldIndex",
        p.CreateFieldIndexCollection(collection_name=NAME, field_name="a", field_type=p.FieldTypeGeo),
        "UNIMPLEMENTED",
        "field_schema: an index of the kind geo",
    ),
}


def test_bad_messages_are_refused_by_name_and_change_nothing(served: Served, client: QdrantClient) -> None:
    client.create_collection(NAME, vectors_config=SINGLE)
    client.upsert(NAME, [m.PointStruct(id=1, vector=[1, 2, 3, 4], payload={"a": 1})])
    for name, (method, message, code, text) in BAD.items():
        found = refused(served, method, message)
        assert found[0] == code, (name, found)
        assert found[1].startswith(text) or text in found[1], (name, found)
    assert [one.model_dump() for one in client.scroll(NAME)[0]] == [client.retrieve(NAME, [1])[0].model_dump()]
    assert [one.name for one in client.get_collections().collections] == [NAME]


def test_vectors_as_older_clients_write_them_and_fields_set_to_their_defaults_are_taken(served: Served, client: QdrantClient) -> None:
    client.create_collection(NAME, vectors_config=SINGLE)
    old = upsert(p.Vectors(vector=p.Vector(data=[1, 2, 3, 4])), wait=True, ordering={"type": 0})
    assert called(served, "Points/Upsert", old.SerializeToString()).result.status == p.Completed
    # 10 written with more bytes than are needed, and a field twice: the last counts.
    data = query(limit=7).SerializeToString() + b"\x40\x8a\x80\x00"
    assert [one.id.num for one in called(served, "Points/Query", data, p.QueryResponse).result] == [0]


def test_a_request_sent_again_under_its_key_is_written_once(served: Served, client: QdrantClient) -> None:
    client.create_collection(NAME, vectors_config=SINGLE)
    data, key = upsert(dense(1, 2, 3, 4), wait=True).SerializeToString(), (("idempotency-key", "k"),)
    first = called(served, "Points/Upsert", data, metadata=key)
    client.delete(NAME, [0])
    assert called(served, "Points/Upsert", data, metadata=key).result.operation_id == first.result.operation_id
    assert client.count(NAME).count == 0
    with pytest.raises(grpc.RpcError) as failed:
        called(served, "Points/Upsert", upsert(dense(4, 3, 2, 1)).SerializeToString(), metadata=key)
    assert failed.value.code() == grpc.StatusCode.ABORTED


def test_payload_too_deep_for_messages_is_refused_and_can_be_left_out(served: Served, client: QdrantClient) -> None:
    client.create_collection(NAME, vectors_config=SINGLE)
    for id, depth in ((1, 25), (2, 31)):
        payload: Any = {"a": 1}
        for _ in range(depth):
            payload = {"a": payload}
        client.upsert(NAME, [m.PointStruct(id=id, vector=[1, 2, 3, 4], payload=payload)])
    assert client.retrieve(NAME, [1])[0].payload
    with pytest.raises(grpc.RpcError, match="too many objects inside each other for gRPC"):
        client.query_points(NAME, [1.0, 2, 3, 4], with_payload=True)
    assert len(client.query_points(NAME, [1.0, 2, 3, 4], with_payload=False).points) == 2


def test_the_official_client_hears_when_to_try_again(served: Served, client: QdrantClient) -> None:
    client.create_collection(NAME, vectors_config=SINGLE)
    client.upsert(NAME, [m.PointStruct(id=1, vector=[1, 2, 3, 4])])
    shards = next(iter(served.backend.shards.values()))
    shards[0].error = Overloaded("too many")
    with pytest.raises(ResourceExhaustedResponse) as failed:
        client.query_points(NAME, [1.0, 2, 3, 4])
    assert failed.value.retry_after_s == 1
