"""Gathers what the console shows: shards are asked, or what they told last is taken; the store is not looked at."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reelspace.core.errors import ReelspaceError
from reelspace.gateway.console.problem import problem_of
from reelspace.gateway.console.recall_history import RecallHistory
from reelspace.gateway.console.replica_states import ReplicaStates
from reelspace.gateway.console.views import CollectionView, ShardView, StatusView
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.seen_collections import SeenCollections
from reelspace.search.access.shard_client import ShardTimeout
from reelspace.search.storage.rows import VectorField

OPEN_WAIT_S: Final = 3.0
ANSWER_WAIT_S: Final = 1.0
MAX_LISTED: Final = 500
"""Collections that the page lists; of more than that open ones come first."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """What the whole process counts: queries that wait, refusals by reason, and the seconds since its start."""

    num_waiting: Callable[[], int]
    refusals: Callable[[], Mapping[str, int]]
    up_s: Callable[[], float]


class Overview:
    """The state of a gateway as views."""

    def __init__(self, catalog: Callable[[], SeenCollections], history: RecallHistory, replicas: ReplicaStates, gauges: Gauges) -> None:
        self._catalog = catalog
        self._history = history
        self._replicas = replicas
        self._gauges = gauges

    async def status(self, selected: str | None) -> StatusView:
        """Give the state of all, with one collection whole: it is opened where it was not.

        Args:
            selected: name or alias; None for the first collection that is open, or the first.

        Raises:
            RequestRefused: there is no such collection, or the key may not see it.
        """
        catalog = self._catalog()
        names, aliases = catalog.names(), dict(await catalog.aliases())
        listed = sorted(names, key=lambda one: catalog.opened(one) is None)[:MAX_LISTED] if len(names) > MAX_LISTED else names
        name = selected if selected is not None else next((one for one in names if catalog.opened(one)), next(iter(names), None))
        chosen, problem = None, None
        if name is not None:
            name, asked_as = _meant(name, aliases), name
            try:
                service = await self.opened(asked_as)
                await service.tally.refresh(ANSWER_WAIT_S)
                chosen = self._view(name, service)
            except RequestRefused:
                raise
            except ReelspaceError as error:  # the rest of the page is all the more of use then
                chosen, problem = CollectionView(name), problem_of(error).words
        also = _by_meaning(aliases)
        return StatusView(
            collections=tuple(self._view(one, catalog.opened(one), also.get(one, ())) for one in listed),
            num_collections=len(names),
            selected=chosen,
            problem=problem,
            replicas=self._replicas.views(),
            num_waiting=self._gauges.num_waiting(),
            refusals=self._gauges.refusals(),
            pid=os.getpid(),
            up_s=self._gauges.up_s(),
        )

    async def opened(self, name: str) -> CollectionService:
        """Find a collection.

        Raises:
            RequestRefused: see `status`.
            ShardTimeout: it is still being loaded.
        """
        try:
            async with asyncio.timeout(OPEN_WAIT_S):
                return await self._catalog().service(name)
        except TimeoutError as error:
            raise ShardTimeout(f"collection {name} is still being loaded: look again in a moment") from error

    def _view(self, name: str, service: CollectionService | None, aliases: Sequence[str] = ()) -> CollectionView:
        if service is None:
            return CollectionView(name, tuple(aliases))
        service.tally.coverage()  # asks shards whose facts are old, for the next look
        full_name = service.collection.full_name
        shards = tuple(
            ShardView(facts, num_behind, self._history.of(full_name, shard))
            for shard, (facts, num_behind) in enumerate(zip(service.tally.facts, service.num_behind, strict=True))
        )
        vectors = {one: _described(kind) for one, kind in service.fields.items()}
        return CollectionView(name, tuple(aliases), shards, vectors, service.models)


def _by_meaning(aliases: Mapping[str, str]) -> dict[str, list[str]]:
    """Give the aliases of each collection."""
    found: dict[str, list[str]] = {}
    for alias in aliases:
        found.setdefault(_meant(alias, aliases), []).append(alias)
    return found


def _meant(name: str, aliases: Mapping[str, str]) -> str:
    """Give the name in the list that a name means, itself where it means none; an alias may mean one of the promoted collection."""
    for _ in range(2):
        name = aliases.get(name, name)
    return name


def _described(kind: VectorField) -> str:
    return f"{kind.dimension:,} numbers, {kind.metric}"
