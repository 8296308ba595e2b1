"""The gRPC methods of the Qdrant dialect that are served; every other one is UNIMPLEMENTED by its name."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from reelspace.search.access.messages.call import Call, Method, MethodNow
from reelspace.search.access.messages.collection_methods import CollectionMethods
from reelspace.search.access.messages.point_methods import PointMethods
from reelspace.search.access.seen_collections import SeenCollections


def dialect_methods(catalog: Callable[[], SeenCollections]) -> dict[str, Method]:
    """Give the methods by path, as `/qdrant.Points/Query`; `catalog` is asked for calls, after the server has started."""
    points, collections = PointMethods(catalog), CollectionMethods(catalog)
    handlers = {
        "Points/Query": points.query,
        "Points/QueryBatch": points.query_batch,
        "Points/QueryGroups": points.query_groups,
        "Points/Get": points.retrieve,
        "Points/Scroll": points.scroll,
        "Points/Count": points.count,
        "Points/Upsert": points.upsert,
        "Points/Delete": points.delete,
        "Points/SetPayload": points.set_payload,
        "Points/OverwritePayload": points.overwrite_payload,
        "Points/DeletePayload": points.delete_payload,
        "Points/ClearPayload": points.clear_payload,
        "Points/UpdateBatch": points.update_batch,
        "Points/CreateFieldIndex": collections.index_key,
        "Points/DeleteFieldIndex": collections.drop_key,
        "Collections/List": collections.list,
        "Collections/Get": collections.describe,
        "Collections/CollectionExists": collections.exists,
        "Collections/Create": collections.create,
        "Collections/Delete": collections.delete,
        "Collections/ListAliases": collections.aliases,
        "Collections/ListCollectionAliases": collections.aliases_of,
        "Collections/UpdateAliases": collections.change_aliases,
        "Qdrant/HealthCheck": collections.health,
    }
    return {f"/qdrant.{path}": _bytes_of(handler) for path, handler in handlers.items()}


def dialect_methods_now(catalog: Callable[[], SeenCollections]) -> dict[str, MethodNow]:
    """Give what can be answered on the spot, by path; see PointMethods.query_now."""
    return {"/qdrant.Points/Query": PointMethods(catalog).query_now}


def _bytes_of(handler: Callable[[bytes, Call], Awaitable[Any]]) -> Method:
    @wraps(handler)
    async def method(data: bytes, call: Call) -> bytes:
        answer = await handler(data, call)
        written: bytes = answer if isinstance(answer, bytes) else answer.SerializeToString()
        return written

    return method
