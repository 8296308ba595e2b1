"""What is asked of the points of one collection over gRPC. Every handler gives the message that it is answered with."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from qdrant_client.grpc import points_pb2

from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.http_request import READ_TIMEOUT_S, WRITE_TIMEOUT_S
from reelspace.search.access.messages import answers
from reelspace.search.access.messages.alike_message import alike_requests_of, read_alike
from reelspace.search.access.messages.call import Call
from reelspace.search.access.messages.known_queries import FoundQuery, KnownQueries, KnownQuery
from reelspace.search.access.messages.point_message import count_of, retrieve_of, scroll_of
from reelspace.search.access.messages.query_message import groups_of, queries_of, query_of, with_vector
from reelspace.search.access.messages.set_fields import parse_message
from reelspace.search.access.messages.write_message import (
    clear_payload_of,
    delete_of,
    delete_payload_of,
    operations_of,
    overwrite_payload_of,
    set_payload_of,
    upsert_of,
)
from reelspace.search.access.requests import QueryRequest, Write, WriteRequest
from reelspace.search.access.results import WriteResult
from reelspace.search.access.seen_collections import SeenCollections
from reelspace.search.storage.rows import Fields

_MUCH_BYTES: Final = 64 << 10
WriteOf = Callable[[Any, Fields], Write]


class PointMethods:
    """The handlers."""

    def __init__(self, catalog: Callable[[], SeenCollections]) -> None:
        self._catalog = catalog
        self._known = KnownQueries()

    async def query(self, data: bytes, call: Call) -> Any:
        """Find the points nearest to a vector, a point, words or examples."""
        start_s, found = time.perf_counter(), self._known.find(data)
        message = parse_message(points_pb2.QueryPoints, data) if found is None else found.known.message
        service = await self._catalog().service(message.collection_name)
        request = self._query(data, message, found, service.fields)
        result = await service.query(request, call.limit_s(message, READ_TIMEOUT_S))
        return answers.query_answer(result, time.perf_counter() - start_s)

    def query_now(self, data: bytes, call: Call) -> bytes | None:
        """Answer a query as `query` does, on the spot; None where something must be waited for."""
        start_s, found = time.perf_counter(), self._known.find(data)
        message = parse_message(points_pb2.QueryPoints, data) if found is None else found.known.message
        service = self._catalog().service_now(message.collection_name)
        if service is None or call.limit_s(message, READ_TIMEOUT_S) <= 0:
            return None
        result = service.query_now(self._query(data, message, found, service.fields))
        if result is None:
            return None
        answer: bytes = answers.query_answer(result, time.perf_counter() - start_s).SerializeToString()
        return answer

    async def query_batch(self, data: bytes, call: Call) -> Any:
        """Answer several queries; one that fails fails all."""
        start_s, alike = time.perf_counter(), read_alike(data)
        message = parse_message(points_pb2.QueryBatchPoints, data) if alike is None else alike.message
        service = await self._catalog().service(message.collection_name)
        if alike is not None:
            requests = alike_requests_of(alike, service.fields)
            if requests is not None:
                result = await service.query_alike(requests, call.limit_s(message, READ_TIMEOUT_S))
                return answers.alike_answer(result, time.perf_counter() - start_s)
            message = parse_message(points_pb2.QueryBatchPoints, data)
        results = await service.query_batch(queries_of(message, service.fields), call.limit_s(message, READ_TIMEOUT_S))
        return answers.batch_answer(results, time.perf_counter() - start_s)

    async def query_groups(self, data: bytes, call: Call) -> Any:
        """Find the nearest points in groups that share a payload value."""
        start_s, message = time.perf_counter(), parse_message(points_pb2.QueryPointGroups, data)
        service = await self._catalog().service(message.collection_name)
        result = await service.query_groups(groups_of(message, service.fields), call.limit_s(message, READ_TIMEOUT_S))
        return answers.groups_answer(result, time.perf_counter() - start_s)

    async def retrieve(self, data: bytes, call: Call) -> Any:
        """Give points by id."""
        start_s, message = time.perf_counter(), parse_message(points_pb2.GetPoints, data)
        service = await self._catalog().service(message.collection_name)
        records = await service.retrieve(retrieve_of(message, service.fields), call.limit_s(message, READ_TIMEOUT_S))
        return answers.records_answer(records, time.perf_counter() - start_s)

    async def scroll(self, data: bytes, call: Call) -> Any:
        """Give a page of points in the order of their ids."""
        start_s, message = time.perf_counter(), parse_message(points_pb2.ScrollPoints, data)
        service = await self._catalog().service(message.collection_name)
        result = await service.scroll(scroll_of(message, service.fields), call.limit_s(message, READ_TIMEOUT_S))
        return answers.scroll_answer(result, time.perf_counter() - start_s)

    async def count(self, data: bytes, call: Call) -> Any:
        """Count points."""
        start_s, message = time.perf_counter(), parse_message(points_pb2.CountPoints, data)
        service = await self._catalog().service(message.collection_name)
        count = await service.count(count_of(message), call.limit_s(message, READ_TIMEOUT_S))
        return answers.count_answer(count, time.perf_counter() - start_s)

    async def upsert(self, data: bytes, call: Call) -> Any:
        """Put points in the place of whatever was there."""
        return await self._one(points_pb2.UpsertPoints, data, call, upsert_of)

    async def delete(self, data: bytes, call: Call) -> Any:
        """Delete points."""
        return await self._one(points_pb2.DeletePoints, data, call, delete_of)

    async def set_payload(self, data: bytes, call: Call) -> Any:
        """Set keys of payloads."""
        return await self._one(points_pb2.SetPayloadPoints, data, call, set_payload_of)

    async def overwrite_payload(self, data: bytes, call: Call) -> Any:
        """Replace payloads."""
        return await self._one(points_pb2.SetPayloadPoints, data, call, overwrite_payload_of)

    async def delete_payload(self, data: bytes, call: Call) -> Any:
        """Remove keys of payloads."""
        return await self._one(points_pb2.DeletePayloadPoints, data, call, delete_payload_of)

    async def clear_payload(self, data: bytes, call: Call) -> Any:
        """Remove payloads."""
        return await self._one(points_pb2.ClearPayloadPoints, data, call, clear_payload_of)

    async def update_batch(self, data: bytes, call: Call) -> Any:
        """Apply several writes one after the other, each with an answer of its own."""
        start_s = time.perf_counter()
        result, num_writes = await self._write(points_pb2.UpdateBatchPoints, data, call, operations_of)
        return answers.writes_answer(result, num_writes, time.perf_counter() - start_s)

    def _query(self, data: bytes, message: Any, found: FoundQuery | None, fields: Fields) -> QueryRequest:
        """Check a query; of one like those before only its vector."""
        if found is not None:
            if found.known.fields is fields:
                return with_vector(found.known.request, found.vector_D, fields)
            message = parse_message(points_pb2.QueryPoints, data)  # its name means another collection by now
        request = query_of(message, fields)
        self._known.learn(data, KnownQuery(message, fields, request))
        return request

    async def _one(self, kind: Any, data: bytes, call: Call, read: WriteOf) -> Any:
        start_s = time.perf_counter()
        result, _ = await self._write(kind, data, call, lambda message, fields: (read(message, fields),))
        return answers.write_answer(result, time.perf_counter() - start_s)

    async def _write(self, kind: Any, data: bytes, call: Call, read: Callable[[Any, Fields], Sequence[Write]]) -> tuple[WriteResult, int]:
        message = parse_message(kind, data)
        service: CollectionService = await self._catalog().service(message.collection_name)
        timeout_s, key = call.limit_s(message, WRITE_TIMEOUT_S), call.request_key
        if len(data) > _MUCH_BYTES:  # searches go on meanwhile
            writes = await asyncio.to_thread(read, message, service.fields)
        else:
            writes = read(message, service.fields)
        return await service.write(WriteRequest(tuple(writes), message.wait, key), timeout_s), len(writes)
