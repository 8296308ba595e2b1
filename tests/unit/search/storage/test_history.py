"""Any history of writes, crashes, truncations, snapshots and restores equals a dict.

Two writers share the log of one shard. A generation is what `apply_writes` makes of the log, sealed as a file; disks are not
synced here, for nothing loses power.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import ReelspaceError
from reelspace.core.local_store import LocalStore
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import CurrentGenerations, ShardState, collection_key, json_bytes, read_file
from reelspace.search.storage.log import truncate
from reelspace.search.storage.points import Point, apply_writes
from reelspace.search.storage.reader import LogGap, LogTail, read_from
from reelspace.search.storage.rows import Change, Op
from reelspace.search.storage.seen_numbers import SeenNumbers
from reelspace.search.storage.snapshot import restore_snapshot, take_snapshot
from reelspace.search.storage.writer import Clock, LogWriter

from .builders import OneTime, Plain, WatchedStore, delete, lose, plain, rows, upsert, vector
from .generations import NAME, create, load_generation, seal_generation, shard_log

IDS: list[Id] = [0, 1, 2**64 - 1, UUID(int=0), UUID(int=1)]
WINDOW_S = 600.0

ids = st.sampled_from(IDS)
values = st.integers(1, 9).map(float)
objects = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=2)
changes = st.one_of(
    st.builds(upsert, ids, values, st.one_of(st.none(), objects)),
    st.builds(lambda id, value: Change(Op.UPSERT, id, {"": vector(value)}), ids, values),
    st.builds(delete, ids),
    st.builds(
        lambda op, id, payload: Change(op, id, payload=payload), st.sampled_from([Op.MERGE_PAYLOAD, Op.REPLACE_PAYLOAD]), ids, objects
    ),
    st.builds(lambda id, keys: Change(Op.DROP_PAYLOAD, id, payload=keys), ids, st.lists(st.sampled_from("abc"), max_size=2)),
)
writes = st.lists(changes, min_size=1, max_size=4)


class Crash(KeyboardInterrupt):
    """What ends a writer's thread as a kill would."""


@dataclass
class Sent:
    """A request as its client knows it."""

    key: str
    changes: list[Change]
    number: int | None = None


def oracle_after(state: dict[Id, Plain], changes: list[Change]) -> dict[Id, Plain]:
    """The meaning of changes, written down a second time in plain Python."""
    state = dict(state)
    for change in changes:
        if change.op is Op.UPSERT:
            state[change.id] = ({name: list(one) for name, one in change.vectors.items()}, dict(change.payload or {}))  # type: ignore[arg-type,call-overload]
        elif change.op is Op.DELETE:
            state.pop(change.id, None)
        elif change.id in state:
            vectors, payload = state[change.id]
            kept = {key: value for key, value in payload.items() if key not in change.payload}  # type: ignore[operator]
            given = {} if change.op is Op.DROP_PAYLOAD else dict(change.payload or {})  # type: ignore[arg-type]
            state[change.id] = (vectors, given if change.op is Op.REPLACE_PAYLOAD else {**kept, **given})
    return state


class History(RuleBasedStateMachine):
    """The store and the oracle go through the same history."""

    @initialize()
    def begin(self) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self.root = Path(self.scratch.name) / "store"
        create(LocalStore(self.root), num_shards=1)
        self.now_s = 0.0
        self.states: list[dict[Id, Plain]] = [{}]
        """The rows after each number of the log."""
        self.done: list[Sent] = []
        self.num_keys = 0
        self.generation = 0
        self.seen = SeenNumbers(WINDOW_S, lambda: self.now_s)
        self.snapshot: tuple[Artifact, int] | None = None
        self.stores: list[WatchedStore] = []
        self.writers: list[LogWriter] = []
        for _ in range(2):
            self.open_writer()
        self.tail, self.tailed = LogTail(shard_log(LocalStore(self.root), 0), 0), dict[Id, Point]()

    def open_writer(self) -> None:
        self.stores.append(WatchedStore(self.root))
        clock = Clock(now_us=lambda: int(self.now_s * 1e6), monotonic_s=lambda: self.now_s)
        self.writers.append(LogWriter(shard_log(self.stores[-1], 0), clock=clock))

    def sent(self, changes: list[Change]) -> Sent:
        self.num_keys += 1
        return Sent(f"key {self.num_keys}", changes)

    def acknowledged(self, sent: Sent, number: int) -> None:
        assert number == len(self.states), "the next number"
        sent.number = number
        self.states.append(oracle_after(self.states[-1], sent.changes))
        self.done.append(sent)

    def append(self, which: int, sent: Sent) -> int:
        return self.writers[which].append(sent.key, rows(*sent.changes))

    @rule(which=st.integers(0, 1), changes=writes)
    def write(self, which: int, changes: list[Change]) -> None:
        sent = self.sent(changes)
        self.acknowledged(sent, self.append(which, sent))

    @rule(which=st.integers(0, 1), changes=writes, moment=st.sampled_from(["before", "after"]))
    def write_with_a_lost_answer(self, which: int, changes: list[Change], moment: str) -> None:
        setattr(self.stores[which], moment, OneTime("put_if_absent", ".arrow", lose))
        sent = self.sent(changes)
        self.acknowledged(sent, self.append(which, sent))

    @rule(which=st.integers(0, 1), first=writes, second=writes)
    def write_while_another_writes(self, which: int, first: list[Change], second: list[Change]) -> None:
        slow, fast = self.sent(first), self.sent(second)
        # Read by the time it puts, so that the other's write comes between.
        self.stores[which].before = OneTime("put_if_absent", ".arrow", lambda: self.acknowledged(fast, self.append(1 - which, fast)))
        self.acknowledged(slow, self.append(which, slow))

    @rule(which=st.integers(0, 1), data=st.data())
    def retry(self, which: int, data: st.DataObject) -> None:
        # What is below the floor is older than any request that may be tried again.
        floor = shard_log(LocalStore(self.root), 0).floor()
        recent = [sent for sent in self.done if sent.number is not None and sent.number > floor]
        if recent:
            sent = data.draw(st.sampled_from(recent))
            assert self.append(which, sent) == sent.number

    @rule(which=st.integers(0, 1), changes=writes, moment=st.sampled_from(["before", "after"]), again=st.integers(0, 1))
    def crash_and_retry(self, which: int, changes: list[Change], moment: str, again: int) -> None:
        def crash() -> None:
            raise Crash

        setattr(self.stores[which], moment, OneTime("put_if_absent", ".arrow", crash))
        sent = self.sent(changes)
        with pytest.raises(ReelspaceError):
            self.append(which, sent)
        self.stores[which] = WatchedStore(self.root)
        self.writers[which] = LogWriter(shard_log(self.stores[which], 0), clock=self.writers[which]._clock)
        self.acknowledged(sent, self.append(again, sent))

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        self.writers[which].close()
        self.stores[which] = WatchedStore(self.root)
        self.writers[which] = LogWriter(shard_log(self.stores[which], 0), clock=self.writers[which]._clock)

    @rule(seconds=st.sampled_from([1.0, 400.0, 2 * WINDOW_S]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def build(self) -> None:
        """Seal the rows so far into a generation and flip to it."""
        store = LocalStore(self.root)
        points, last = self.current(store)
        self.generation += 1
        manifest = seal_generation(store, 0, self.generation, points, num_shards=1, contains_log=last)
        states = {"0": ShardState(generation=self.generation, contains_log=last, manifest_sha256=manifest)}
        store.put(
            collection_key(NAME, "current.json"), json_bytes(CurrentGenerations(version=self.generation, shards=states, updated_at=""))
        )

    @precondition(lambda self: self.generation > 0)
    @rule()
    def drop_old_objects(self) -> None:
        store = LocalStore(self.root)
        contains_log = read_file(store, CurrentGenerations, collection_key(NAME, "current.json")).shards["0"].contains_log
        log = shard_log(store, 0)
        self.seen.see(log, contains_log)
        floor = truncate(log, min(contains_log, self.seen.old(log)))
        assert floor <= contains_log

    @precondition(lambda self: self.generation > 0)
    @rule(which=st.integers(0, 1), first=writes, second=writes)
    def sleep_through_a_truncation(self, which: int, first: list[Change], second: list[Change]) -> None:
        """A writer stops before its PUT; another writes, all of it is sealed and dropped, then the first goes on."""
        slow, fast = self.sent(first), self.sent(second)

        def meanwhile() -> None:
            self.acknowledged(fast, self.append(1 - which, fast))
            self.build()
            shard_log(LocalStore(self.root), 0).drop(len(self.states) - 1)

        self.stores[which].before = OneTime("put_if_absent", ".arrow", meanwhile)
        self.acknowledged(slow, self.append(which, slow))

    @rule()
    def take_snapshot(self) -> None:
        store = LocalStore(self.root)
        self.snapshot = take_snapshot(store, NAME, store, Path(self.scratch.name) / "scratch"), len(self.states) - 1

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def restore_elsewhere(self) -> None:
        assert self.snapshot is not None
        snapshot, number = self.snapshot
        with tempfile.TemporaryDirectory(dir=self.scratch.name) as folder:
            elsewhere = LocalStore(Path(folder) / "store")
            restore_snapshot(snapshot, elsewhere, Path(folder))
            points, last = self.current(elsewhere)
            assert (plain(points), last) == (self.states[number], number)

    @rule()
    def follow(self) -> None:
        """A shard that tails the log holds the rows at its number, and reloads when it slept too long."""
        try:
            for entry in self.tail.poll():
                apply_writes(self.tailed, entry.writes)
        except LogGap:
            store = LocalStore(self.root)
            state = read_file(store, CurrentGenerations, collection_key(NAME, "current.json")).shards["0"]
            self.tail, self.tailed = LogTail(shard_log(store, 0), state.contains_log), load_generation(store, NAME, 0, state.generation)
        assert plain(self.tailed) == self.states[self.tail.number]

    @invariant()
    def equals_the_oracle(self) -> None:
        if hasattr(self, "root"):
            points, last = self.current(LocalStore(self.root))
            assert (plain(points), last) == (self.states[-1], len(self.states) - 1)

    def current(self, store: LocalStore) -> tuple[dict[Id, Point], int]:
        points, last = dict[Id, Point](), 0
        if store.exists(collection_key(NAME, "current.json")):
            state = read_file(store, CurrentGenerations, collection_key(NAME, "current.json")).shards["0"]
            points, last = load_generation(store, NAME, 0, state.generation), state.contains_log
        for entry in read_from(shard_log(store, 0), last):
            apply_writes(points, entry.writes)
            last = entry.number
        return points, last

    def teardown(self) -> None:
        if hasattr(self, "root"):
            for writer in self.writers:
                writer.close()
            self.scratch.cleanup()


def run(monkeypatch: pytest.MonkeyPatch, max_examples: int, steps: int) -> None:
    nothing: Callable[[int], None] = lambda _descriptor: None  # noqa: E731
    monkeypatch.setattr(os, "fsync", nothing)
    quick = settings(max_examples=max_examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(History, settings=quick)  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # a crash ends the writer's thread
def test_any_history_equals_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, max_examples=20, steps=15)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_500_histories_of_50_steps_equal_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, max_examples=500, steps=50)
