"""A shard that lives: it follows its log, answers while it does, and moves on to the next generation when one is current.

What the pointer names beside the current generation is loaded, too, and what it names no more is kept for a while: whoever asks all
shards of a collection asks each for the generation that it has seen, so no answer is mixed of two, whenever which shard moves on.
The same class serves in a Triton backend, in the gateway's process and in a caller's own. Searches and changes take turns.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

import numpy as np

from reelspace.core.errors import ArtifactMissing, ReelspaceError, TemporaryError
from reelspace.core.log import log as log_event
from reelspace.core.store import Store
from reelspace.search.compute.freed_memory import give_back
from reelspace.search.compute.generation import Placement, open_generation
from reelspace.search.compute.loaded import Loaded, Refused, check_room, named_generations
from reelspace.search.compute.queries import GONE, Read, ReadAnswer, ShardAnswer, ShardFacts, ShardQuery
from reelspace.search.compute.recall_watch import RecallWatch, Watching, sampled_recall
from reelspace.search.compute.scrub import Scrub
from reelspace.search.compute.scrubbing import Pace, Scrubbing
from reelspace.search.compute.service import answer_queries, answer_read
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import PAYLOAD_SCHEMA, Collection, PayloadSchema, ServedGeneration, collection_key
from reelspace.search.storage.log import Log
from reelspace.search.storage.reader import LogGap, LogTail, read_from
from reelspace.search.storage.replaced_file import read_or_default

POLL_S: Final = 1.0
PAUSE_S: Final = 0.005
MOMENT_S: Final = 0.0005
SCHEMA_S: Final = 30.0
"""A shard looks so often which payload keys are indexed; a filter on one that it has not heard of reads the key's column itself."""
READ_AT_ONCE: Final = 64
"""So few payloads are read ahead at a time, about half a millisecond, that a search hardly waits for them."""
CHANGE_S: Final = 0.001
"""So long a search waits for a change of the shard before it is left to a thread, whose start takes as long: changes are short."""
RECALL_S: Final = 60.0
MAPPED_TIMES: Final = 10
NUM_LOADS: Final = 5
PROBE_HITS: Final = 10
GRACE_S: Final = 60.0
"""A generation that the pointer names no more answers those who have not seen that yet, until none has asked for so long."""
MAX_LOADED: Final = 3
VERIFIED_ROWS: Final = 64
T = TypeVar("T")


class ShardBehind(TemporaryError):
    """A log number was not applied in time, or the log no longer reaches back to the generation that is loaded."""


class GenerationGone(TemporaryError):
    """A generation that is asked for is not loaded: no pointer names it any more, or not yet."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How a shard is hosted.

    Attributes:
        poll_s: seconds between looks at the log and the pointer when nobody tells of a write.
        recall_s: seconds between looks at what searches find, ten times of it where vectors are mapped.
        pace: how often, and how gently, what is loaded is held against what it was when it was verified.
        max_bytes: memory that generations may take together: one that does not fit beside those that serve is refused; None: as they need.
        looks_first: whether `is_behind` looks at the store: where other processes write and nobody tells of it.
    """

    placement: Placement = field(default_factory=Placement)
    poll_s: float = POLL_S
    looks_first: bool = False
    recall_s: float = RECALL_S
    pace: Pace = field(default_factory=Pace)
    max_bytes: int | None = None


class ShardHost:
    """Serves one shard of a collection; close it, or use it as a context. Calls may come from any thread."""

    def __init__(self, store: Store, collection: Collection, shard: int, hosting: Hosting | None = None) -> None:
        """Load the generation, verify it, apply the log to its present end, and read the columns of indexed payload keys.

        Raises:
            CorruptArtifact: a file of the collection, the generation or the log is damaged, of another make, or missing amid others.
            ArtifactMissing: the collection has no current generation.
            ShardBehind: whenever a generation was loaded, it was retired meanwhile.
        """
        self._store, self._collection, self._number = store, collection, shard
        self._hosting = hosting or Hosting()
        self._log = Log(store, collection.full_name, shard, collection.fields)
        self._state = threading.Lock()
        self._following = threading.Lock()
        self._loading = threading.Lock()
        self._told = threading.Event()
        self._closed = False
        self._is_changing = False
        self._refused: dict[int, Refused] = {}
        self._schema_s = 0.0
        self._current = self._load()
        self._loaded: tuple[Loaded, ...] = (self._current,)
        self._watch = RecallWatch()
        # A look at mapped vectors reads all of them from the disk.
        recall_s = self._hosting.recall_s * (1 if self._hosting.placement.mapped_in is None else MAPPED_TIMES)
        self._watching = Watching(self._watch, self._state, lambda: self._current.shard, recall_s)
        self._num_damages = 0
        self._scrubbing = Scrubbing(self._state, lambda: [one.scrub for one in self._loaded], self._damaged, self._hosting.pace)
        self._thread = threading.Thread(target=self._follow, name=f"shard-{collection.full_name}-{shard}", daemon=True)
        self._thread.start()

    @property
    def generation(self) -> int:
        """Number of the generation that is current."""
        return self._current.served.generation

    @property
    def loaded(self) -> tuple[int, ...]:
        """Numbers of the generations that answer, the current one first."""
        current, others = self._current, self._loaded
        return (current.served.generation, *(one.served.generation for one in others if one is not current))

    @property
    def applied(self) -> int:
        """Last log number that is applied to every generation that answers."""
        return min(one.shard.applied for one in self._loaded)

    @property
    def num_unsealed(self) -> int:
        """Changes that the current generation does not have."""
        with self._state:
            return self._current.shard.num_unsealed

    @property
    def num_rows(self) -> int:
        """Rows that are not deleted."""
        return self._current.shard.num_rows

    def search(self, queries: Sequence[ShardQuery], generation: int = 0) -> ShardAnswer:
        """Answer queries; see service.answer_queries.

        Args:
            generation: number of the one to search; 0 searches the current one.

        Raises:
            GenerationGone: it is not loaded.
        """
        with self._state:
            return self._answer(queries, generation)

    def search_now(self, queries: Sequence[ShardQuery], generation: int = 0) -> tuple[ShardAnswer, float] | None:
        """Answer queries, with the seconds that took, unless they would have to wait for another search or for long: None then."""
        if not self._taken_now():
            return None
        try:
            start_s = time.perf_counter()
            return self._answer(queries, generation), time.perf_counter() - start_s
        finally:
            self._state.release()

    def lone(self, query: ShardQuery, generation: int = 0) -> tuple[list[Id], list[float]] | None:
        """Answer the usual lone query, ids and scores, without what it excludes or wants of its hits; None where `search` must be asked."""
        with self._state:
            return self._lone(query, generation)

    def lone_now(self, query: ShardQuery, generation: int = 0) -> tuple[list[Id], list[float]] | None:
        """Do as `lone`, but give None where `search_now` would."""
        if not self._taken_now():
            return None
        try:
            return self._lone(query, generation)
        finally:
            self._state.release()

    def read(self, request: Read, generation: int = 0) -> ReadAnswer:
        """Look up, list or count rows, or describe the shard; raises as `search`."""
        with self._state:
            one = self._of(generation)
            answer = answer_read(one.shard, request, one.served.generation)
            recall = (self._watching.recall if one is self._current else None) or one.recall
        if not isinstance(answer, ShardFacts):
            return answer
        refused = tuple((number, one.reason) for number, one in self._refused.items() if one.is_final)
        facts = replace(answer, loaded=self.loaded, refused=refused, num_damages=self._num_damages)
        return facts if recall is None else replace(facts, recall=round(recall.found, 4), recall_target=recall.target)

    def probe(self) -> None:
        """Search once in every vector name, as warm-up and as proof that the shard works; raises what a search raises."""
        queries = [
            ShardQuery(np.ones(settings.dimension, dtype=np.float32), PROBE_HITS, name)
            for name, settings in self._collection.vectors.items()
        ]
        for query in queries:
            self.search([query])

    def with_shard(self, use: Callable[[Shard], T]) -> T:
        """Give what `use` makes of the shard as it is now; no change comes meanwhile."""
        with self._state:
            return use(self._current.shard)

    def sync(self, number: int, timeout_s: float) -> None:
        """Return when a log number is applied.

        Raises:
            ShardBehind: it was not within timeout_s.
        """
        deadline_s = time.monotonic() + timeout_s
        while self.applied < number:
            if self._following.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
                try:
                    moved = self.applied >= number or self._poll()
                finally:
                    self._following.release()
                if moved:
                    continue
            if time.monotonic() >= deadline_s:
                raise ShardBehind(f"{self._log.key(number)} was not applied within {timeout_s:g} s; {self.applied} is the last")
            time.sleep(PAUSE_S)

    def hurry(self, number: int, wait_s: float) -> int:
        """Have the log read on at once, wait a moment if a number is not applied yet, and give the last one that is."""
        if self.applied < number:
            self._told.set()
            deadline_s = time.monotonic() + wait_s
            while self.applied < number and time.monotonic() < deadline_s:
                time.sleep(MOMENT_S)
        return self.applied

    def is_behind(self) -> bool:
        """Tell whether the log has a number that is not applied, if the host looks at all; costs one look at one name in the store."""
        return self._hosting.looks_first and self._store.exists(self._log.key(self.applied + 1))

    def catch_up(self) -> None:
        """Apply what the log has now."""
        with self._following:
            while self._poll():
                pass

    def tell(self) -> None:
        """Say that there is something new in the log, or a new generation."""
        self._told.set()

    def refresh(self) -> None:
        """Apply what the log has, and move on to the generations that the pointer names; raises what loading one raises."""
        with self._loading:
            self._refresh()

    def close(self) -> None:
        """Stop following."""
        self._closed = True
        self._told.set()
        self._watching.close()
        self._scrubbing.close()
        self._thread.join()

    def __enter__(self) -> "ShardHost":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _taken_now(self) -> bool:
        """Take the shard for a search; False where that would have to wait for another search or for long."""
        return self._state.acquire(blocking=False) or (self._is_changing and self._state.acquire(timeout=CHANGE_S))

    def _of(self, generation: int) -> Loaded:
        """Find a generation that is loaded; 0 is the current one."""
        current = self._current
        if generation in (0, current.served.generation):
            return current if current.damage is None else current.asked()
        for one in self._loaded:
            if one.served.generation == generation:
                return one.asked()
        raise GenerationGone(f"{GONE}: {generation} of shard {self._number} of {self._collection.full_name}, it has {self.loaded}")

    def _damaged(self, scrub: Scrub, part: str) -> None:
        """Hear that what is loaded is not what was verified any more: it answers no more, and is loaded anew."""
        for one in self._loaded:
            if one.scrub is scrub:
                where = f"generation {one.served.generation} of shard {self._number} of {self._collection.full_name}"
                one.damage = f"{where} is corrupt in memory: its {part} changed since it was loaded; it is loaded anew"
                self._num_damages += 1
                log_event("shard_damaged", collection=self._collection.full_name, shard=self._number, reason=one.damage)
        self._told.set()

    def _heal(self) -> None:
        """Load what is damaged anew; raises what that raises."""
        for damaged in [one for one in self._loaded if one.damage is not None]:
            before = self._refused.get(damaged.served.generation)
            if before is not None and not before.is_due:
                continue
            with self._noting_why(damaged.served):
                self._add(self._opened(damaged.served), damaged)

    @contextmanager
    def _noting_why(self, served: ServedGeneration) -> Iterator[None]:
        """Keep why a generation could not be loaded, until it could."""
        try:
            yield
        except (ReelspaceError, OSError) as error:
            self._refused[served.generation] = Refused.of(error)
            raise
        self._refused.pop(served.generation, None)

    def _answer(self, queries: Sequence[ShardQuery], generation: int) -> ShardAnswer:
        answer = answer_queries(self._of(generation).shard, queries)
        first = queries[0]
        self._watch.see(first.vector_D, first.using, first.where, len(queries))
        return answer

    def _lone(self, query: ShardQuery, generation: int) -> tuple[list[Id], list[float]] | None:
        shard = self._of(generation).shard
        found = shard.lone(query.vector_D, query.k, query.using, query.where)
        if found is not None:
            self._watch.see(query.vector_D, query.using, query.where)
        return None if found is None else (shard.ids.listed(found[0]), found[1])

    def _load(self) -> Loaded:
        """Open the current generation and apply the log; one that is retired meanwhile is followed by the next."""
        for _ in range(NUM_LOADS):
            served = self._named()[0]
            try:
                loaded = self._opened(served)
            except LogGap:
                continue
            except ArtifactMissing:
                if self._named()[0] == served:
                    raise
                continue
            self._tail = LogTail(self._log, loaded.shard.applied)
            return loaded
        raise ShardBehind(f"shard {self._number} of {self._collection.full_name}: every generation was retired while it was loaded")

    def _opened(self, served: ServedGeneration) -> Loaded:
        """Open a generation, apply what the log has now, and read the columns of indexed payload keys."""
        shard = open_generation(self._store, served, self._hosting.placement, self._collection)
        for entry in read_from(self._log, shard.applied):
            shard.apply(entry)
        shard.payloads.keep_columns(self._indexed_keys())
        while shard.payloads.read_ahead():
            pass
        return Loaded(served, shard, Scrub(shard))

    def _indexed_keys(self) -> Mapping[str, object]:
        self._schema_s = time.monotonic() + SCHEMA_S
        return read_or_default(self._store, PayloadSchema, collection_key(self._collection.full_name, PAYLOAD_SCHEMA)).keys

    def _change(self, change: Callable[[Shard], T], shard: Shard | None = None) -> T:
        """Change a shard, the current one if none is given, in so short a time that searches wait for it."""
        with self._state:
            self._is_changing = True
            try:
                return change(self._current.shard if shard is None else shard)
            finally:
                self._is_changing = False

    def _read_ahead(self) -> None:
        """Bring the columns of the keys that are indexed now up to date, and let searches in between."""
        keys = self._indexed_keys() if time.monotonic() >= self._schema_s else None
        for one in self._loaded:
            if keys is not None:
                self._change(partial(_keep_columns, keys=keys), one.shard)
            while not self._closed and self._change(lambda shard: shard.payloads.read_ahead(READ_AT_ONCE), one.shard):
                time.sleep(MOMENT_S)

    def _named(self) -> list[ServedGeneration]:
        return named_generations(self._store, self._collection, self._number)

    def _poll(self) -> bool:
        """Apply what is new in the log; tells whether anything was."""
        try:
            entries = self._tail.poll()
        except LogGap:
            loaded = self._load()
            with self._state:
                self._current, self._loaded = loaded, (loaded,)
            return True
        try:
            for entry in entries:
                for shard in [one.shard for one in self._loaded if one.shard.applied < entry.number]:
                    self._change(partial(Shard.add, entry=entry), shard)
                    while self._grow(shard):
                        pass
        finally:
            # What could not be applied is read again, for nothing after it may be applied without it.
            self._tail.number = self.applied
        return bool(entries)

    def _grow(self, shard: Shard) -> bool:
        """Put some of the newest rows into lists, which are looked up while searches go on; tells whether any were."""
        step = shard.to_grow()
        if step is not None:
            self._change(lambda _shard: step(), shard)
        return step is not None

    def _refresh(self, *, patiently: bool = False) -> None:
        # The log first: a generation that cannot be loaded keeps no write from being seen.
        self.catch_up()
        self._heal()
        named = self._named()
        failure: ReelspaceError | OSError | None = None
        for served in named:
            before = self._refused.get(served.generation)
            if served.generation in self.loaded or (patiently and before is not None and not before.is_due):
                continue
            try:
                with self._noting_why(served):
                    check_room(self._store, served, self._loaded, self._hosting.max_bytes)
                    loaded = self._opened(served)
                    loaded.recall = sampled_recall(nullcontext(), loaded.shard, VERIFIED_ROWS)
                    self._add(loaded)
            except (ReelspaceError, OSError) as error:
                failure = failure or error
        if self._move(named):
            give_back()
        if failure is not None:
            raise failure

    def _add(self, loaded: Loaded, damaged: Loaded | None = None) -> None:
        """Let a generation answer, in the place of a damaged one if there is one, from where it holds all that the others do."""
        with self._following:
            tail = LogTail(self._log, loaded.shard.applied)
            while loaded.shard.applied < self._tail.number:
                for entry in tail.poll():
                    loaded.shard.apply(entry)
            with self._state:
                self._loaded = (*(one for one in self._loaded if one is not damaged), loaded)
                self._current = loaded if self._current is damaged else self._current

    def _move(self, named: Sequence[ServedGeneration]) -> bool:
        """Take the first of these for current, if it is loaded, and let go of what was not named for long, and of what is too much.

        Tells whether something was let go.
        """
        numbers, now_s = [one.generation for one in named], time.monotonic()
        with self._following, self._state:
            self._current = next((one for one in self._loaded if one.served.generation == numbers[0]), self._current)
            for one in self._loaded:
                is_named = one is self._current or one.served.generation in numbers
                one.unnamed_s = None if is_named else (now_s if one.unnamed_s is None else one.unnamed_s)
            kept = [one for one in self._loaded if one.unnamed_s is None or now_s - one.unnamed_s < GRACE_S]
            unnamed = sorted((one for one in kept if one.unnamed_s is not None), key=lambda one: one.unnamed_s or 0.0)
            too_many = unnamed[: max(0, len(kept) - MAX_LOADED)]
            num_before, self._loaded = len(self._loaded), tuple(one for one in kept if one not in too_many)
        for number in [number for number in self._refused if number not in numbers]:
            del self._refused[number]
        return len(self._loaded) < num_before

    def _follow(self) -> None:
        while not self._closed:
            self._told.wait(self._hosting.poll_s)
            self._told.clear()
            try:
                if not self._closed:
                    with self._loading:
                        self._refresh(patiently=True)
                    self._read_ahead()
            except (ReelspaceError, OSError) as error:
                # What is loaded goes on answering; the store may be back at the next look.
                log_event("shard_not_followed", shard=self._number, collection=self._collection.full_name, error=str(error))


def _keep_columns(shard: Shard, keys: Mapping[str, object]) -> None:
    shard.payloads.keep_columns(keys)
