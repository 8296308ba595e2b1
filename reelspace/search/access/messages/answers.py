"""Answers of the services as messages.

Legend: D dimension.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client.grpc import collections_pb2, points_pb2

from reelspace.search.access.collection_request import DISTANCES
from reelspace.search.access.messages.hit_bytes import batch_bytes
from reelspace.search.access.messages.payload_message import write_payload
from reelspace.search.access.results import (
    AlikeResult,
    CollectionFacts,
    GroupsResult,
    QueryResult,
    ScoredPoint,
    ScrollResult,
    WriteResult,
)
from reelspace.search.compute.queries import Record
from reelspace.search.storage.ids import NO_ID, UUID_KIND, Id, ids_of_words
from reelspace.search.storage.layout import VectorSettings

_DISTANCE_OF: Final = {metric: collections_pb2.Distance.Value(name) for name, metric in DISTANCES.items()}
# Required by the dialect's clients; no graph, optimizer or log of Qdrant's is at work here.
_HNSW: Final[dict[str, Any]] = {"m": 0, "ef_construct": 4, "full_scan_threshold": 0}
_WAL: Final[dict[str, Any]] = {"wal_capacity_mb": 0, "wal_segments_ahead": 0}
_OPTIMIZER: Final[dict[str, Any]] = {
    "deleted_threshold": 0,
    "vacuum_min_vector_number": 100,
    "default_segment_number": 0,
    "flush_interval_sec": 0,
}


def query_answer(result: QueryResult, seconds: float) -> Any:
    """Write the hits of a query."""
    answer = points_pb2.QueryResponse(time=seconds)
    _add_hits(answer.result.add, result)
    return answer


def batch_answer(results: Iterable[QueryResult], seconds: float) -> Any:
    """Write the hits of several queries."""
    answer = points_pb2.QueryBatchResponse(time=seconds)
    for result in results:
        _add_hits(answer.result.add().result.add, result)
    return answer


def alike_answer(result: AlikeResult, seconds: float) -> Any:
    """Write the hits of queries that are alike: as bytes, or as a message where ids are not all numbers."""
    kinds_QK, version = result.ids_QK3[:, :, 0], result.coverage.version
    if not (kinds_QK == UUID_KIND).any():
        return batch_bytes(result.ids_QK3, result.scores_QK, version, seconds)
    answer = points_pb2.QueryBatchResponse(time=seconds)
    for words_K3, scores_K in zip(result.ids_QK3, result.scores_QK.tolist(), strict=True):
        ids = ids_of_words(words_K3[words_K3[:, 0] != NO_ID])
        _add_bare_hits(answer.result.add().result.add, ids, scores_K[: len(ids)], version)
    return answer


def groups_answer(result: GroupsResult, seconds: float) -> Any:
    """Write hits in groups."""
    answer = points_pb2.QueryGroupsResponse(time=seconds)
    answer.result.SetInParent()
    for group in result.groups:
        message = answer.result.groups.add()
        if isinstance(group.id, str):
            message.id.string_value = group.id
        elif group.id < 0:
            message.id.integer_value = group.id
        else:
            message.id.unsigned_value = group.id
        for hit in group.hits:
            _fill_hit(message.hits.add(), hit, result.coverage.version)
    return answer


def records_answer(records: Iterable[Record], seconds: float) -> Any:
    """Write rows."""
    answer = points_pb2.GetResponse(time=seconds)
    for record in records:
        _fill_record(answer.result.add(), record)
    return answer


def scroll_answer(result: ScrollResult, seconds: float) -> Any:
    """Write a page of rows."""
    answer = points_pb2.ScrollResponse(time=seconds)
    for record in result.records:
        _fill_record(answer.result.add(), record)
    if result.next_offset is not None:
        _fill_id(answer.next_page_offset, result.next_offset)
    return answer


def count_answer(count: int, seconds: float) -> Any:
    """Write a number of rows."""
    return points_pb2.CountResponse(result=points_pb2.CountResult(count=count), time=seconds)


def write_answer(result: WriteResult, seconds: float) -> Any:
    """Tell that a write is durable, and whether all see it."""
    return points_pb2.PointsOperationResponse(result=_update(result), time=seconds)


def writes_answer(result: WriteResult, num_operations: int, seconds: float) -> Any:
    """Tell the same of several operations: they were written as one."""
    return points_pb2.UpdateBatchResponse(result=[_update(result)] * num_operations, time=seconds)


def done_answer(done: bool, seconds: float) -> Any:
    """Tell whether something was done to a collection."""
    return collections_pb2.CollectionOperationResponse(result=done, time=seconds)


def exists_answer(exists: bool, seconds: float) -> Any:
    """Tell whether a collection exists."""
    return collections_pb2.CollectionExistsResponse(result=collections_pb2.CollectionExists(exists=exists), time=seconds)


def names_answer(names: Iterable[str], seconds: float) -> Any:
    """Name collections."""
    described = [collections_pb2.CollectionDescription(name=name) for name in names]
    return collections_pb2.ListCollectionsResponse(collections=described, time=seconds)


def aliases_answer(aliases: Iterable[tuple[str, str]], seconds: float) -> Any:
    """Name aliases with the collection of each."""
    described = [collections_pb2.AliasDescription(alias_name=alias, collection_name=name) for alias, name in aliases]
    return collections_pb2.ListAliasesResponse(aliases=described, time=seconds)


def facts_answer(facts: CollectionFacts, seconds: float) -> Any:
    """Describe a collection."""
    info = collections_pb2.CollectionInfo(
        status=collections_pb2.Green if facts.is_settled else collections_pb2.Yellow,
        optimizer_status=collections_pb2.OptimizerStatus(ok=True),
        segments_count=facts.collection.num_shards,
        points_count=facts.num_rows,
        indexed_vectors_count=facts.num_indexed,
        config=collections_pb2.CollectionConfig(
            params=collections_pb2.CollectionParams(
                vectors_config=_vectors_config(facts.collection.vectors),
                shard_number=facts.collection.num_shards,
                replication_factor=1,
                write_consistency_factor=1,
                on_disk_payload=False,
            ),
            hnsw_config=collections_pb2.HnswConfigDiff(**_HNSW),
            optimizer_config=collections_pb2.OptimizersConfigDiff(**_OPTIMIZER),
            wal_config=collections_pb2.WalConfigDiff(**_WAL),
        ),
    )
    for key, indexed in facts.payload_schema.items():
        info.payload_schema[key].data_type = collections_pb2.PayloadSchemaType.Value(indexed.kind.capitalize())
        info.payload_schema[key].points = indexed.num_points
    return collections_pb2.GetCollectionInfoResponse(result=info, time=seconds)


def _add_hits(add: Callable[[], Any], result: QueryResult) -> None:
    version = result.coverage.version
    if result.payloads is not None or result.vectors is not None:
        for hit in result.points:
            _fill_hit(add(), hit, version)
        return
    _add_bare_hits(add, result.ids, result.scores, version)


def _add_bare_hits(add: Callable[[], Any], ids: Iterable[Id], scores: Iterable[float], version: int) -> None:
    for id, score in zip(ids, scores, strict=True):
        message = add()
        if type(id) is int:
            message.id.num = id
        else:
            message.id.uuid = str(id)
        message.score = score
        message.version = version


def _fill_hit(message: Any, hit: ScoredPoint, version: int) -> None:
    _fill_id(message.id, hit.id)
    message.score = hit.score
    message.version = version
    _fill_content(message, hit.payload, hit.vectors)


def _fill_record(message: Any, record: Record) -> None:
    _fill_id(message.id, record.id)
    _fill_content(message, record.payload, record.vectors)


def _fill_id(message: Any, id: Id) -> None:
    if isinstance(id, int):
        message.num = id
    else:
        message.uuid = str(id)


def _fill_content(message: Any, payload: bytes | None, vectors: Mapping[str, NDArray[np.float32]] | None) -> None:
    if payload is not None:
        write_payload(message.payload, payload)
    if vectors is None:
        return
    if list(vectors) == [""]:
        _fill_vector(message.vectors.vector, vectors[""])
        return
    message.vectors.vectors.SetInParent()
    for name, vector_D in vectors.items():
        _fill_vector(message.vectors.vectors.vectors[name], vector_D)


def _fill_vector(message: Any, vector_D: NDArray[np.float32]) -> None:
    message.dense.SetInParent()
    message.dense.data.extend(vector_D.tolist())


def _update(result: WriteResult) -> Any:
    status = points_pb2.Completed if result.completed else points_pb2.Acknowledged
    return points_pb2.UpdateResult(operation_id=result.operation_id, status=status)


def _vectors_config(vectors: Mapping[str, VectorSettings]) -> Any:
    params = {name: collections_pb2.VectorParams(size=one.dimension, distance=_DISTANCE_OF[one.metric]) for name, one in vectors.items()}
    if list(params) == [""]:
        return collections_pb2.VectorsConfig(params=params[""])
    return collections_pb2.VectorsConfig(params_map=collections_pb2.VectorParamsMap(map=params))
