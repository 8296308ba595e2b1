"""The loop of the scheduling layer: one controller leads, takes publications further, and removes what they have replaced.

All it knows lies in the store: killed at any moment, the next one goes on where it was.
"""

import asyncio
from typing import Final

from pydantic import Field

from reelspace.core.errors import ArtifactMissing, PreconditionFailed, ReelspaceError
from reelspace.core.log import log
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.scheduling.leader import HOLD_S, Leader
from reelspace.search.scheduling.left_moves import LEFT_S, LeftMoves
from reelspace.search.scheduling.placing import GroupServers, Placer
from reelspace.search.scheduling.publication import Publication, waiting
from reelspace.search.scheduling.rebuild import drop_logs, drop_old
from reelspace.search.scheduling.reconcile import LOAD_S, Reconciler, ShardServers
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import CurrentGenerations, collection_key, read_collection, read_file
from reelspace.search.storage.seen_numbers import SeenNumbers
from reelspace.search.storage.writer import Clock

SOON_S: Final = 0.1
SWEEP_S: Final = 60.0
NUM_STEPS: Final = 4


class ControllerSettings(Settings):
    """How a controller takes its time."""

    look_s: float = Field(1.0, gt=0, description="Time between two looks at what waits, seconds.")
    hold_s: float = Field(HOLD_S, gt=0, description="Time without a sign of life after which another controller leads, seconds.")
    load_s: float = Field(LOAD_S, gt=0, description="Time that servers have to load a generation, seconds.")
    keep_s: float = Field(60.0, ge=0, description="Time that what was replaced or moved stays loaded, seconds.")
    left_s: float = Field(
        LEFT_S, ge=0, description="Time after which a resharding that lets writes wait is ended for its command, seconds."
    )
    build_bytes: int | None = Field(None, ge=1 << 26, description="Memory that a build of a generation may take, bytes; None: as it needs.")


class Controller:
    """Leads, if no other does. Belongs to one event loop.

    `epoch` is its number among those that led, None while another leads; `problem` why it could not look last, None if it could.
    """

    def __init__(
        self,
        store: Store,
        servers: ShardServers,
        settings: ControllerSettings | None = None,
        groups: GroupServers | None = None,
        seen: SeenNumbers | None = None,
    ) -> None:
        """Begin nothing.

        Args:
            groups: servers that shards are placed on; None where shards are in this process.
            seen: what tells how old a log's objects are, for tests.
        """
        self._store = store
        self._settings = settings or ControllerSettings()
        self._reconciler = Reconciler(store, servers, self._settings.load_s)
        self._placer = None if groups is None else Placer(store, groups, self._settings.keep_s)
        self._leader = Leader(store, self._settings.hold_s)
        self._seen = seen or SeenNumbers()
        self._left = LeftMoves(store, Clock().now_us, self._settings.left_s)
        self._due_s: dict[str, float] = {}
        self._sweep_s = 0.0
        self.epoch: int | None = None
        self.problem: str | None = "it has not looked yet"

    @property
    def leads(self) -> bool:
        """Tell whether this one led when it last looked."""
        return self.epoch is not None

    async def run(self) -> None:
        """Look again and again until cancelled."""
        try:
            while True:
                await asyncio.sleep(SOON_S if await self.look() else self._settings.look_s)
        finally:
            if self.leads:
                await self._leave()

    async def look(self) -> bool:
        """Do what can be done now; tells whether more is about to come."""
        try:
            self.epoch = await asyncio.to_thread(self._leader.lead)
            self.problem = None
            if self.epoch is None:
                self._due_s.clear()
                self._sweep_s = 0.0
                return False
            found = await asyncio.to_thread(waiting, self._store)
        except (ReelspaceError, OSError) as error:
            # What serves goes on; the store may be back at the next look.
            self.epoch, self.problem = None, " ".join(str(error).split())
            log("controller_does_not_lead", error=str(error))
            return False
        for full_name, publication in found.items():
            await self._further(full_name, publication, self.epoch)
        await self._finish_moves()
        await self._sweep()
        for full_name in [one for one, due_s in self._due_s.items() if due_s <= self._now_s()]:
            del self._due_s[full_name]
            await self._retire(full_name, self.epoch)
        return await self._place() or bool(found)

    async def _place(self) -> bool:
        try:
            return self._placer is not None and await self._placer.step()
        except (ReelspaceError, OSError) as error:
            log("not_placed", error=str(error))
            return False

    async def _finish_moves(self) -> None:
        try:
            await asyncio.to_thread(self._left.finish)
        except (ReelspaceError, OSError) as error:
            log("move_not_ended", error=str(error))

    async def _sweep(self) -> None:
        """Look once in a while which pointers name something beside, and what logs may be dropped: others may have flipped them, too."""
        if self._now_s() < self._sweep_s:
            return
        self._sweep_s = self._now_s() + SWEEP_S
        try:
            pointers = await asyncio.to_thread(_pointers, self._store)
        except (ReelspaceError, OSError) as error:
            log("pointers_not_read", error=str(error))
            return
        self._seen.keep(pointers)
        for full_name, pointer in pointers.items():
            if pointer.beside:
                self._due_s.setdefault(full_name, self._now_s() + self._settings.keep_s)
            try:
                await asyncio.to_thread(drop_logs, self._store, full_name, self._seen)
            except (ReelspaceError, OSError) as error:
                log("logs_not_dropped", collection=full_name, error=str(error))

    async def _further(self, full_name: str, publication: Publication, epoch: int) -> None:
        try:
            for _ in range(NUM_STEPS):
                step = await self._reconciler.step(full_name, publication, epoch)
                if step == "flipped":
                    self._due_s[full_name] = self._now_s() + self._settings.keep_s
                if step in ("told", "waits", "refused"):
                    return
        except (ReelspaceError, OSError) as error:
            log("publication_not_taken_further", collection=full_name, generation=publication.number, error=str(error))

    async def _retire(self, full_name: str, epoch: int) -> None:
        try:
            if full_name in await asyncio.to_thread(waiting, self._store):
                self._due_s[full_name] = self._now_s() + self._settings.keep_s  # what lies beside is about to be current
                return
            await self._reconciler.retire(full_name, epoch)
            await asyncio.to_thread(drop_replaced, self._store, full_name, self._seen)
        except (ArtifactMissing, PreconditionFailed) as error:
            log("not_retired", collection=full_name, error=str(error))
        except (ReelspaceError, OSError) as error:
            log("not_retired", collection=full_name, error=str(error))
            self._due_s[full_name] = self._now_s() + self._settings.keep_s

    async def _leave(self) -> None:
        try:
            await asyncio.to_thread(self._leader.leave)
        except (ReelspaceError, OSError) as error:
            log("lead_not_left", error=str(error))  # another takes it in time

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def drop_replaced(store: Store, full_name: str, seen: SeenNumbers) -> None:
    """Remove files and log objects of a collection that no pointer needs."""
    collection = read_collection(store, full_name)
    for shard in range(collection.num_shards):
        drop_old(store, collection, shard, seen)


def _pointers(store: Store) -> dict[str, CurrentGenerations]:
    keys = {name: collection_key(name, "current.json") for name in read_known(store).full_names()}
    return {name: read_file(store, CurrentGenerations, key) for name, key in keys.items() if store.exists(key)}
