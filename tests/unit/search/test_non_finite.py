"""Vectors that are not finite, or cannot be ranked, at every door: refused by name, nothing of the request applied, none ever a hit."""

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
import uvloop
from numpy.typing import NDArray
from qdrant_client import grpc as q

import reelspace.search
from reelspace.core.errors import CorruptArtifact, TableError
from reelspace.core.local_store import LocalStore
from reelspace.gateway.app import create_app
from reelspace.gateway.server import Server
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute.build import BuildRows, BuildVectors, IndexSettings, write_generation
from reelspace.search.compute.host import ShardHost
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.shard import QueryRefused
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.generations import point_shards, publish_shard
from reelspace.search.storage.entries import Write, encode
from reelspace.search.storage.layout import Collection, FileFacts, VectorSettings, json_bytes, sha256
from reelspace.search.storage.log import Log
from reelspace.search.storage.rows import Change, Op, RowRefused, Rows, Vectors
from reelspace.search.tables.formats import read_table

Metric = Literal["cosine", "dot", "euclid"]
GOOD = [0.5, 1.0, -1.0, 2.0]
LONG = 1e19
"""Four of them are finite in float32, and the square of their length is not."""
JUST_TOO_LONG = 5e18
"""The square of the length of four is finite; that of their distance from their opposite is not."""
COMPONENTS = [
    "NaN",
    "-NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "1e39",
    "-1e39",
    "1" + "0" * 400,
    "null",
    "true",
    '"1.0"',
    "[1]",
    "{}",
]
VECTORS = {one: f"[0.5, 1.0, {one}, 2.0]" for one in COMPONENTS} | {
    f"of {one}": f"[{one}, {one}, {one}, {one}]" for one in (LONG, JUST_TOO_LONG)
}
COSINE_ALONE = {"zero": "[0, 0, 0.0, -0.0]", "too short": "[1e-30, 0, 0, 0]"}
NUMBERS = {"NaN": math.nan, "infinity": math.inf, "minus infinity": -math.inf, "1e39": 1e39}


@dataclass(frozen=True)
class Served:
    client: httpx.Client
    points: Any


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with shards of its own, over HTTP and gRPC, and a collection of each metric with one row."""
    store = LocalStore(tmp_path_factory.mktemp("store"))
    settings = GatewaySettings(store=store.url, backend="local")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as grpc_listener:
        app = create_app(settings, store, connector(settings, store))
        app.state.grpc_listener = grpc_listener
        server = Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on"))
        thread = threading.Thread(target=lambda: uvloop.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the gateway did not start"
            time.sleep(0.005)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            httpx.Client(base_url=url, timeout=30) as client,
            grpc.insecure_channel(f"127.0.0.1:{grpc_listener.getsockname()[1]}") as channel,
        ):
            for metric in ("Cosine", "Dot", "Euclid"):
                made = client.put(f"/collections/{metric}", json={"vectors": {"size": 4, "distance": metric}, "shard_number": 2})
                assert made.status_code == 200, made.text
                put = client.put(f"/collections/{metric}/points?wait=true", json={"points": [{"id": 1, "vector": GOOD}]})
                assert put.status_code == 200, put.text
            yield Served(client, q.PointsStub(channel))
        server.should_exit = True
        thread.join()


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sent to the gateway, each collection has its one row."""
    yield
    if "served" in request.fixturenames:
        client = request.getfixturevalue("served").client
        for metric in ("Cosine", "Dot", "Euclid"):
            answer = client.post(f"/collections/{metric}/points/query", json={"query": GOOD, "with_vector": True}).json()
            assert [point["id"] for point in answer["result"]["points"]] == [1]


def bad_vectors(metric: str) -> dict[str, str]:
    return VECTORS | (COSINE_ALONE if metric == "Cosine" else {})


REQUESTS = {
    "upsert": ("PUT", "points?wait=true", '{"points": [{"id": 2, "vector": GOOD}, {"id": 3, "vector": BAD}]}', "points[1].vector"),
    "named": ("PUT", "points?wait=true", '{"points": [{"id": 2, "vector": GOOD}, {"id": 3, "vector": {"": BAD}}]}', "points[1].vector"),
    "columns": ("PUT", "points?wait=true", '{"batch": {"ids": [2, 3], "vectors": [GOOD, BAD]}}', "batch.vectors[1]"),
    "operations": (
        "POST",
        "points/batch?wait=true",
        '{"operations": [{"delete": {"points": [1]}}, {"upsert": {"points": [{"id": 3, "vector": BAD}]}}]}',
        "operations[1].upsert.points[0].vector",
    ),
    "query": ("POST", "points/query", '{"query": BAD}', "query"),
    "query batch": ("POST", "points/query/batch", '{"searches": [{"query": GOOD}, {"query": BAD}]}', "searches[1].query"),
    "groups": ("POST", "points/query/groups", '{"query": BAD, "group_by": "a"}', "query"),
    "recommend": ("POST", "points/query", '{"query": {"recommend": {"positive": [1], "negative": [BAD]}}}', "query.recommend.negative[0]"),
}


@pytest.mark.parametrize("metric", ["Cosine", "Dot", "Euclid"])
@pytest.mark.parametrize("name", REQUESTS)
def test_over_http_it_is_refused_by_name_and_nothing_of_the_request_is_applied(served: Served, name: str, metric: str) -> None:
    method, path, body, field = REQUESTS[name]
    for bad, text in bad_vectors(metric).items():
        sent = body.replace("GOOD", json.dumps(GOOD)).replace("BAD", text)
        response = served.client.request(
            method, f"/collections/{metric}/{path}", content=sent, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 400, (bad, response.text)
        error = response.json()["status"]["error"]
        assert field in error or error.startswith("body: expected JSON"), (bad, error)
    count = served.client.post(f"/collections/{metric}/points/count", json={}).json()["result"]["count"]
    assert count == 1


def bad_floats(metric: str) -> dict[str, list[float]]:
    found = {name: [0.5, 1.0, number, 2.0] for name, number in NUMBERS.items() if name != "1e39"}
    found |= {f"of {one}": [one] * 4 for one in (LONG, JUST_TOO_LONG)}
    return found | ({"zero": [0.0] * 4, "too short": [1e-30, 0.0, 0.0, 0.0]} if metric == "Cosine" else {})


def query_of(metric: str, vector: list[float]) -> Any:
    return q.QueryPoints(collection_name=metric, query=q.Query(nearest=q.VectorInput(dense=q.DenseVector(data=vector))))


def calls(points: Any, metric: str, bad: list[float]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give a call of each kind that carries a vector, with the field that must be named."""
    rows = [
        q.PointStruct(id=q.PointId(num=number), vectors=q.Vectors(vector=q.Vector(dense=q.DenseVector(data=vector))))
        for number, vector in ((2, GOOD), (3, bad))
    ]
    yield "points[1].vector", lambda: points.Upsert(q.UpsertPoints(collection_name=metric, points=rows, wait=True))
    operation = q.PointsUpdateOperation(upsert=q.PointsUpdateOperation.PointStructList(points=rows))
    yield "points[1].vector", lambda: points.UpdateBatch(q.UpdateBatchPoints(collection_name=metric, operations=[operation], wait=True))
    yield "query", lambda: points.Query(query_of(metric, bad))
    batch = q.QueryBatchPoints(collection_name=metric, query_points=[query_of(metric, GOOD), query_of(metric, bad)])
    yield "[1].query", lambda: points.QueryBatch(batch)
    recommended = q.RecommendInput(positive=[q.VectorInput(dense=q.DenseVector(data=bad))])
    yield "recommend", lambda: points.Query(q.QueryPoints(collection_name=metric, query=q.Query(recommend=recommended)))


@pytest.mark.parametrize("metric", ["Cosine", "Dot", "Euclid"])
def test_over_grpc_it_is_refused_by_name_and_nothing_of_the_request_is_applied(served: Served, metric: str) -> None:
    for bad, vector in bad_floats(metric).items():
        for field, call in calls(served.points, metric, vector):
            with pytest.raises(grpc.RpcError) as refusal:
                call()
            assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT, (bad, field)
            assert field in refusal.value.details(), (bad, field)
    assert served.points.Count(q.CountPoints(collection_name=metric)).result.count == 1


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
def test_inside_the_callers_process_it_is_refused_by_name_and_changes_nothing(tmp_path: Path, metric: Metric) -> None:
    bad: dict[str, list[Any]] = {name: [0.5, 1.0, number, 2.0] for name, number in NUMBERS.items()}
    bad |= {
        "long": [LONG] * 4,
        "just too long": [JUST_TOO_LONG] * 4,
        "null": [0.5, None, 1.0, 2.0],
        "text": [0.5, "1.0", 1.0, 2.0],
        "list": [0.5, [1.0], 1.0, 2.0],
    }
    bad |= {"short": [1.0], "empty": []}
    bad |= {"zero": [0.0] * 4} if metric == "cosine" else {}
    with reelspace.search.open(tmp_path) as database:
        collection = database.create_collection("things", 4, metric, num_shards=2)
        collection.upsert([1], [GOOD])
        for name, vector in bad.items():
            with pytest.raises(QueryRefused, match="vector"):
                collection.search(vector)
            with pytest.raises(RowRefused, match="vector"):
                collection.upsert([2, 3], [GOOD, vector])
            assert collection.count() == 1, name
        with pytest.raises(QueryRefused, match="bool"):
            collection.search([True, False, True, True])
        with pytest.raises(RowRefused, match="bool"):
            collection.upsert([2], [[True, False, True, True]])
        assert [hit.id for hit in collection.search(GOOD)] == [1]


def files(folder: Path, number: float) -> Iterator[Path]:
    """Write three rows in each format; one number of the second is bad."""
    rows_ND = np.array([GOOD, [0.5, 1.0, number, 2.0], GOOD])
    path = folder / "wide.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "vector": pa.array(rows_ND.tolist(), pa.list_(pa.float64()))}), path)
    yield path
    path = folder / "wide.npy"
    np.save(path, rows_ND)
    yield path
    with np.errstate(over="ignore"):
        narrow_ND = rows_ND.astype(np.float32)
    path = folder / "narrow.fvecs"
    path.write_bytes(b"".join(np.int32(4).tobytes() + row.tobytes() for row in narrow_ND))
    yield path


@pytest.mark.parametrize("name", NUMBERS)
def test_a_file_with_one_is_refused_naming_the_file_and_the_row(tmp_path: Path, name: str) -> None:
    for path in files(tmp_path, NUMBERS[name]):
        with pytest.raises(TableError, match=rf"{path.name}.*row 1: expected finite numbers"):
            list(read_table(path))


def a_collection(metric: Metric) -> Collection:
    return Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=4, metric=metric)}, num_shards=1)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
def test_an_object_of_the_log_that_another_program_wrote_is_refused_by_name_while_what_serves_goes_on(
    tmp_path: Path, metric: Metric
) -> None:
    store, made = LocalStore(tmp_path), a_collection(metric)
    create_collection(store, made)
    with closing(LogWriters(store, made)) as writers:
        writers.submit("good", [Change(Op.UPSERT, 1, {"": GOOD})])[0].result()
    log = Log(store, made.full_name, 0, made.fields)
    with ShardHost(store, made, 0) as host:
        for number in (math.nan, math.inf, -math.inf, LONG):
            vectors_MD = np.array([GOOD, [LONG, LONG, number, 2.0]], dtype=np.float32)
            rows = Rows(np.ones(2, dtype=np.uint8), (2, 3), {"": Vectors(np.arange(2), vectors_MD)}, (None, None))
            store.put(log.key(2), encode(log.key(2), made.fields, [Write("k", 1, rows)]))
            with pytest.raises(CorruptArtifact, match=log.key(2)):
                ShardHost(store, made, 0)
            with pytest.raises(CorruptArtifact, match=log.key(2)):
                host.refresh()
            assert host.num_rows == 1


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
def test_a_generation_that_another_program_built_is_refused_by_name(tmp_path: Path, metric: Metric) -> None:
    store, made = LocalStore(tmp_path / "store"), a_collection(metric)
    create_collection(store, made)
    unit = [0.5, 0.5, 0.5, 0.5]
    for place, number in enumerate((0.5, math.nan, math.inf, -math.inf, LONG)):
        vectors_PD = np.array([unit, unit, [number, 0.5, 0.5, number], unit], dtype=np.float32)
        payloads = Payloads()
        payloads.append([b"{}"] * 4)
        rows = BuildRows(SealedIds.of(range(4)), {"": BuildVectors(made.vectors[""], vectors_PD)}, payloads)
        write_generation(rows, made, 0, IndexSettings(), tmp_path / str(place))
        served = publish_shard(store, made.full_name, 2 + place, 0, tmp_path / str(place))
        point_shards(store, made.full_name, [served], {0: 0})
        if place == 0:
            with ShardHost(store, made, 0) as host:
                assert host.num_rows == 4
            continue
        with pytest.raises(CorruptArtifact, match=rf"generations/{2 + place}/manifest.json: vector '': vector 2 is none"):
            ShardHost(store, made, 0)


@pytest.mark.parametrize("name", ["ids.npy", "uuids.npy", "payload.arrow", "vectors-0.npy", "index-0.faiss"])
def test_a_file_of_another_program_that_holds_something_else_is_refused_though_its_hash_is_right(tmp_path: Path, name: str) -> None:
    store, made = LocalStore(tmp_path / "store"), a_collection("dot")
    create_collection(store, made)
    payloads = Payloads()
    payloads.append([b"{}"] * 50)
    vectors_PD = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    rows = BuildRows(SealedIds.of(range(50)), {"": BuildVectors(made.vectors[""], vectors_PD)}, payloads)
    settings = IndexSettings(flat_below=1, recall_target=0.1, num_recall_queries=16)
    manifest = write_generation(rows, made, 0, settings, tmp_path / "files")
    for place, bad in enumerate((b"", b"no file of this kind", (tmp_path / "files" / name).read_bytes()[:-20])):
        files = manifest.files | {name: FileFacts(sha256=sha256(bad), size_bytes=len(bad))}
        (tmp_path / "files" / "manifest.json").write_bytes(json_bytes(manifest.model_copy(update={"files": files})))
        (tmp_path / "files" / name).write_bytes(bad)
        served = publish_shard(store, made.full_name, 2 + place, 0, tmp_path / "files")
        point_shards(store, made.full_name, [served], {0: 0})
        with pytest.raises(CorruptArtifact, match=rf"generations/{2 + place}/manifest.json"):
            ShardHost(store, made, 0)


def of_any_length(draw: np.random.Generator, num: int) -> NDArray[np.float32]:
    """Draw vectors of lengths from 1e-18 to 9e18."""
    vectors_ND = draw.standard_normal((num, 4))
    lengths_N = 10 ** draw.uniform(-18, math.log10(9e18), num)
    scaled_ND: NDArray[np.float32] = (vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True) * lengths_N[:, None]).astype(
        np.float32
    )
    return scaled_ND


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclid"])
def test_among_2000_vectors_of_any_length_every_score_is_finite_and_in_order(tmp_path: Path, metric: Metric) -> None:
    draw = np.random.default_rng(3)
    vectors_ND, queries_QD = of_any_length(draw, 2000), of_any_length(draw, 60)
    with reelspace.search.open(tmp_path) as database:
        collection = database.create_collection("things", 4, metric, num_shards=2)
        collection.upsert(range(2000), vectors_ND)
        for settings in (None, IndexSettings(flat_below=1, recall_target=0.01, num_recall_queries=16)):
            if settings is not None:
                collection.optimize(settings)
            for query_D in queries_QD:
                for k in (1, 10, 2000):
                    scores = [hit.score for hit in collection.search(query_D, k)]
                    assert len(scores) == k
                    assert all(map(math.isfinite, scores))
                    assert scores == sorted(scores, reverse=metric != "euclid")
