"""A shard that lives: it follows its log, answers while it does, and moves on to the next generation when one is current.

The same class serves in a Triton backend, in the gateway's process and in a caller's own. Searches and changes take turns.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import ArtifactMissing, ReelspaceError, TemporaryError
from reelspace.core.log import log as log_event
from reelspace.core.store import Store
from reelspace.search.compute.generation import Placement, open_generation
from reelspace.search.compute.queries import Read, ReadAnswer, ShardAnswer, ShardFacts, ShardQuery
from reelspace.search.compute.recall_watch import RecallWatch, Watching
from reelspace.search.compute.service import answer_queries, answer_read
from reelspace.search.compute.shard import Shard
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import PAYLOAD_SCHEMA, Collection, PayloadSchema, ServedGeneration, collection_key, read_current
from reelspace.search.storage.log import Log
from reelspace.search.storage.reader import LogGap, LogTail, read_from
from reelspace.search.storage.replaced_file import read_or_default

POLL_S: Final = 1.0
PAUSE_S: Final = 0.005
MOMENT_S: Final = 0.0005
PATIENCE_S: Final = 60.0
"""A generation that could not be loaded is tried again after this time, unless somebody asks for it."""
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
T = TypeVar("T")


class ShardBehind(TemporaryError):
    """A log number was not applied in time, or the log no longer reaches back to the generation that is loaded."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """How a shard is hosted.

    Attributes:
        pinned: the generation to serve for good, as a Triton version does; None serves the one that is current and follows it.
        poll_s: seconds between looks at the log and the pointer when nobody tells of a write.
        recall_s: seconds between looks at what searches find, ten times of it where vectors are mapped.
        looks_first: whether `is_behind` looks at the store: where other processes write and nobody tells of it.
    """

    placement: Placement = field(default_factory=Placement)
    pinned: ServedGeneration | None = None
    poll_s: float = POLL_S
    looks_first: bool = False
    recall_s: float = RECALL_S


class ShardHost:
    """Serves one shard of a collection; close it, or use it as a context. Calls may come from any thread."""

    def __init__(self, store: Store, collection: Collection, shard: int, hosting: Hosting | None = None) -> None:
        """Load the generation, verify it, apply the log to its present end, and read the columns of indexed payload keys.

        Raises:
            CorruptArtifact: a file of the collection, the generation or the log is damaged, of another make, or missing amid others.
            ArtifactMissing: the collection has no current generation.
            ShardBehind: the pinned generation is older than the log's floor.
        """
        self._store, self._collection, self._number = store, collection, shard
        self._hosting = hosting or Hosting()
        self._log = Log(store, collection.full_name, shard, collection.fields)
        self._state = threading.Lock()
        self._following = threading.Lock()
        self._told = threading.Event()
        self._closed = False
        self._is_changing = False
        self._refused: tuple[ServedGeneration, float] | None = None
        self._schema_s = 0.0
        self._served, self._shard = self._load()
        self._watch = RecallWatch()
        # A look at mapped vectors reads all of them from the disk.
        recall_s = self._hosting.recall_s * (1 if self._hosting.placement.mapped_in is None else MAPPED_TIMES)
        self._watching = Watching(self._watch, self._state, lambda: self._shard, recall_s)
        self._thread = threading.Thread(target=self._follow, name=f"shard-{collection.full_name}-{shard}", daemon=True)
        self._thread.start()

    @property
    def generation(self) -> int:
        """Number of the generation that serves."""
        return self._served.generation

    @property
    def applied(self) -> int:
        """Last log number applied."""
        return self._shard.applied

    @property
    def num_unsealed(self) -> int:
        """Changes that the generation does not have."""
        with self._state:
            return self._shard.num_unsealed

    @property
    def num_rows(self) -> int:
        """Rows that are not deleted."""
        return self._shard.num_rows

    def search(self, queries: Sequence[ShardQuery]) -> ShardAnswer:
        """Answer queries; see service.answer_queries."""
        with self._state:
            return self._answer(queries)

    def search_now(self, queries: Sequence[ShardQuery]) -> tuple[ShardAnswer, float] | None:
        """Answer queries, with the seconds that took, unless they would have to wait for another search or for long: None then."""
        if not self._taken_now():
            return None
        try:
            start_s = time.perf_counter()
            return self._answer(queries), time.perf_counter() - start_s
        finally:
            self._state.release()

    def lone(self, vector_D: NDArray[np.float32], k: int, using: str, where: bytes) -> tuple[list[Id], list[float]] | None:
        """Answer the usual lone query, ids and scores; None for one that `search` must answer."""
        with self._state:
            return self._lone(vector_D, k, using, where)

    def lone_now(self, vector_D: NDArray[np.float32], k: int, using: str, where: bytes) -> tuple[list[Id], list[float]] | None:
        """Do as `lone`, but give None where `search_now` would."""
        if not self._taken_now():
            return None
        try:
            return self._lone(vector_D, k, using, where)
        finally:
            self._state.release()

    def read(self, request: Read) -> ReadAnswer:
        """Look up, list or count rows, or describe the shard."""
        with self._state:
            answer = answer_read(self._shard, request, self._served.generation)
            recall = self._watching.recall
        if isinstance(answer, ShardFacts) and recall is not None:
            return replace(answer, recall=round(recall.found, 4), recall_target=recall.target)
        return answer

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
            return use(self._shard)

    def sync(self, number: int, timeout_s: float) -> None:
        """Return when a log number is applied.

        Raises:
            ShardBehind: it was not within timeout_s.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._shard.applied < number:
            if self._following.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
                try:
                    moved = self._shard.applied >= number or self._poll()
                finally:
                    self._following.release()
                if moved:
                    continue
            if time.monotonic() >= deadline_s:
                raise ShardBehind(f"{self._log.key(number)} was not applied within {timeout_s:g} s; {self._shard.applied} is the last")
            time.sleep(PAUSE_S)

    def hurry(self, number: int, wait_s: float) -> int:
        """Have the log read on at once, wait a moment if a number is not applied yet, and give the last one that is."""
        if self._shard.applied < number:
            self._told.set()
            deadline_s = time.monotonic() + wait_s
            while self._shard.applied < number and time.monotonic() < deadline_s:
                time.sleep(MOMENT_S)
        return self._shard.applied

    def is_behind(self) -> bool:
        """Tell whether the log has a number that is not applied, if the host looks at all; costs one look at one name in the store."""
        return self._hosting.looks_first and self._store.exists(self._log.key(self._shard.applied + 1))

    def catch_up(self) -> None:
        """Apply what the log has now."""
        with self._following:
            while self._poll():
                pass

    def tell(self) -> None:
        """Say that there is something new in the log, or a new generation."""
        self._told.set()

    def refresh(self) -> None:
        """Move to the current generation if there is a newer one, and apply what the log has."""
        with self._following:
            self._refresh()

    def close(self) -> None:
        """Stop following."""
        self._closed = True
        self._told.set()
        self._watching.close()
        self._thread.join()

    def __enter__(self) -> "ShardHost":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _taken_now(self) -> bool:
        """Take the shard for a search; False where that would have to wait for another search or for long."""
        return self._state.acquire(blocking=False) or (self._is_changing and self._state.acquire(timeout=CHANGE_S))

    def _answer(self, queries: Sequence[ShardQuery]) -> ShardAnswer:
        answer = answer_queries(self._shard, queries)
        first = queries[0]
        self._watch.see(first.vector_D, first.using, first.where, len(queries))
        return answer

    def _lone(self, vector_D: NDArray[np.float32], k: int, using: str, where: bytes) -> tuple[list[Id], list[float]] | None:
        found = self._shard.lone(vector_D, k, using, where)
        if found is not None:
            self._watch.see(vector_D, using, where)
        return None if found is None else (self._shard.ids.listed(found[0]), found[1])

    def _load(self) -> tuple[ServedGeneration, Shard]:
        """Open the generation and apply the log; one that is retired meanwhile is followed by the next."""
        for _ in range(NUM_LOADS):
            served = self._hosting.pinned or self._current()
            try:
                shard = open_generation(self._store, served, self._hosting.placement, self._collection)
                for entry in read_from(self._log, shard.applied):
                    shard.apply(entry)
                shard.payloads.keep_columns(self._indexed_keys())
                while shard.payloads.read_ahead():
                    pass
            except LogGap as error:
                if self._hosting.pinned is not None:
                    raise ShardBehind(f"generation {served.generation} is retired: {error}") from error
                continue
            except ArtifactMissing:
                if self._hosting.pinned is not None or self._current() == served:
                    raise
                continue
            self._tail = LogTail(self._log, shard.applied)
            return served, shard
        raise ShardBehind(f"shard {self._number} of {self._collection.full_name}: every generation was retired while it was loaded")

    def _indexed_keys(self) -> Mapping[str, object]:
        self._schema_s = time.monotonic() + SCHEMA_S
        return read_or_default(self._store, PayloadSchema, collection_key(self._collection.full_name, PAYLOAD_SCHEMA)).keys

    def _change(self, change: Callable[[Shard], T]) -> T:
        """Change the shard, in so short a time that searches wait for it."""
        with self._state:
            self._is_changing = True
            try:
                return change(self._shard)
            finally:
                self._is_changing = False

    def _read_ahead(self) -> None:
        """Bring the columns of the keys that are indexed now up to date, and let searches in between."""
        if time.monotonic() >= self._schema_s:
            keys = self._indexed_keys()
            self._change(lambda shard: shard.payloads.keep_columns(keys))
        while not self._closed and self._change(lambda shard: shard.payloads.read_ahead(READ_AT_ONCE)):
            time.sleep(MOMENT_S)

    def _current(self) -> ServedGeneration:
        name = self._collection.full_name
        state = read_current(self._store, name, self._collection.num_shards).shards[str(self._number)]
        return ServedGeneration(collection=name, shard=self._number, generation=state.generation, manifest_sha256=state.manifest_sha256)

    def _poll(self) -> bool:
        """Apply what is new in the log; tells whether anything was."""
        try:
            entries = self._tail.poll()
        except LogGap:
            self._move()
            return True
        try:
            for entry in entries:
                self._change(partial(Shard.add, entry=entry))
                while self._grow():
                    pass
        finally:
            # What could not be applied is read again, for nothing after it may be applied without it.
            self._tail.number = self._shard.applied
        return bool(entries)

    def _grow(self) -> bool:
        """Put some of the newest rows into lists, which are looked up while searches go on; tells whether any were."""
        step = self._shard.to_grow()
        if step is not None:
            self._change(lambda _shard: step())
        return step is not None

    def _move(self) -> None:
        served, shard = self._load()
        with self._state:
            self._served, self._shard = served, shard

    def _refresh(self, *, patiently: bool = False) -> None:
        # The log first: a next generation that cannot be loaded keeps no write from being seen.
        while self._poll():
            pass
        if self._hosting.pinned is not None or (current := self._current()) == self._served:
            return
        if patiently and self._refused is not None and self._refused[0] == current and time.monotonic() < self._refused[1]:
            return
        self._refused = current, time.monotonic() + PATIENCE_S
        self._move()

    def _follow(self) -> None:
        while not self._closed:
            self._told.wait(self._hosting.poll_s)
            self._told.clear()
            try:
                if not self._closed:
                    with self._following:
                        self._refresh(patiently=True)
                    self._read_ahead()
            except (ReelspaceError, OSError) as error:
                # What is loaded goes on answering; the store may be back at the next look.
                log_event("shard_not_followed", shard=self._number, collection=self._collection.full_name, error=str(error))
