"""What is asked of whole collections over gRPC. Every handler gives the message that it is answered with."""

import time
from collections.abc import Callable
from typing import Any

from qdrant_client.grpc import collections_pb2, points_pb2, qdrant_pb2

from reelspace.search.access.http_request import READ_TIMEOUT_S, WRITE_TIMEOUT_S
from reelspace.search.access.json_fields import payload_key
from reelspace.search.access.messages import answers
from reelspace.search.access.messages.call import Call
from reelspace.search.access.messages.collection_message import alias_actions_of, create_of, field_index_of, field_name_of
from reelspace.search.access.messages.set_fields import parse_message
from reelspace.search.access.results import WriteResult
from reelspace.search.access.routes import DIALECT_VERSION
from reelspace.search.access.seen_collections import SeenCollections

_COMPLETED = WriteResult(None, True)


class CollectionMethods:
    """The handlers."""

    def __init__(self, catalog: Callable[[], SeenCollections]) -> None:
        self._catalog = catalog

    async def list(self, data: bytes, call: Call) -> Any:
        """Name every collection."""
        start_s = time.perf_counter()
        parse_message(collections_pb2.ListCollectionsRequest, data)
        return answers.names_answer(self._catalog().names(), time.perf_counter() - start_s)

    async def describe(self, data: bytes, call: Call) -> Any:
        """Describe a collection by its name or alias."""
        start_s, message = time.perf_counter(), parse_message(collections_pb2.GetCollectionInfoRequest, data)
        facts = await self._catalog().describe(message.collection_name, call.within_s(READ_TIMEOUT_S))
        return answers.facts_answer(facts, time.perf_counter() - start_s)

    async def exists(self, data: bytes, call: Call) -> Any:
        """Tell whether a name means a collection."""
        start_s, message = time.perf_counter(), parse_message(collections_pb2.CollectionExistsRequest, data)
        exists = await self._catalog().exists(message.collection_name)
        return answers.exists_answer(exists, time.perf_counter() - start_s)

    async def create(self, data: bytes, call: Call) -> Any:
        """Make a collection."""
        start_s, message = time.perf_counter(), parse_message(collections_pb2.CreateCollection, data)
        await self._catalog().create(message.collection_name, create_of(message), call.limit_s(message, WRITE_TIMEOUT_S))
        return answers.done_answer(True, time.perf_counter() - start_s)

    async def delete(self, data: bytes, call: Call) -> Any:
        """Delete a collection; false if there was none."""
        start_s, message = time.perf_counter(), parse_message(collections_pb2.DeleteCollection, data)
        done = await self._catalog().delete(message.collection_name, call.limit_s(message, WRITE_TIMEOUT_S))
        return answers.done_answer(done, time.perf_counter() - start_s)

    async def aliases(self, data: bytes, call: Call) -> Any:
        """Give every alias."""
        start_s = time.perf_counter()
        parse_message(collections_pb2.ListAliasesRequest, data)
        return answers.aliases_answer(await self._catalog().aliases(), time.perf_counter() - start_s)

    async def aliases_of(self, data: bytes, call: Call) -> Any:
        """Give the aliases of one collection."""
        start_s, message = time.perf_counter(), parse_message(collections_pb2.ListCollectionAliasesRequest, data)
        return answers.aliases_answer(await self._catalog().aliases(message.collection_name), time.perf_counter() - start_s)

    async def change_aliases(self, data: bytes, call: Call) -> Any:
        """Apply actions on aliases together."""
        start_s, message = time.perf_counter(), parse_message(collections_pb2.ChangeAliases, data)
        await self._catalog().change_aliases(alias_actions_of(message), call.limit_s(message, WRITE_TIMEOUT_S))
        return answers.done_answer(True, time.perf_counter() - start_s)

    async def index_key(self, data: bytes, call: Call) -> Any:
        """Let shards keep a payload key in columns."""
        start_s, message = time.perf_counter(), parse_message(points_pb2.CreateFieldIndexCollection, data)
        key, kind = field_index_of(message)
        await self._catalog().index_key(message.collection_name, key, kind, call.limit_s(message, WRITE_TIMEOUT_S))
        return answers.write_answer(_COMPLETED, time.perf_counter() - start_s)

    async def drop_key(self, data: bytes, call: Call) -> Any:
        """Keep a payload key in columns no more."""
        start_s, message = time.perf_counter(), parse_message(points_pb2.DeleteFieldIndexCollection, data)
        key = field_name_of(message)
        payload_key(key, "field_name")
        await self._catalog().drop_key(message.collection_name, key, call.limit_s(message, WRITE_TIMEOUT_S))
        return answers.write_answer(_COMPLETED, time.perf_counter() - start_s)

    async def health(self, data: bytes, call: Call) -> Any:
        """Tell that this process runs, and the version of the dialect."""
        parse_message(qdrant_pb2.HealthCheckRequest, data)
        return qdrant_pb2.HealthCheckReply(title="reelspace", version=DIALECT_VERSION)
