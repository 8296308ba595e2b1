"""Weaviate: the server's start in a network namespace of its own, a client of bare gRPC messages, and its official client beside that.

The server offers gRPC on all interfaces and has no setting against it; in the namespace there is only the loopback.
"""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson

from benchmarks.search_peers.environment import PeerEnvironment
from benchmarks.search_peers.processes import Server, start_server
from benchmarks.search_peers.system import FILTERS, LADDER, Direct, Floats, Knob, Rows, Searcher, Where

PACKAGE: Final = "github.com/weaviate/weaviate/cmd/weaviate-server"
VERSION: Final = "v1.35.2"
CLASS: Final = "Items"
BATCH_ROWS: Final = 1000
DEFAULT_CUTOFF: Final = 40_000
HTTP_PORT, GRPC_PORT = 8080, 50051
TIMEOUT_S: Final = 60.0
SEARCH: Final = "/weaviate.v1.Weaviate/Search"
SETTINGS: Final = {
    "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
    "DEFAULT_VECTORIZER_MODULE": "none",
    "DISABLE_TELEMETRY": "true",
    "GO_PROFILING_DISABLE": "true",
    "LOG_LEVEL": "warning",
    "GRPC_PORT": str(GRPC_PORT),
    "CLUSTER_HOSTNAME": "node1",
    "CLUSTER_BIND_ADDR": "127.0.0.1",
    "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
    "RAFT_BOOTSTRAP_EXPECT": "1",
}
_START: Final = 'ip link set lo up && exec "$@"'
_BASE: Final = f"http://127.0.0.1:{HTTP_PORT}/v1"
_IS_READY: Final = f"import urllib.request; urllib.request.urlopen('{_BASE}/.well-known/ready', timeout=1.0)"


def serve(folder: Path, environment: PeerEnvironment, options: Sequence[str]) -> Server:
    """Build the server when it is not there, and start it.

    Raises:
        NotHere: it cannot be built, or does not start.
    """
    program = environment.go_program(PACKAGE, VERSION)
    is_root = os.geteuid() == 0
    serving = [str(program), "--host", "127.0.0.1", "--port", str(HTTP_PORT), "--scheme", "http"]
    command = ["unshare", *([] if is_root else ["--user", "--map-root-user"]), "--net", "sh", "-c", _START, "sh", *serving]

    def reach(pid: int) -> list[str]:
        return ["nsenter", f"--target={pid}", *([] if is_root else ["--user", "--preserve-credentials"]), "--net"]

    def is_ready(pid: int) -> bool:
        return subprocess.run([*reach(pid), sys.executable, "-c", _IS_READY], capture_output=True).returncode == 0

    settings = os.environ | SETTINGS | {"PERSISTENCE_DATA_PATH": str(folder / "data")}
    server = start_server(command, folder, {}, ready=is_ready, env=settings)
    return replace(server, reach=tuple(reach(server.process.pid)))


class Weaviate:
    """A client; `place["client"]` is `official` for searches through the official client."""

    def __init__(self, place: Mapping[str, Any]) -> None:
        # Delays grpc and the messages, which only the peers' environment has in this version.
        import grpc  # type: ignore[import-untyped]
        from weaviate.proto.v1 import weaviate_pb2_grpc  # type: ignore[import-not-found]

        self._is_official = place.get("client") == "official"
        self._channel = grpc.insecure_channel(f"127.0.0.1:{GRPC_PORT}", [("grpc.max_send_message_length", -1)])
        self._insert = weaviate_pb2_grpc.WeaviateStub(self._channel).BatchObjects
        self._official: Any = None

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give efforts of the graph search; under a condition with its scan of few allowed rows, and without."""
        cutoffs = (DEFAULT_CUTOFF, 0) if key else (DEFAULT_CUTOFF,)
        return [[{"ef": ef, "flatSearchCutoff": cutoff} for ef in LADDER] for cutoff in cutoffs]

    def build(self, rows: Rows) -> None:
        """Make the class with its defaults (inner product of unit vectors, the cheapest) and insert; the graph grows with each batch."""
        properties = [{"name": key, "dataType": ["int"], "indexFilterable": True} for key in FILTERS]
        index = {"distance": "dot", "ef": LADDER[0]}
        _ask("POST", "schema", {"class": CLASS, "vectorizer": "none", "vectorIndexConfig": index, "properties": properties})
        for batch in rows.batches(BATCH_ROWS):
            self.insert(batch, wait=True)

    def set_knob(self, knob: Knob) -> None:
        """Change the class."""
        definition = _ask("GET", f"schema/{CLASS}", None)
        definition["vectorIndexConfig"] |= knob
        _ask("PUT", f"schema/{CLASS}", definition)

    def searcher(self) -> Searcher:
        """Connect; the official client is one for all threads, as its manual wants it."""
        if self._is_official:
            return Direct(self._search_official)
        return Stub()

    def shared(self) -> "SharedStub | None":
        """Open a connection for many tasks: half the client's cost of threads; the official client has its threads."""
        return None if self._is_official else SharedStub()

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Insert a batch; it is searched when it is answered."""
        # Delays the messages, which only the peers' environment has.
        from weaviate.proto.v1 import batch_pb2

        objects = [
            batch_pb2.BatchObject(
                uuid=str(UUID(int=int(row))),
                collection=CLASS,
                vector_bytes=vector_D.tobytes(),
                properties=batch_pb2.BatchObject.Properties(
                    non_ref_properties={key: int(values_N[number]) for key, values_N in rows.payload.items()}
                ),
            )
            for number, (row, vector_D) in enumerate(zip(rows.ids_N, rows.vectors_ND, strict=True))
        ]
        reply = self._insert(batch_pb2.BatchObjectsRequest(objects=objects), timeout=TIMEOUT_S)
        assert not reply.errors, reply.errors[0].error

    def reopen(self) -> None:
        """Do nothing: the server goes on."""

    def close(self) -> None:
        """Hang up."""
        self._channel.close()
        if self._official is not None:
            self._official.close()

    def _search_official(self, query_D: Floats, k: int, where: Where | None) -> list[int]:
        # Delays the official client, which only the peers' environment has.
        import weaviate  # type: ignore[import-not-found]
        from weaviate.classes.query import Filter  # type: ignore[import-not-found]

        if self._official is None:
            self._official = weaviate.connect_to_local("127.0.0.1", HTTP_PORT, GRPC_PORT, skip_init_checks=True)
        condition = Filter.by_property(where.key).equal(where.value) if where else None
        items = self._official.collections.use(CLASS)
        answer = items.query.near_vector(query_D.tolist(), limit=k, filters=condition, return_properties=[])
        return [item.uuid.int for item in answer.objects]


class Stub:
    """A connection of its own, over which serialised requests go."""

    def __init__(self) -> None:
        # Delays grpc and the messages, which only the peers' environment has in this version.
        import grpc
        from weaviate.proto.v1 import search_get_pb2

        self._channel = grpc.insecure_channel(f"127.0.0.1:{GRPC_PORT}", [("grpc.use_local_subchannel_pool", 1)])
        self._search = self._channel.unary_unary(SEARCH, None, search_get_pb2.SearchReply.FromString)

    def prepare(self, query_D: Floats, k: int, where: Where | None) -> bytes:
        """Serialise the request; of the hits it wants only the ids."""
        # Delays the messages, which only the peers' environment has.
        from weaviate.proto.v1 import base_pb2, base_search_pb2, search_get_pb2

        request = search_get_pb2.SearchRequest(
            collection=CLASS,
            limit=k,
            near_vector=base_search_pb2.NearVector(vector_bytes=query_D.tobytes()),
            metadata=search_get_pb2.MetadataRequest(uuid=True),
            properties=search_get_pb2.PropertiesRequest(),
            uses_123_api=True,
            uses_125_api=True,
            uses_127_api=True,
        )
        if where:
            target = base_pb2.FilterTarget(property=where.key)
            request.filters.CopyFrom(base_pb2.Filters(operator=base_pb2.Filters.OPERATOR_EQUAL, value_int=where.value, target=target))
        message: bytes = request.SerializeToString()
        return message

    def search(self, request: bytes) -> list[int]:
        """Send and read the ids."""
        return _ids(self._search(request, timeout=TIMEOUT_S))

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


class SharedStub:
    """One connection for many tasks."""

    def __init__(self) -> None:
        # Delays grpc and the messages, which only the peers' environment has in this version.
        import grpc.aio  # type: ignore[import-untyped]
        from weaviate.proto.v1 import search_get_pb2

        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{GRPC_PORT}", [("grpc.use_local_subchannel_pool", 1)])
        self._search = self._channel.unary_unary(SEARCH, None, search_get_pb2.SearchReply.FromString)

    async def search(self, request: bytes) -> list[int]:
        """Send and read the ids."""
        return _ids(await self._search(request, timeout=TIMEOUT_S))

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()


def _ids(reply: Any) -> list[int]:
    return [int.from_bytes(result.metadata.id_as_bytes, "big") for result in reply.results]


def _ask(method: str, path: str, body: Any) -> Any:
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(f"{_BASE}/{path}", data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return orjson.loads(response.read())


def connect(place: Mapping[str, Any]) -> Weaviate:
    """Give a client."""
    return Weaviate(place)
