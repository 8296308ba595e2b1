"""A catalog over oracle shards, and small requests to it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import numpy as np

from reelspace.core.store import Store
from reelspace.search.access.backend import Backend, Surroundings
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.fanout import FanoutSettings
from reelspace.search.access.query_request import parse_query
from reelspace.search.access.requests import CreateCollection, QueryRequest, WriteRequest
from reelspace.search.access.targets import Encoder
from reelspace.search.access.write_request import parse_operations
from reelspace.search.storage.layout import Collection, VectorSettings

from ..oracle_shard import create_without_generations

TIME_S = 5.0
PLAIN = CreateCollection({"": VectorSettings(dimension=2, metric="euclid")}, 2)


@asynccontextmanager
async def running(
    store: Store,
    backend: Backend,
    encoders: Mapping[str, Encoder] | None = None,
    create: Callable[[Store, Collection], object] = create_without_generations,
) -> AsyncIterator[Catalog]:
    """One gateway's catalog."""
    catalog = Catalog(store, Surroundings(backend, lambda _pointer: encoders or {}), create, FanoutSettings())
    await catalog.start()
    try:
        yield catalog
    finally:
        await catalog.close()


def points(*ids: int, **payload: object) -> dict[str, object]:
    """Upsert points that lie at their ids on the first axis."""
    return {"upsert": {"points": [{"id": id, "vector": [id, 0], "payload": payload} for id in ids]}}


def write(service: CollectionService, *operations: object, wait: bool = True, key: str | None = None) -> WriteRequest:
    return WriteRequest(parse_operations({"operations": list(operations)}, service.fields), wait, key)


def near(service: CollectionService, at: float, **keys: object) -> QueryRequest:
    return parse_query({"query": [at, 0.0], **keys}, service.fields)


async def ids_of(service: CollectionService) -> list[object]:
    """Give all ids, nearest to the origin first."""
    return list((await service.query(near(service, 0, limit=1000), TIME_S)).ids)


async def made(catalog: Catalog, name: str = "things", request: CreateCollection = PLAIN) -> CollectionService:
    await catalog.create(name, request, TIME_S)
    return await catalog.service(name)


class Constant:
    """An encoder of one vector."""

    def __init__(self, *vector: float) -> None:
        self.vector_D = np.array(vector, dtype=np.float32)

    async def encode(self, text: str, timeout_s: float) -> np.ndarray:  # type: ignore[type-arg]
        return self.vector_D

    def close(self) -> None: ...
