"""Results as the dialect's JSON, with fields of our own beside Qdrant's: coverage, generation, space_id. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from reelspace.search.access.collection_request import DISTANCES
from reelspace.search.access.results import CollectionFacts, Coverage, GroupsResult, NamedVectors, QueryResult, ScoredPoint, ScrollResult
from reelspace.search.compute.queries import Record
from reelspace.search.storage.layout import VectorSettings

_DISTANCE_OF: Final = {metric: name for name, metric in DISTANCES.items()}
# Required by the dialect's clients; no optimizer, and no graph of Qdrant's, is at work here.
_ENGINE: Final = {
    "hnsw_config": {"m": 0, "ef_construct": 4, "full_scan_threshold": 0},
    "optimizer_config": {
        "deleted_threshold": 0,
        "vacuum_min_vector_number": 100,
        "default_segment_number": 0,
        "flush_interval_sec": 0,
    },
}


def query_json(result: QueryResult, space_id: str) -> dict[str, Any]:
    """Give the answer to one query."""
    version = result.coverage.version
    hits = zip(result.ids, result.scores, strict=True)
    points: list[dict[str, Any]] = [{"id": id, "version": version, "score": score} for id, score in hits]
    if result.payloads is not None:
        for point, payload in zip(points, result.payloads, strict=True):
            point["payload"] = orjson.Fragment(payload)
    if result.vectors is not None:
        for point, vectors in zip(points, result.vectors, strict=True):
            point["vector"] = vectors_json(vectors)
    return {"points": points} | _ours(result.coverage, space_id)


def groups_json(result: GroupsResult, space_id: str) -> dict[str, Any]:
    """Give the answer to a query with groups."""
    version = result.coverage.version
    groups = [{"id": group.id, "hits": [_hit(hit, version) for hit in group.hits]} for group in result.groups]
    return {"groups": groups} | _ours(result.coverage, space_id)


def record_json(record: Record) -> dict[str, Any]:
    """Give one row."""
    return {"id": record.id} | _brought(record.payload, record.vectors)


def scroll_json(result: ScrollResult) -> dict[str, Any]:
    """Give a page of rows."""
    return {"points": [record_json(record) for record in result.records], "next_page_offset": result.next_offset}


def vectors_json(vectors: NamedVectors) -> Any:
    """Give vectors by name, the only one of a collection without names as a list."""
    return vectors[""] if set(vectors) == {""} else dict(vectors)


def facts_json(facts: CollectionFacts) -> dict[str, Any]:
    """Give the description of a collection."""
    collection = facts.collection
    schema = {key: {"data_type": indexed.kind, "points": indexed.num_points} for key, indexed in facts.payload_schema.items()}
    return {
        "status": "green" if facts.is_settled else "yellow",
        "optimizer_status": "ok",
        "points_count": facts.num_rows,
        "indexed_vectors_count": facts.num_indexed,
        "segments_count": collection.num_shards,
        "config": {
            "params": {
                "vectors": _vectors_config(collection.vectors),
                "shard_number": collection.num_shards,
                "replication_factor": 1,
                "on_disk_payload": False,
            },
            **_ENGINE,
        },
        "payload_schema": schema,
        "aliases": list(facts.aliases),
        "generation": list(facts.generations),
        "unsealed": facts.num_unsealed,
        "recall": list(facts.recalls),
        "space_id": collection.space_id,
    }


def aliases_json(aliases: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Give aliases with the collections they mean."""
    return {"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in aliases]}


def _vectors_config(vectors: dict[str, VectorSettings]) -> Any:
    config = {name: {"size": one.dimension, "distance": _DISTANCE_OF[one.metric]} for name, one in vectors.items()}
    return config[""] if set(config) == {""} else config


def _hit(hit: ScoredPoint, version: int) -> dict[str, Any]:
    return {"id": hit.id, "version": version, "score": hit.score} | _brought(hit.payload, hit.vectors)


def _brought(payload: bytes | None, vectors: NamedVectors | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if payload is None else {"payload": orjson.Fragment(payload)}
    return found if vectors is None else found | {"vector": vectors_json(vectors)}


def _ours(coverage: Coverage, space_id: str) -> dict[str, Any]:
    return {
        "coverage": {"rows": coverage.rows, "of": coverage.of, "missing_shards": coverage.missing_shards},
        "generation": coverage.generations,
        "space_id": space_id,
    }
