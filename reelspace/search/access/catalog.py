"""Every collection that a gateway serves, by the names clients use: those they made, and the promoted one.

Names and pointers lie in the store and are read again once a second, so that what another gateway did is seen here; requests never
wait for that. Resolution: name, alias, the promoted collection's alias, full name.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from secrets import token_hex
from typing import Any, Final, TypeVar

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.access.backend import Backend, Surroundings
from reelspace.search.access.collection_request import KeyKind
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.current_request import CurrentRequest, current_request
from reelspace.search.access.fanout import FanoutSettings
from reelspace.search.access.moving import CATCH_UP_S, Moving
from reelspace.search.access.refusal import RequestRefused, not_served
from reelspace.search.access.requests import AliasAction, CreateAlias, CreateCollection, DeleteAlias
from reelspace.search.access.results import CollectionFacts, IndexedKey
from reelspace.search.access.shard_client import ShardTimeout
from reelspace.search.access.together import together
from reelspace.search.compute.filters import Filter, IsEmpty, encode_filter
from reelspace.search.scheduling.retire import remove_deleted
from reelspace.search.storage.former_shards import FormerShards
from reelspace.search.storage.known import Known, read_known
from reelspace.search.storage.layout import (
    PAYLOAD_SCHEMA,
    Collection,
    PayloadSchema,
    SpacePointer,
    collection_key,
    read_collection,
    remove_collection,
)
from reelspace.search.storage.moves import read_moved_from
from reelspace.search.storage.names import NAMES_KEY, NameRefused, Names, NameTaken, NameUnknown, check_new_name
from reelspace.search.storage.replaced_file import read_or_default, replace_file

REFRESH_S: Final = 1.0
OPEN_S: Final = 30.0
GRACE_S: Final = 60.0
"""A collection that is served no more answers what was asked before, for as long as a request may take."""
_LEAST_AGE_S: Final = 0.1
T = TypeVar("T")


class Catalog:
    """The collections of one store. Belongs to one event loop: start it there, and close it."""

    def __init__(
        self,
        store: Store,
        surroundings: Surroundings,
        create: Callable[[Store, Collection], object],
        settings: FanoutSettings,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Serve a store.

        Args:
            create: writes the files of a collection without rows.
            on_batch: hears the number of queries of every call of shards.
        """
        self._store = store
        self._surroundings = surroundings
        self._create = create
        self._settings = settings
        self._on_batch = on_batch
        self._known = Known(Names(), None)
        self._read_s = 0.0
        self._reading = asyncio.Lock()
        self._next_read: asyncio.Task[None] | None = None
        self._by_name: dict[str, CollectionService] = {}
        self._services: dict[str, asyncio.Task[CollectionService]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._following: set[str] = set()
        self._placing: asyncio.Task[None] | None = None
        self._moving = Moving(store, self, self._spawn)

    async def start(self) -> None:
        """Read the names and begin to follow them; raises what reading them raises."""
        await self._read()
        if self._known.promoted is not None:
            self._opening(self._known.promoted.collection)
        self._spawn(self._follow())

    @property
    def backend(self) -> Backend:
        """Give where shards run."""
        return self._surroundings.backend

    async def close(self) -> None:
        """Let go of everything."""
        for task in self._tasks:
            task.cancel()
        for full_name in list(self._services):
            await self._drop(full_name)

    async def service(self, name: str) -> CollectionService:
        """Find a collection by a client's name.

        Raises:
            RequestRefused: 404, no such collection; 412, the request is of another space.
            ShardTimeout: its shards are still loading.
        """
        ready = self._by_name.get(name)
        if ready is not None:
            return _of_space(ready)
        full_name = self._moving.serving(await self._full_name(name))
        try:
            async with asyncio.timeout(OPEN_S):
                service = await asyncio.shield(self._opening(full_name))
        except TimeoutError as error:
            raise ShardTimeout(f"collection {name} was not loaded within {OPEN_S:.3g} s: try again") from error
        if self._moving.serving(self._known.full_name(name) or "") == full_name:
            self._by_name[name] = service
        return _of_space(service)

    def is_open(self, full_name: str) -> bool:
        """Tell whether a collection's shards are asked by this process."""
        return full_name in self._services

    async def open(self, full_name: str) -> CollectionService:
        """Find a collection by its full name; raises what opening it raises."""
        return await asyncio.shield(self._opening(full_name))

    @property
    def known(self) -> Known:
        """What the store said last."""
        return self._known

    async def look(self) -> None:
        """Let the store say it again; raises what reading it raises."""
        await self._read()

    def is_ready(self, full_name: str) -> bool:
        """Tell whether a collection is open and answers."""
        return full_name in self._open_services()

    def arrived(self, full_name: str) -> None:
        """Let a collection answer from now on in the place of the one that it was made of."""
        self._by_name.clear()
        if (old := self._known.moved_from(full_name)) is not None:
            self._spawn(self._drop_later(old))

    def service_now(self, name: str) -> CollectionService | None:
        """Find a collection that was found before, None else, and where the request is of another space."""
        service = self._by_name.get(name)
        return service if service is None or is_of_space(service.collection) else None

    def opened(self, name: str) -> CollectionService | None:
        """Find a collection that is open already, None else."""
        task = self._services.get(self._moving.serving(self._known.full_name(name) or ""))
        return None if task is None or not task.done() or _failed(task) else task.result()

    def names(self) -> list[str]:
        """Give the names of all collections; of the promoted one its full name."""
        own = [self._known.promoted.collection] if self._known.promoted else []
        return [*own, *sorted(self._known.names.collections)]

    def meaning(self, name: str) -> str | None:
        """Give the full name of the collection that a name means as far as is known now, None if it means none."""
        return self._known.full_name(name)

    @property
    def num_waiting(self) -> int:
        """Give how many queries wait for their turn, those of all collections."""
        return sum(service.num_waiting for service in self._open_services().values())

    def recalls(self) -> list[tuple[float, bool]]:
        """Give what searches of each shard found lately of what they should, and whether that is too little; known ones only."""
        facts = [one for service in self._open_services().values() for one in service.tally.facts]
        return [(one.recall, one.has_low_recall) for one in facts if one.recall is not None]

    async def exists(self, name: str) -> bool:
        """Tell whether a name means a collection."""
        await self._refresh_if_unknown(name)
        return self._known.full_name(name) is not None

    async def create(self, name: str, request: CreateCollection, timeout_s: float) -> None:
        """Make a collection without rows.

        Raises:
            RequestRefused: 400 for a name that is none, 409 for one that is taken.
        """
        try:
            check_new_name(name)
        except NameRefused as error:
            raise RequestRefused("collection", str(error)) from error
        await self._within(self._created(name, request), timeout_s)

    async def delete(self, name: str, timeout_s: float) -> bool:
        """Forget a collection, and begin to remove its rows; False if there is none of the name."""
        if self._known.promoted is not None and name in (self._known.promoted.alias, self._known.promoted.collection):
            raise not_served("collection", "DELETE of the promoted collection, which `promote` replaces,")
        return await self._within(self._deleted(name), timeout_s)

    async def aliases(self, name: str | None = None) -> list[tuple[str, str]]:
        """Give aliases with the name each means: all, or those of one collection."""
        if name is None:
            return self._known.aliases()
        full_name = await self._full_name(name)
        return [(alias, one) for alias, one in self._known.aliases() if self._known.full_name(alias) == full_name]

    async def change_aliases(self, actions: tuple[AliasAction, ...], timeout_s: float) -> None:
        """Apply actions on aliases together, or none.

        Raises:
            RequestRefused: 404 for a collection or alias that is not there, 409 for an alias that is the name of a collection.
        """
        await self._within(self._changed(lambda names: self._with_actions(names, actions)), timeout_s)

    async def describe(self, name: str, timeout_s: float) -> CollectionFacts:
        """Tell what a collection is and holds, with its aliases and indexed payload keys."""
        service = await self.service(name)
        full_name = service.collection.full_name
        schema = await asyncio.to_thread(read_or_default, self._store, PayloadSchema, _schema_key(full_name))
        facts = await service.describe(timeout_s)
        wheres = [encode_filter(Filter(must_not=(IsEmpty(key),))) for key in schema.keys]
        counts = await together([service.count(where, timeout_s) for where in wheres])
        indexed = {key: IndexedKey(kind, count) for (key, kind), count in zip(schema.keys.items(), counts, strict=True)}
        aliases = tuple(alias for alias, _ in await self.aliases(name))
        return replace(facts, aliases=aliases, payload_schema=indexed)

    async def index_key(self, name: str, key: str, kind: KeyKind, timeout_s: float) -> None:
        """Let every shard keep a payload key in columns; a kind that was told before is replaced."""
        await self._change_schema(name, lambda schema: PayloadSchema(keys=schema.keys | {key: kind}), timeout_s)

    async def drop_key(self, name: str, key: str, timeout_s: float) -> None:
        """Keep a payload key in columns no more."""
        await self._change_schema(
            name, lambda schema: PayloadSchema(keys={one: kind for one, kind in schema.keys.items() if one != key}), timeout_s
        )

    async def overdue(self, timeout_s: float) -> list[tuple[str, int]]:
        """Name the shards of open collections whose next generation should be built: full name and number."""
        ready = {name: service for name, service in self._open_services().items() if self._known.wants(name)}
        return [(name, shard) for name, service in ready.items() for shard in await service.overdue(timeout_s)]

    async def probe(self, timeout_s: float) -> None:
        """Make the promoted collection, and all that are open, really answer; raises what they raise."""
        full_names = {*self._open_services()} | ({self._known.promoted.collection} if self._known.promoted else set())
        await self._within(together([self._probe(full_name, timeout_s) for full_name in sorted(full_names)]), timeout_s)

    def _open_services(self) -> dict[str, CollectionService]:
        """Give the collections that are open by their full names."""
        return {name: task.result() for name, task in self._services.items() if task.done() and not _failed(task)}

    async def _probe(self, full_name: str, timeout_s: float) -> None:
        await (await asyncio.shield(self._opening(full_name))).probe(timeout_s)

    async def _full_name(self, name: str) -> str:
        await self._refresh_if_unknown(name)
        full_name = self._known.full_name(name)
        if full_name is None:
            raise RequestRefused("collection", f"Collection `{name[:80]}` doesn't exist", status=404)
        return full_name

    async def _refresh_if_unknown(self, name: str) -> None:
        """Let a name that is not known be looked for in the store as it is now, by one look for all who ask at a time."""
        if self._known.full_name(name) is not None:
            return
        if self._next_read is None:
            self._next_read = self._spawn(self._read_soon())
        await asyncio.shield(self._next_read)

    async def _read_soon(self) -> None:
        await asyncio.sleep(max(0.0, self._read_s + _LEAST_AGE_S - asyncio.get_running_loop().time()))
        self._next_read = None
        await self._read()

    async def _created(self, name: str, request: CreateCollection) -> None:
        await self._read()
        if self._known.full_name(name) is not None:
            raise RequestRefused("collection", f"Collection `{name}` already exists", status=409)
        collection = Collection(name=name, space_id=token_hex(8), vectors=dict(request.vectors), num_shards=request.num_shards)
        try:
            await asyncio.to_thread(self._create, self._store, collection)
        except (ReelspaceError, OSError):
            await self._remove_half_made(collection.full_name)
            raise
        try:
            await self._changed(lambda names: names.with_collection(name, collection.full_name))
        except RequestRefused:
            await asyncio.to_thread(remove_collection, self._store, collection.full_name)
            raise

    async def _remove_half_made(self, full_name: str) -> None:
        try:
            await asyncio.to_thread(remove_collection, self._store, full_name)
        except (ReelspaceError, OSError) as error:
            log("half_made_left", collection=full_name, error=str(error))  # nothing leads there

    async def _deleted(self, name: str) -> bool:
        found: list[str] = []

        def without(names: Names) -> Names:
            found.extend(full for full in [names.collections.get(name)] if full)
            return names.without_collection(name, found[-1]) if found else names

        await self._changed(without)
        if not found:
            return False
        # Without its own file no write into it is acknowledged any more; the rest may be much, and nothing leads there.
        await asyncio.to_thread(self._store.delete, collection_key(found[-1]))
        await self._drop(found[-1])
        self._spawn(asyncio.to_thread(remove_deleted, self._store, found[-1]))
        return True

    async def _changed(self, change: Callable[[Names], Names]) -> None:
        async with self._reading:
            try:
                names = await asyncio.to_thread(replace_file, self._store, Names, NAMES_KEY, change)
            except NameTaken as error:
                raise RequestRefused("collection", str(error), status=409) from error
            except NameUnknown as error:
                raise RequestRefused("alias", str(error), status=404) from error
            self._learn(replace(self._known, names=names))

    def _with_actions(self, names: Names, actions: tuple[AliasAction, ...]) -> Names:
        for action in actions:
            known = Known(names, self._known.promoted)
            if isinstance(action, CreateAlias):
                if known.full_name(action.collection) is None or action.collection in names.aliases:
                    raise RequestRefused("collection", f"Collection `{action.collection[:80]}` doesn't exist", status=404)
                names = names.with_alias(self._free(action.alias), action.collection)
            elif isinstance(action, DeleteAlias):
                names = names.without_alias(action.alias)
            else:
                names = names.renamed_alias(action.old, self._free(action.new))
        return names

    def _free(self, alias: str) -> str:
        promoted = self._known.promoted
        if promoted is not None and alias in (promoted.alias, promoted.collection):
            raise RequestRefused("alias", f"`{alias}` means the promoted collection", status=409)
        return alias

    async def _change_schema(self, name: str, change: Callable[[PayloadSchema], PayloadSchema], timeout_s: float) -> None:
        full_name: str | None = await self._full_name(name)
        changed = None
        while full_name is not None and full_name != changed:
            changed = full_name
            await self._within(asyncio.to_thread(replace_file, self._store, PayloadSchema, _schema_key(full_name), change), timeout_s)
            # It may have moved meanwhile, and what it moved into have been given its keys before.
            await self._read()
            full_name = self._known.full_name(name)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            # What could not be opened is tried again, but not for every request that comes.
            self._services = {name: task for name, task in self._services.items() if not _failed(task)}
            try:
                await self._read()
            except ReelspaceError as error:
                # What is known goes on being served; the store may be back at the next look.
                log("names_not_read", error=str(error))
            self._moving.heard()
            if self._placing is None or self._placing.done():
                self._placing = self._spawn(self._follow_placement())
            for full_name, service in self._open_services().items():
                if full_name not in self._following:
                    self._following.add(full_name)
                    self._spawn(self._follow_view(full_name, service))

    async def _follow_placement(self) -> None:
        try:
            await self._surroundings.backend.follow()
        except ReelspaceError as error:
            log("placement_not_followed", error=str(error))

    async def _follow_view(self, full_name: str, service: CollectionService) -> None:
        """Go over to the generations that are current now; loading them may take longer than the time between two looks."""
        try:
            await service.follow()
        except ReelspaceError as error:
            log("view_not_followed", collection=full_name, error=str(error))
        finally:
            self._following.discard(full_name)

    async def _read(self) -> None:
        async with self._reading:
            self._read_s = asyncio.get_running_loop().time()
            known = await asyncio.to_thread(read_known, self._store, self._known)
            before = self._known.promoted
            if before is not None and known.promoted != before:
                self._spawn(self._promote(known.promoted))
                known = replace(known, promoted=before)
            self._learn(known)

    async def _promote(self, pointer: SpacePointer | None) -> None:
        """Serve what is promoted now once it is loaded; until then what was promoted before answers."""
        try:
            if pointer is not None:
                service = await self._opening(pointer.collection, pointer)
                service.use_encoders(self._surroundings.encoders(pointer))
        except ReelspaceError as error:
            log("promoted_not_opened", error=str(error))
            return
        self._learn(replace(self._known, promoted=pointer))

    def _learn(self, known: Known) -> None:
        if known == self._known:
            return
        self._known = known
        self._by_name.clear()
        self._moving.heard()
        for full_name in self._services:
            if not known.wants(full_name):
                self._spawn(self._drop_later(full_name))

    def _opening(self, full_name: str, pointer: SpacePointer | None = None) -> "asyncio.Task[CollectionService]":
        task = self._services.get(full_name)
        if task is None:
            task = self._services[full_name] = asyncio.get_running_loop().create_task(self._open(full_name, pointer))
        return task

    async def _open(self, full_name: str, pointer: SpacePointer | None) -> CollectionService:
        collection = await asyncio.to_thread(read_collection, self._store, full_name)
        shards = await self._surroundings.backend.open(collection)
        pointer = pointer or self._known.promoted
        if pointer is not None and pointer.collection != full_name:
            pointer = pointer.before  # one that clients may go on with
        encoders = self._surroundings.encoders(pointer) if pointer is not None and pointer.collection == full_name else {}
        moved_from = await asyncio.to_thread(read_moved_from, self._store, full_name)
        service = CollectionService(collection, shards, self._store, encoders, self._settings, self._on_batch)
        service.follow_moves(FormerShards(moved_from.former_shards, collection.num_shards), self._moving.successor)
        await service.start()
        if moved_from.last is not None:
            await service.catch_up(moved_from.last, CATCH_UP_S)
        return service

    async def _drop_later(self, full_name: str) -> None:
        await asyncio.sleep(GRACE_S)
        if not self._known.wants(full_name) and not self._moving.needs(full_name):
            await self._drop(full_name)

    async def _drop(self, full_name: str) -> None:
        task = self._services.pop(full_name, None)
        if task is None:
            return
        self._by_name.clear()
        if not task.done():
            task.cancel()
        elif not _failed(task):
            await task.result().close()
            await self._surroundings.backend.close(task.result().collection)

    async def _within(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Wait for work that is finished even when nobody waits any more."""
        task = self._spawn(work)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise ShardTimeout(f"not finished within {timeout_s:.3g} s; it goes on") from error
        finally:
            if not task.done():
                task.add_done_callback(_tell_late)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _of_space(service: CollectionService) -> CollectionService:
    """Refuse a request whose vectors are of another space than the collection's."""
    if not is_of_space(service.collection):
        given = (current_request() or CurrentRequest("")).space_id
        where = f"collection {service.collection.full_name} holds vectors of the space {service.collection.space_id}"
        raise RequestRefused("space-id", f"{where}, the request is of {given!r:.40}: embed with the encoders of that space", status=412)
    return service


def is_of_space(collection: Collection) -> bool:
    """Tell whether the current request may be of a collection's space: it is, where it does not say of which it is."""
    request = current_request()
    return request is None or request.space_id in (None, collection.space_id)


def _failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _tell_late(task: "asyncio.Task[Any]") -> None:
    """Log how work failed that nobody waited for any more; asyncio would print it as a bug."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log("failed_unheard", error=type(error).__name__, message=str(error))


def _schema_key(full_name: str) -> str:
    return collection_key(full_name, PAYLOAD_SCHEMA)
