"""What is asked of the points of one collection over HTTP. Every handler gives the `result` of its answer."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import Request

from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.filter_request import parse_point_id
from reelspace.search.access.http_request import (
    parse_json,
    read_body,
    read_timeout_s,
    request_key,
    write_timeout_s,
    write_wait,
)
from reelspace.search.access.point_request import parse_count, parse_retrieve, parse_scroll
from reelspace.search.access.query_request import parse_groups, parse_query, parse_searches
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import RetrieveRequest, Selection, Write, WriteRequest
from reelspace.search.access.result_json import groups_json, query_json, record_json, scroll_json
from reelspace.search.access.results import WriteResult
from reelspace.search.access.seen_collections import SeenCollections
from reelspace.search.access.write_request import (
    parse_clear_payload,
    parse_delete,
    parse_delete_payload,
    parse_operations,
    parse_overwrite_payload,
    parse_set_payload,
    parse_upsert,
)

_MUCH_BYTES: Final = 64 << 10


class PointEndpoints:
    """The handlers."""

    def __init__(self, catalog: Callable[[], SeenCollections]) -> None:
        self._catalog = catalog

    async def query(self, collection: str, request: Request) -> Any:
        """Find the points nearest to a vector, a point, words or examples."""
        service = await self._catalog().service(collection)
        timeout_s = read_timeout_s(request)
        parsed = parse_query(parse_json(await read_body(request, timeout_s)), service.fields)
        return query_json(await service.query(parsed, timeout_s), service.collection.space_id)

    async def query_batch(self, collection: str, request: Request) -> Any:
        """Answer several queries; one that fails fails all."""
        service = await self._catalog().service(collection)
        timeout_s = read_timeout_s(request)
        parsed = parse_searches(parse_json(await read_body(request, timeout_s)), service.fields)
        results = await service.query_batch(parsed, timeout_s)
        return [query_json(result, service.collection.space_id) for result in results]

    async def query_groups(self, collection: str, request: Request) -> Any:
        """Find the nearest points in groups that share a payload value."""
        service = await self._catalog().service(collection)
        timeout_s = read_timeout_s(request)
        parsed = parse_groups(parse_json(await read_body(request, timeout_s)), service.fields)
        return groups_json(await service.query_groups(parsed, timeout_s), service.collection.space_id)

    async def retrieve(self, collection: str, request: Request) -> Any:
        """Give points by id."""
        service = await self._catalog().service(collection)
        timeout_s = read_timeout_s(request)
        parsed = parse_retrieve(parse_json(await read_body(request, timeout_s)), service.fields)
        return [record_json(record) for record in await service.retrieve(parsed, timeout_s)]

    async def retrieve_one(self, collection: str, point: str, request: Request) -> Any:
        """Give one point with all it has."""
        service = await self._catalog().service(collection)
        timeout_s = read_timeout_s(request)
        # An address has no numbers; int() would read more than a number's digits.
        id = parse_point_id(int(point) if point.isascii() and point.isdigit() and len(point) <= 20 else point, "id")
        wanted = RetrieveRequest((id,), Selection(with_payload=True, with_vectors=tuple(service.fields)))
        for record in await service.retrieve(wanted, timeout_s):
            return record_json(record)
        raise RequestRefused("id", f"no point with id {id}", status=404)

    async def scroll(self, collection: str, request: Request) -> Any:
        """Give a page of points in the order of their ids."""
        service = await self._catalog().service(collection)
        timeout_s = read_timeout_s(request)
        parsed = parse_scroll(parse_json(await read_body(request, timeout_s)), service.fields)
        return scroll_json(await service.scroll(parsed, timeout_s))

    async def count(self, collection: str, request: Request) -> Any:
        """Count points."""
        service = await self._catalog().service(collection)
        timeout_s = read_timeout_s(request)
        return {"count": await service.count(parse_count(parse_json(await read_body(request, timeout_s))), timeout_s)}

    async def upsert(self, collection: str, request: Request) -> Any:
        """Put points in the place of whatever was there."""
        return await self._write(collection, request, lambda body, service: (parse_upsert(body, service.fields),))

    async def delete(self, collection: str, request: Request) -> Any:
        """Delete points."""
        return await self._write(collection, request, lambda body, _: (parse_delete(body),))

    async def set_payload(self, collection: str, request: Request) -> Any:
        """Set keys of payloads."""
        return await self._write(collection, request, lambda body, _: (parse_set_payload(body),))

    async def overwrite_payload(self, collection: str, request: Request) -> Any:
        """Replace payloads."""
        return await self._write(collection, request, lambda body, _: (parse_overwrite_payload(body),))

    async def delete_payload(self, collection: str, request: Request) -> Any:
        """Remove keys of payloads."""
        return await self._write(collection, request, lambda body, _: (parse_delete_payload(body),))

    async def clear_payload(self, collection: str, request: Request) -> Any:
        """Remove payloads."""
        return await self._write(collection, request, lambda body, _: (parse_clear_payload(body),))

    async def update_batch(self, collection: str, request: Request) -> Any:
        """Apply several writes one after the other, each with an answer of its own."""
        num_writes = 0

        def parse(body: Any, service: CollectionService) -> Sequence[Write]:
            nonlocal num_writes
            writes = parse_operations(body, service.fields)
            num_writes = len(writes)
            return writes

        return [await self._write(collection, request, parse)] * num_writes

    async def _write(self, collection: str, request: Request, parse: Callable[[Any, CollectionService], Sequence[Write]]) -> Any:
        service = await self._catalog().service(collection)
        timeout_s, wait, key = write_timeout_s(request), write_wait(request), request_key(request)
        body = await read_body(request, timeout_s)
        if len(body) > _MUCH_BYTES:  # searches go on meanwhile
            writes = await asyncio.to_thread(lambda: parse(parse_json(body), service))
        else:
            writes = parse(parse_json(body), service)
        return _write_json(await service.write(WriteRequest(tuple(writes), wait, key), timeout_s))


def _write_json(result: WriteResult) -> dict[str, Any]:
    return {"operation_id": result.operation_id, "status": "completed" if result.completed else "acknowledged"}
