"""Collections that move into others while a gateway serves them, as resharding lets them.

One that is announced is opened ahead. Once the name means it, and its shards have all that the old one had, it answers; until then the
old one does. Writes that find the old logs ended wait for that and go on in the new one, so what was acknowledged is found by whatever
is asked next. Other gateways hear within a second that the name means another collection; the first writes wait for as long.
"""

import asyncio
from collections.abc import Callable, Coroutine
from secrets import token_hex
from typing import Any, Final, Protocol

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.write_path import WriteTimeout
from reelspace.search.storage.known import Known
from reelspace.search.storage.moves import read_moved_from, tell_opening

CATCH_UP_S: Final = 60.0
SETTLED_S: Final = 1.5
"""So long the first writes wait: longer than gateways take between two looks at the names."""
LOOK_S: Final = 0.05
RETRY_S: Final = 1.0
_QUICK_LOOKS: Final = 600


class ServedCollections(Protocol):
    """What is asked of a catalog."""

    @property
    def known(self) -> Known:
        """What the store said last."""

    async def look(self) -> None:
        """Let the store say it again."""

    def is_ready(self, full_name: str) -> bool:
        """Tell whether a collection is open and answers."""

    async def open(self, full_name: str) -> CollectionService:
        """Open a collection."""

    def arrived(self, full_name: str) -> None:
        """Hear that a collection answers from now on in the place of the one it was made of."""


class Moving:
    """Leads a gateway's collections to those they move into. Belongs to one event loop."""

    def __init__(self, store: Store, served: ServedCollections, spawn: Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]) -> None:
        self._store, self._served, self._spawn = store, served, spawn
        self._gateway = token_hex(8)
        self._ahead: set[str] = set()
        self._arrived: set[str] = set()
        self._arrivals: dict[str, asyncio.Task[CollectionService]] = {}

    def heard(self) -> None:
        """Begin what the moves that are known now ask for."""
        known = self._served.known
        for old, new in known.moves.items():
            if not self._served.is_ready(old):
                continue
            if known.is_named(new):
                self._arrival(new)
            elif known.is_named(old) and new not in self._ahead:
                self._ahead.add(new)
                self._spawn(self._open_ahead(new))

    def serving(self, full_name: str) -> str:
        """Give the collection that answers for one that a name means: itself, or what it was made of until it has everything."""
        old = self._served.known.moved_from(full_name)
        return full_name if old is None or full_name in self._arrived or not self._served.is_ready(old) else old

    def needs(self, full_name: str) -> bool:
        """Tell whether a collection that no name means any more still answers for another one."""
        new = self._served.known.moves.get(full_name)
        return new is not None and self._served.known.is_named(new) and self.serving(new) == full_name

    async def successor(self, full_name: str, timeout_s: float) -> CollectionService:
        """Give a collection that goes on in the place of another one, once it does.

        Raises:
            RequestRefused: 404, the collection was deleted.
            WriteTimeout: it does not yet.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._arrival(full_name))
        except TimeoutError as error:
            what = f"its collection moves into {full_name}, which was not ready within {timeout_s:.3g} s"
            raise WriteTimeout(f"not known to be durable: {what}; send it again under the same Idempotency-Key") from error

    async def _open_ahead(self, full_name: str) -> None:
        try:
            await asyncio.to_thread(tell_opening, self._store, full_name, self._gateway, is_open=False)
            service = await self._served.open(full_name)
            await service.prepare_writes()
            await asyncio.to_thread(tell_opening, self._store, full_name, self._gateway, is_open=True)
            while full_name not in self._arrived and self._served.known.wants(full_name):
                await asyncio.sleep(RETRY_S)
                await service.prepare_writes()
        except ReelspaceError as error:
            log("not_opened_ahead", collection=full_name, error=str(error))
            await asyncio.sleep(RETRY_S)
            self._ahead.discard(full_name)

    def _arrival(self, full_name: str) -> "asyncio.Task[CollectionService]":
        task = self._arrivals.get(full_name)
        if task is None or (task.done() and full_name not in self._arrived):
            task = self._arrivals[full_name] = self._spawn(self._arrive(full_name))
            task.add_done_callback(_heed)
        return task

    async def _arrive(self, full_name: str) -> CollectionService:
        while True:
            await self._meant(full_name)
            try:
                service = await self._served.open(full_name)
                moved_from = await asyncio.to_thread(read_moved_from, self._store, full_name)
                await service.catch_up(moved_from.last or (), CATCH_UP_S)
                await service.prepare_writes()
                break
            except ReelspaceError as error:
                # The old one goes on answering what is asked; what is written waits.
                log("not_moved", collection=full_name, error=str(error))
                await asyncio.sleep(RETRY_S)
        service.hold_writes(SETTLED_S)
        self._arrived.add(full_name)
        self._served.arrived(full_name)
        return service

    async def _meant(self, full_name: str) -> None:
        """Return when a name means a collection, or one that it has moved into meanwhile; RequestRefused if none will any more."""
        num_tries, has_looked = 0, False
        while not (known := self._served.known).is_named(full_name) and full_name not in known.moves:
            old = known.moved_from(full_name)
            if has_looked and (old is None or not known.is_named(old)):
                raise RequestRefused("collection", f"Collection `{full_name}` doesn't exist", status=404)
            await asyncio.sleep(LOOK_S if num_tries < _QUICK_LOOKS else RETRY_S)
            num_tries += 1
            try:
                await self._served.look()
                has_looked = True
            except ReelspaceError as error:
                log("names_not_read", error=str(error))


def _heed(task: "asyncio.Task[Any]") -> None:
    """Take what went wrong as told: whoever waits hears of it."""
    if not task.cancelled():
        task.exception()
