"""The subset of Qdrant's REST dialect that is served; what of Qdrant is not served answers 501 by name."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import orjson
from fastapi import APIRouter, Response
from fastapi.routing import APIRoute

from reelspace.search.access.collection_endpoints import CollectionEndpoints
from reelspace.search.access.http_answer import DialectRoute
from reelspace.search.access.point_endpoints import PointEndpoints
from reelspace.search.access.schemas.operations import OPERATIONS, REFUSED, VERSION
from reelspace.search.access.seen_collections import SeenCollections

DIALECT_VERSION: Final = "1.20.0"
"""The version of Qdrant whose names are used: clients compare it with their own."""
EVERY_METHOD: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
Handler: TypeAlias = Callable[..., Any]


def as_it_is(handler: Handler) -> Handler:
    """Let everyone ask."""
    return handler


def dialect_router(catalog: Callable[[], SeenCollections], permitted: Callable[[Handler], Handler] = as_it_is) -> APIRouter:
    """Make the routes.

    Args:
        catalog: asked for requests, after the server has started.
        permitted: gives the handler that stands before each of ours, and checks who asks.
    """
    router = APIRouter(route_class=DialectRoute)
    points, collections = PointEndpoints(catalog), CollectionEndpoints(catalog)
    one = "/collections/{collection}"
    routes: list[tuple[str, str, Callable[..., Any]]] = [
        ("POST", f"{one}/points/query", points.query),
        ("POST", f"{one}/points/query/batch", points.query_batch),
        ("POST", f"{one}/points/query/groups", points.query_groups),
        ("PUT", f"{one}/points", points.upsert),
        ("POST", f"{one}/points", points.retrieve),
        ("POST", f"{one}/points/scroll", points.scroll),
        ("POST", f"{one}/points/count", points.count),
        ("POST", f"{one}/points/delete", points.delete),
        ("POST", f"{one}/points/payload", points.set_payload),
        ("PUT", f"{one}/points/payload", points.overwrite_payload),
        ("POST", f"{one}/points/payload/delete", points.delete_payload),
        ("POST", f"{one}/points/payload/clear", points.clear_payload),
        ("POST", f"{one}/points/batch", points.update_batch),
        ("GET", f"{one}/points/{{point}}", points.retrieve_one),
        ("GET", "/collections", collections.list),
        ("GET", "/aliases", collections.aliases),
        ("POST", "/collections/aliases", collections.change_aliases),
        ("GET", one, collections.describe),
        ("PUT", one, collections.create),
        ("DELETE", one, collections.delete),
        ("GET", f"{one}/exists", collections.exists),
        ("GET", f"{one}/aliases", collections.aliases_of),
        ("PUT", f"{one}/index", collections.index_key),
        ("DELETE", f"{one}/index/{{key}}", collections.drop_key),
    ]
    for method, path, endpoint in routes:
        document = OPERATIONS[endpoint.__qualname__].document
        router.add_api_route(path, permitted(endpoint), methods=[method], openapi_extra=document, responses=REFUSED)
    router.add_api_route("/", permitted(version), methods=["GET"], route_class_override=APIRoute, openapi_extra=VERSION)
    router.add_api_route("/collections/{feature:path}", permitted(collections.unserved), methods=EVERY_METHOD, include_in_schema=False)
    return router


async def version() -> Response:
    """Tell clients which version's names are used here."""
    return Response(orjson.dumps({"title": "reelspace", "version": DIALECT_VERSION}), media_type="application/json")
