"""Takes one publication a step further: loaded beside, checked, current, told. Every step is one change in the store, safe to do twice.

| what the store says                          | step                                                                    |
| it is current already                        | tell its outcome                                                        |
| the pointer names others beside              | name it beside: every server of the shards begins to load it             |
| servers that answer do not have it yet       | wait; after `load_s` it is refused                                      |
| they have it, and searches find too little   | it is refused                                                           |
| they have it                                 | flip; what was current stays beside where the way back may be wanted     |
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from reelspace.core.errors import PreconditionFailed
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.compute.queries import ShardFacts
from reelspace.search.scheduling.pointer import change_pointer, check_newer, flipped
from reelspace.search.scheduling.publication import Outcome, Publication, last_outcome, settle
from reelspace.search.storage.layout import CurrentGenerations, collection_key, read_file

LOAD_S: Final = 600.0
Step: TypeAlias = Literal["told", "staged", "waits", "refused", "flipped"]


class ShardServers(Protocol):
    """Every server that has a shard, as the controller sees them."""

    async def look(self, full_name: str, shard: int) -> Sequence[ShardFacts | None]:
        """Have every server look at the pointer, and tell what it has; None for one that does not answer. None at all: nobody serves it."""

    async def describe(self, full_name: str, shard: int, generation: int) -> ShardFacts:
        """Let one server describe a generation; raises what a shard's client raises."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A publication that is being loaded, since a moment of the controller's clock."""

    number: int
    since_s: float


class Reconciler:
    """Takes publications further. Belongs to one event loop."""

    def __init__(self, store: Store, servers: ShardServers, load_s: float = LOAD_S) -> None:
        """Begin nothing.

        Args:
            load_s: seconds that servers have to load a generation.
        """
        self._store, self._servers, self._load_s = store, servers, load_s
        self._trials: dict[str, _Trial] = {}

    async def step(self, full_name: str, publication: Publication, epoch: int) -> Step:
        """Do what is next.

        Raises:
            PreconditionFailed: a later controller has taken over.
            ReelspaceError: the store or the servers do not answer; nothing is lost.
        """
        told = await asyncio.to_thread(last_outcome, self._store, full_name)
        if told.number == publication.number:
            return await self._tell(full_name, told)
        current = await asyncio.to_thread(read_file, self._store, CurrentGenerations, collection_key(full_name, "current.json"))
        if all(current.shards.get(shard) == state for shard, state in publication.shards.items()):
            return await self._tell(full_name, Outcome(number=publication.number, is_current=True))
        try:
            if not publication.anew:
                check_newer(full_name, current, publication.shards)
        except PreconditionFailed as error:
            return await self._refuse(full_name, publication, epoch, str(error))
        if current.beside != publication.shards:
            self._trials.pop(full_name, None)
            await self._change(full_name, epoch, current, {"beside": publication.shards})
            return "staged"
        problem = await self._problem(full_name, publication)
        if problem is None:
            return await self._flip(full_name, publication, epoch, current)
        if problem:
            return await self._refuse(full_name, publication, epoch, problem)
        return "waits"

    async def retire(self, full_name: str, epoch: int) -> None:
        """Let servers drop what is kept beside the current generations."""

        def without(current: CurrentGenerations) -> CurrentGenerations:
            return current.model_copy(update={"beside": {}})

        await asyncio.to_thread(change_pointer, self._store, full_name, without, epoch)

    async def _problem(self, full_name: str, publication: Publication) -> str | None:
        """Tell why a publication cannot be current: empty: not yet; None: it can."""
        trial = self._trials.get(full_name)
        now_s = asyncio.get_running_loop().time()
        if trial is None or trial.number != publication.number:
            trial = self._trials[full_name] = _Trial(publication.number, now_s)
        is_late = now_s - trial.since_s >= self._load_s
        for shard, state in publication.shards.items():
            facts = await self._servers.look(full_name, int(shard))
            answering = [one for one in facts if one is not None]
            reasons = [why for one in answering for number, why in one.refused if number == state.generation]
            if reasons:
                return f"shard {shard}: {reasons[0]}"
            if any(state.generation not in one.loaded for one in answering):
                return f"shard {shard}: a server has not loaded it within {self._load_s:g} s" if is_late else ""
            if facts and not answering:
                return f"shard {shard}: no server answered for {self._load_s:g} s" if is_late else ""
            found = await self._servers.describe(full_name, int(shard), state.generation) if facts else None
            if found is not None and found.has_low_recall:
                return f"shard {shard}: searches find {found.recall:.3f} of the nearest, {found.recall_target:.3f} are asked"
        return None

    async def _flip(self, full_name: str, publication: Publication, epoch: int, seen: CurrentGenerations) -> Step:
        kept: Mapping[str, object] = {}
        if publication.anew:
            kept = {"beside": {shard: seen.shards[shard] for shard in publication.shards if shard in seen.shards}}

        def flip(current: CurrentGenerations) -> CurrentGenerations:
            _check_unchanged(full_name, seen, current)
            return flipped(current, publication.shards).model_copy(update=kept)

        changed = await asyncio.to_thread(change_pointer, self._store, full_name, flip, epoch)
        log("flipped", collection=full_name, generation=publication.number, version=changed.version)
        return "flipped"

    async def _refuse(self, full_name: str, publication: Publication, epoch: int, reason: str) -> Step:
        log("publication_refused", collection=full_name, generation=publication.number, reason=reason)

        def without(current: CurrentGenerations) -> CurrentGenerations:
            return current.model_copy(update={"beside": {}}) if current.beside == publication.shards else current

        await asyncio.to_thread(change_pointer, self._store, full_name, without, epoch)
        await self._tell(full_name, Outcome(number=publication.number, reason=reason))
        return "refused"

    async def _change(self, full_name: str, epoch: int, seen: CurrentGenerations, update: Mapping[str, object]) -> None:
        def changed(current: CurrentGenerations) -> CurrentGenerations:
            _check_unchanged(full_name, seen, current)
            return current.model_copy(update=update)

        await asyncio.to_thread(change_pointer, self._store, full_name, changed, epoch)

    async def _tell(self, full_name: str, outcome: Outcome) -> Step:
        self._trials.pop(full_name, None)
        await asyncio.to_thread(settle, self._store, full_name, outcome)
        return "told"


def _check_unchanged(full_name: str, seen: CurrentGenerations, current: CurrentGenerations) -> None:
    if current != seen:
        raise PreconditionFailed(f"the pointer of {full_name} was changed meanwhile: look again")
