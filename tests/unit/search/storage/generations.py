"""Collections with generations that are only a file of rows: what the storage layer sees of a real one."""

from collections.abc import Mapping
from uuid import UUID

import numpy as np
import orjson

from reelspace.core.store import Store
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import (
    Collection,
    FileFacts,
    IndexFacts,
    ShardManifest,
    VectorFacts,
    VectorSettings,
    collection_key,
    generation_key,
    json_bytes,
    sha256,
)
from reelspace.search.storage.log import Log
from reelspace.search.storage.points import Point

from .builders import FIELDS, plain

MADE = Collection(name="videos", space_id="00112233aabbccdd", vectors={"": VectorSettings(dimension=4)}, num_shards=2)
NAME = MADE.full_name
POINTS = "points.json"
FLAT = IndexFacts(kind="flat", rerank_factor=1, recall_at_10=1, recall_target=1, num_recall_queries=0)


def create(store: Store, num_shards: int = MADE.num_shards) -> None:
    store.put_if_absent(collection_key(NAME), json_bytes(MADE.model_copy(update={"num_shards": num_shards})))


def shard_log(store: Store, shard: int, name: str = NAME) -> Log:
    return Log(store, name, shard, FIELDS)


def seal_generation(
    store: Store, shard: int, number: int, points: Mapping[Id, Point], num_shards: int = MADE.num_shards, contains_log: int = 0
) -> str:
    """Write the files of a generation, the manifest last; gives the manifest's hash."""
    data = orjson.dumps([[str(id) if isinstance(id, UUID) else id, *row] for id, row in plain(points).items()])
    manifest = ShardManifest(
        shard=shard,
        num_shards=num_shards,
        num_rows=len(points),
        contains_log=contains_log,
        space_id=MADE.space_id,
        vectors={"": VectorFacts(dimension=4, metric="cosine", num_vectors=len(points), index=FLAT)},
        files={POINTS: FileFacts(sha256=sha256(data), size_bytes=len(data))},
    )
    store.put(generation_key(NAME, shard, number, POINTS), data)
    store.put(generation_key(NAME, shard, number, "manifest.json"), json_bytes(manifest))
    return sha256(json_bytes(manifest))


def load_generation(store: Store, name: str, shard: int, number: int) -> dict[Id, Point]:
    """Read the rows of a generation."""
    points: dict[Id, Point] = {}
    for id, vectors, payload in orjson.loads(store.get(generation_key(name, shard, number, POINTS))):
        arrays = {key: np.array(one, dtype=np.float32) for key, one in vectors.items()}
        points[UUID(id) if isinstance(id, str) else id] = Point(arrays, payload)
    return points
