"""Ours: the library in its directory, and the server with a client of bare gRPC messages of the Qdrant dialect and the official client."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
import httpx
from qdrant_client import QdrantClient
from qdrant_client import grpc as messages
from qdrant_client.models import FieldCondition, Filter, MatchValue

from benchmarks.search_peers.absence import NotHere
from benchmarks.search_peers.environment import PeerEnvironment
from benchmarks.search_peers.processes import Server, free_ports, listens, start_server
from benchmarks.search_peers.system import FILTERS, Direct, Floats, Knob, Rows, Searcher, Where

COLLECTION: Final = "items"
BATCH_ROWS: Final = 1000
RECALL_PERCENTS: Final = (95, 96, 97, 98, 99)
TIMEOUT_S: Final = 60.0
RECALL: Final = 0.95
INDEXED_WITHIN_S: Final = 1200.0
QUERY: Final = "/qdrant.Points/Query"
QUERY_BATCH: Final = "/qdrant.Points/QueryBatch"
_OWN: Final = [("grpc.use_local_subchannel_pool", 1)]
_LARGE: Final = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def serve(folder: Path, environment: PeerEnvironment, options: Sequence[str]) -> Server:
    """Start the server over a directory in the folder with the options of `reelspace search serve`.

    Raises:
        NotHere: it does not start.
    """
    return serve_store(str(folder / "data"), folder, options)


def serve_store(store: str, folder: Path, options: Sequence[str], variables: Mapping[str, str] | None = None) -> Server:
    """Start the server over a store, with its log in the folder and more environment variables.

    Raises:
        NotHere: it does not start.
    """
    http_port, grpc_port = free_ports(2)
    where = ["--dir", store, "--port", str(http_port), "--grpc-port", str(grpc_port)]
    command = [sys.executable, "-m", "reelspace.cli", "search", "serve", *where, *options]
    place = {"http_port": http_port, "grpc_port": grpc_port}
    return start_server(command, folder, place, ready=lambda _: listens(grpc_port), env=os.environ | (variables or {}))


class Library:
    """The engine in this process."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._db: Any = None
        self._collection: Any = None
        self._recall_percent = 0

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give targets of recall, to which the engine tunes an index as it builds it; under a condition the index there is."""
        return [[{}]] if key else [[{"recall_percent": percent} for percent in RECALL_PERCENTS]]

    def build(self, rows: Rows) -> None:
        """Upsert and build the index."""
        self._open()
        self._db.create_collection(COLLECTION, rows.vectors_ND.shape[1], metric="cosine")
        self._collection = self._db.collection(COLLECTION)
        for batch in rows.batches(BATCH_ROWS):
            self.insert(batch, wait=True)
        self._optimize(RECALL_PERCENTS[0])

    def set_knob(self, knob: Knob) -> None:
        """Build the index anew if it has another target."""
        percent = int(knob.get("recall_percent", self._recall_percent))
        if percent != self._recall_percent:
            self._optimize(percent)

    def searcher(self) -> Searcher:
        """Give the library."""
        return Direct(self._search)

    def shared(self) -> None:
        """Give none: it is called directly."""

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Upsert."""
        columns = [values_N.tolist() for values_N in rows.payload.values()]
        payloads = [dict(zip(rows.payload, values, strict=True)) for values in zip(*columns, strict=True)]
        self._collection.upsert(rows.ids_N.tolist(), rows.vectors_ND, payloads)

    def reopen(self) -> None:
        """Close and open."""
        self._db.close()
        self._open()
        self._collection = self._db.collection(COLLECTION)

    def close(self) -> None:
        """Close."""
        if self._db is not None:
            self._db.close()

    def _open(self) -> None:
        # Delays the engine with faiss, which a client of the server does without.
        import reelspace.search

        self._db = reelspace.search.open(self._directory)

    def _optimize(self, percent: int) -> None:
        # Delays faiss, which a client of the server does without.
        from reelspace.search.compute.build import IndexSettings

        self._collection.optimize(IndexSettings(recall_target=percent / 100))
        self._recall_percent = percent

    def _search(self, query_D: Floats, k: int, where: Where | None) -> list[int]:
        condition = {"must": [{"key": where.key, "match": {"value": where.value}}]} if where else None
        return [hit.id for hit in self._collection.search(query_D, limit=k, where=condition)]


class Client:
    """A client of the server; `place["client"]` is `official` for searches through the official client."""

    def __init__(self, place: Mapping[str, Any]) -> None:
        self._place = place
        self._address = f"127.0.0.1:{place['grpc_port']}"
        self._channel = grpc.insecure_channel(self._address, _LARGE)
        self._points = messages.PointsStub(self._channel)  # type: ignore[no-untyped-call]
        self._official: QdrantClient | None = None

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give none to turn: the server tunes itself to its target of recall."""
        return [[{}]]

    def build(self, rows: Rows) -> None:
        """Create the collection, index the payload, upsert, and wait until the index is built."""
        collections = messages.CollectionsStub(self._channel)  # type: ignore[no-untyped-call]
        # Over HTTP: the target of recall is a field of ours, which Qdrant's messages do not have.
        vectors = {"size": rows.vectors_ND.shape[1], "distance": "Cosine", "index": {"recall": RECALL}}
        address = f"http://127.0.0.1:{self._place['http_port']}/collections/{COLLECTION}"
        httpx.put(address, json={"vectors": vectors}, timeout=TIMEOUT_S).raise_for_status()
        for key in FILTERS:
            kind = messages.FieldType.FieldTypeInteger
            index = messages.CreateFieldIndexCollection(collection_name=COLLECTION, wait=True, field_name=key, field_type=kind)
            self._points.CreateFieldIndex(index, timeout=TIMEOUT_S)
        for batch in rows.batches(BATCH_ROWS):
            self.insert(batch, wait=False)
        until_s = time.monotonic() + INDEXED_WITHIN_S
        asked = messages.GetCollectionInfoRequest(collection_name=COLLECTION)
        while collections.Get(asked, timeout=TIMEOUT_S).result.status != messages.CollectionStatus.Green:
            if time.monotonic() > until_s:
                raise NotHere(f"the index was not built within {INDEXED_WITHIN_S:.0f} s")
            time.sleep(0.2)

    def set_knob(self, knob: Knob) -> None:
        """Do nothing."""

    def searcher(self) -> Searcher:
        """Connect; the official client is one for all threads."""
        if self._place.get("client") == "official":
            return Direct(self._search_official)
        return Stub(self._address)

    def shared(self) -> "SharedStub | None":
        """Open a connection for many tasks: half the client's cost of threads; the official client has its threads."""
        return None if self._place.get("client") == "official" else SharedStub(self._address)

    def batches(self) -> "BatchStub":
        """Connect for requests of many queries."""
        return BatchStub(self._address)

    def scored(self, query_D: Floats, k: int) -> tuple[list[int], list[float]]:
        """Ask, and read the scores too."""
        found = self._points.Query(query_points(query_D, k, None), timeout=TIMEOUT_S).result
        return [point.id.num for point in found], [point.score for point in found]

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Upsert."""
        points = [
            messages.PointStruct(
                id=messages.PointId(num=int(row)),
                vectors=messages.Vectors(vector=messages.Vector(data=vector_D.tolist())),
                payload={key: messages.Value(integer_value=int(values_N[number])) for key, values_N in rows.payload.items()},
            )
            for number, (row, vector_D) in enumerate(zip(rows.ids_N, rows.vectors_ND, strict=True))
        ]
        self._points.Upsert(messages.UpsertPoints(collection_name=COLLECTION, points=points, wait=wait), timeout=TIMEOUT_S)

    def reopen(self) -> None:
        """Do nothing: the server goes on."""

    def close(self) -> None:
        """Hang up."""
        self._channel.close()
        if self._official is not None:
            self._official.close()

    def _search_official(self, query_D: Floats, k: int, where: Where | None) -> list[int]:
        if self._official is None:
            ports = {"port": self._place["http_port"], "grpc_port": self._place["grpc_port"]}
            self._official = QdrantClient(host="127.0.0.1", **ports, prefer_grpc=True, check_compatibility=False)
        condition = Filter(must=[FieldCondition(key=where.key, match=MatchValue(value=where.value))]) if where else None
        answer = self._official.query_points(COLLECTION, query_D.tolist(), limit=k, query_filter=condition, with_payload=False)
        return [int(point.id) for point in answer.points]


class Stub:
    """A connection of its own, over which serialised requests go."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, _OWN)
        self._search = self._channel.unary_unary(QUERY, None, messages.QueryResponse.FromString)

    def prepare(self, query_D: Floats, k: int, where: Where | None) -> bytes:
        """Serialise the request; of the hits it wants only the ids."""
        message: bytes = query_points(query_D, k, where).SerializeToString()
        return message

    def search(self, request: bytes) -> list[int]:
        """Send and read the ids."""
        return [point.id.num for point in self._search(request, timeout=TIMEOUT_S).result]

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


class SharedStub:
    """One connection for many tasks."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, _OWN)
        self._search = self._channel.unary_unary(QUERY, None, messages.QueryResponse.FromString)

    async def search(self, request: bytes) -> list[int]:
        """Send and read the ids."""
        return [point.id.num for point in (await self._search(request, timeout=TIMEOUT_S)).result]

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()


class BatchStub:
    """A connection of its own, over which serialised requests of many queries go."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, [*_OWN, *_LARGE])
        self._search = self._channel.unary_unary(QUERY_BATCH, None, messages.QueryBatchResponse.FromString)

    def prepare(self, queries_QD: Floats, k: int) -> bytes:
        """Serialise the request; of the hits it wants only the ids."""
        queries = [query_points(query_D, k, None) for query_D in queries_QD]
        message: bytes = messages.QueryBatchPoints(collection_name=COLLECTION, query_points=queries).SerializeToString()
        return message

    def search(self, request: bytes) -> list[int]:
        """Send, read the ids of all answers, and give those of the shortest."""
        answers = self._search(request, timeout=TIMEOUT_S).result
        return min(([point.id.num for point in answer.result] for answer in answers), key=len)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def query_points(query_D: Floats, k: int, where: Where | None) -> Any:
    """Give the message of a query for ids alone."""
    nearest = messages.VectorInput(dense=messages.DenseVector(data=query_D.tolist()))
    request = messages.QueryPoints(collection_name=COLLECTION, query=messages.Query(nearest=nearest), limit=k)
    request.with_payload.enable = False
    if where:
        field = messages.FieldCondition(key=where.key, match=messages.Match(integer=where.value))
        request.filter.must.append(messages.Condition(field=field))
    return request


def connect(place: Mapping[str, Any]) -> Library | Client:
    """Give the library in its directory, or a client of the server."""
    return Library(place["directory"]) if "directory" in place else Client(place)
