"""What is asked of whole collections over HTTP. Every handler gives the `result` of its answer."""

from collections.abc import Callable
from typing import Any

from fastapi import Request

from reelspace.search.access.collection_request import parse_alias_actions, parse_create, parse_field_index
from reelspace.search.access.http_request import change_timeout_s, parse_json, read_body, read_timeout_s
from reelspace.search.access.json_fields import payload_key
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.result_json import aliases_json, facts_json
from reelspace.search.access.seen_collections import SeenCollections


class CollectionEndpoints:
    """The handlers."""

    def __init__(self, catalog: Callable[[], SeenCollections]) -> None:
        self._catalog = catalog

    async def list(self, request: Request) -> Any:
        """Name every collection."""
        return {"collections": [{"name": name} for name in self._catalog().names()]}

    async def describe(self, collection: str, request: Request) -> Any:
        """Describe a collection by its name or alias."""
        return facts_json(await self._catalog().describe(collection, read_timeout_s(request)))

    async def exists(self, collection: str, request: Request) -> Any:
        """Tell whether a name means a collection."""
        return {"exists": await self._catalog().exists(collection)}

    async def create(self, collection: str, request: Request) -> Any:
        """Make a collection."""
        timeout_s = change_timeout_s(request)
        await self._catalog().create(collection, parse_create(parse_json(await read_body(request, timeout_s))), timeout_s)
        return True

    async def delete(self, collection: str, request: Request) -> Any:
        """Delete a collection; false if there was none."""
        return await self._catalog().delete(collection, change_timeout_s(request))

    async def aliases(self, request: Request) -> Any:
        """Give every alias."""
        return aliases_json(await self._catalog().aliases())

    async def aliases_of(self, collection: str, request: Request) -> Any:
        """Give the aliases of one collection."""
        return aliases_json(await self._catalog().aliases(collection))

    async def change_aliases(self, request: Request) -> Any:
        """Apply actions on aliases together."""
        timeout_s = change_timeout_s(request)
        actions = parse_alias_actions(parse_json(await read_body(request, timeout_s)))
        await self._catalog().change_aliases(actions, timeout_s)
        return True

    async def index_key(self, collection: str, request: Request) -> Any:
        """Let shards keep a payload key in columns."""
        timeout_s = change_timeout_s(request)
        key, kind = parse_field_index(parse_json(await read_body(request, timeout_s)))
        await self._catalog().index_key(collection, key, kind, timeout_s)
        return _COMPLETED

    async def drop_key(self, collection: str, key: str, request: Request) -> Any:
        """Keep a payload key in columns no more."""
        payload_key(key, "field_name")
        await self._catalog().drop_key(collection, key, change_timeout_s(request))
        return _COMPLETED

    async def unserved(self, feature: str, request: Request) -> Any:
        """Name what is not served."""
        collection, _, rest = feature.partition("/")
        raise RequestRefused("path", f"{request.method} {rest or f'of collection {collection[:80]!r}'} is not served here", status=501)


_COMPLETED = {"operation_id": None, "status": "completed"}
