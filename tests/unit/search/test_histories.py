"""Any history of a database inside the caller's process equals a dict and brute force, in ids and scores, also of what is indexed.

Numbers are halves, so that products and squares are exact and many rows are equally near. A shard has fewer rows than two lists of
an index need: all of them are looked at, and equality must hold. Disks are not synced here, for nothing loses power.
"""

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

import reelspace.search
from reelspace.core.artifacts import Artifact
from reelspace.core.local_store import LocalStore
from reelspace.search.compute.build import IndexSettings
from reelspace.search.embedded import Database, EmbeddedCollection
from reelspace.search.storage.ids import Id, id_order
from reelspace.search.storage.layout import VectorSettings
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default, replace_file
from reelspace.search.storage.snapshot import restore_snapshot, take_snapshot

NAME = "things"
VECTORS = {"place": VectorSettings(dimension=2, metric="euclid"), "text": VectorSettings(dimension=3, metric="dot")}
IDS: list[Id] = [*range(20), 2**64 - 1, *(UUID(int=number << 64 | 1) for number in range(10)), UUID(int=5)]
EVERYTHING_INDEXED = IndexSettings(flat_below=1, recall_target=1.0, num_recall_queries=16)
QUERIES = {"place": ([0.5, -1.0], [2.0, 2.0]), "text": ([1.0, -0.5, 0.0], [-1.0, 0.5, 2.0])}


@dataclass(frozen=True)
class Row:
    """A row as plain values."""

    vectors: dict[str, tuple[float, ...]]
    payload: dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """A filter, and what it means."""

    where: dict[str, Any] | None
    allows: Callable[[Id, Row], bool]


def equals(key: str, value: int) -> Condition:
    match = {"key": key, "match": {"value": value}}
    return Condition({"must": [match]}, lambda _, row: row.payload.get(key) == value)


def differs(key: str, value: int) -> Condition:
    return Condition({"must_not": [{"key": key, "match": {"value": value}}]}, lambda _, row: row.payload.get(key) != value)


def at_least(key: str, value: int) -> Condition:
    return Condition({"must": [{"key": key, "range": {"gte": value}}]}, lambda _, row: row.payload.get(key, -1) >= value)


def one_of(wanted: Sequence[Id]) -> Condition:
    texts = [id if isinstance(id, int) else str(id) for id in wanted]
    return Condition({"must": [{"has_id": texts}]}, lambda id, _: id in wanted)


ANYTHING = Condition(None, lambda _id, _row: True)
keys, numbers = st.sampled_from("ab"), st.integers(0, 3)
some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=8, unique=True)
conditions = st.one_of(st.builds(equals, keys, numbers), st.builds(differs, keys, numbers), st.builds(at_least, keys, numbers))
conditions = st.one_of(conditions, st.builds(one_of, some_ids))
searched = st.one_of(st.just(ANYTHING), conditions)
payloads = st.dictionaries(keys, numbers, max_size=2)
halves = st.integers(-4, 4).map(lambda number: number / 2)
names = st.sampled_from([("place",), ("text",), ("place", "text")])


def vector_of(name: str) -> st.SearchStrategy[list[float]]:
    dimension = VECTORS[name].dimension
    return st.lists(halves, min_size=dimension, max_size=dimension)


def ranked(rows: dict[Id, Row], using: str, query: Sequence[float], condition: Condition, k: int) -> list[tuple[Id, float]]:
    """Rank by brute force: the independent answer."""
    found = []
    for id, row in rows.items():
        if using in row.vectors and condition.allows(id, row):
            pairs = list(zip(row.vectors[using], query, strict=True))
            far = sum((one - other) ** 2 for one, other in pairs) if using == "place" else -sum(one * other for one, other in pairs)
            found.append((far, id_order(id), id))
    best = sorted(found, key=lambda one: one[:2])[:k]
    return [(id, math.sqrt(far) if using == "place" else -far) for far, _, id in best]


def check_search(
    collection: EmbeddedCollection, rows: dict[Id, Row], using: str, query: Sequence[float], condition: Condition, k: int
) -> None:
    hits = collection.search(query, k, using=using, where=condition.where, with_payload=True)
    expected = ranked(rows, using, query, condition, k)
    assert [hit.id for hit in hits] == [id for id, _ in expected]
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], rel=1e-6, abs=1e-12)
    assert [hit.payload for hit in hits] == [rows[hit.id].payload for hit in hits]
    assert [hit.id for hit in collection.search(query, k, using=using, where=condition.where)] == [hit.id for hit in hits]


def check_all(collection: EmbeddedCollection, rows: dict[Id, Row]) -> None:
    """Compare every row, and some searches among all."""
    found = {
        one.id: Row({name: tuple(vector_D.tolist()) for name, vector_D in (one.vectors or {}).items()}, orjson.loads(one.payload or b""))
        for one in collection.get(IDS, with_vectors=True)
    }
    assert found == rows
    assert (collection.count(), collection.num_rows) == (len(rows), len(rows))
    for using, queries in QUERIES.items():
        for query in queries:
            check_search(collection, rows, using, query, ANYTHING, 7)


class History(RuleBasedStateMachine):
    """The database and the dict go through the same history."""

    @initialize()
    def begin(self) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self.root = Path(self.scratch.name) / "database"
        self.rows: dict[Id, Row] = {}
        self.snapshot: tuple[Artifact, dict[Id, Row]] | None = None
        self.database: Database = reelspace.search.open(self.root)
        self.collection = self.database.create_collection(NAME, VECTORS, num_shards=2)

    @rule(ids=some_ids, which=names, payload=st.one_of(st.none(), payloads), data=st.data())
    def upsert(self, ids: list[Id], which: tuple[str, ...], payload: dict[str, Any] | None, data: st.DataObject) -> None:
        vectors = {name: [data.draw(vector_of(name)) for _ in ids] for name in which}
        columns = {name: np.array(column) for name, column in vectors.items()}
        self.collection.upsert(ids, columns, None if payload is None else [payload] * len(ids))
        for place, id in enumerate(ids):
            self.rows[id] = Row({name: tuple(column[place]) for name, column in vectors.items()}, payload or {})

    @rule(ids=some_ids)
    def delete(self, ids: list[Id]) -> None:
        self.collection.delete(ids)
        for id in ids:
            self.rows.pop(id, None)

    @rule(condition=conditions)
    def delete_by_filter(self, condition: Condition) -> None:
        self.collection.delete(where=condition.where)
        self.rows = {id: row for id, row in self.rows.items() if not condition.allows(id, row)}

    @rule(payload=st.dictionaries(keys, st.one_of(st.none(), numbers), min_size=1, max_size=2), which=st.one_of(some_ids, conditions))
    def edit_payloads(self, payload: dict[str, Any], which: list[Id] | Condition) -> None:
        if isinstance(which, Condition):
            self.collection.set_payload(payload, where=which.where)
            edited = [id for id, row in self.rows.items() if which.allows(id, row)]
        else:
            self.collection.set_payload(payload, which)
            edited = [id for id in which if id in self.rows]
        for id in edited:
            merged = self.rows[id].payload | payload
            self.rows[id] = Row(self.rows[id].vectors, {key: value for key, value in merged.items() if value is not None})

    @rule(using=st.sampled_from(sorted(VECTORS)), condition=searched, k=st.integers(1, 40), data=st.data())
    def search(self, using: str, condition: Condition, k: int, data: st.DataObject) -> None:
        check_search(self.collection, self.rows, using, data.draw(vector_of(using)), condition, k)

    @rule(condition=searched, start=st.one_of(st.none(), st.sampled_from(IDS)), limit=st.integers(1, 12))
    def scroll_and_count(self, condition: Condition, start: Id | None, limit: int) -> None:
        allowed = sorted((id for id, row in self.rows.items() if condition.allows(id, row)), key=id_order)
        assert self.collection.count(condition.where) == len(allowed)
        page = [id for id in allowed if start is None or id_order(id) >= id_order(start)][:limit]
        found = self.collection.scroll(limit, start=start, where=condition.where)
        assert [(one.id, orjson.loads(one.payload or b"")) for one in found] == [(id, self.rows[id].payload) for id in page]

    @rule()
    def optimize(self) -> None:
        self.collection.optimize(EVERYTHING_INDEXED)

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.database = reelspace.search.open(self.root)
        self.collection = self.database.collection(NAME)

    @rule()
    def take_snapshot(self) -> None:
        store = LocalStore(self.root)
        full_name = read_or_default(store, Names, NAMES_KEY).collections[NAME]
        self.snapshot = take_snapshot(store, full_name, store, Path(self.scratch.name) / "snapshots"), dict(self.rows)

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def restore_elsewhere(self) -> None:
        assert self.snapshot is not None
        snapshot, rows = self.snapshot
        with tempfile.TemporaryDirectory(dir=self.scratch.name) as folder:
            elsewhere = LocalStore(Path(folder) / "database")
            full_name = restore_snapshot(snapshot, elsewhere, Path(folder), "others")
            replace_file(elsewhere, Names, NAMES_KEY, lambda known: known.with_collection("others", full_name))
            with reelspace.search.open(elsewhere.root) as database:
                check_all(database.collection("others"), rows)

    @invariant()
    def equals_the_oracle(self) -> None:
        if hasattr(self, "collection"):
            check_all(self.collection, self.rows)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.scratch.cleanup()


def run(monkeypatch: pytest.MonkeyPatch, max_examples: int, steps: int) -> None:
    nothing: Callable[[int], None] = lambda _descriptor: None  # noqa: E731
    monkeypatch.setattr(os, "fsync", nothing)
    quick = settings(max_examples=max_examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(History, settings=quick)  # type: ignore[no-untyped-call]


def test_any_history_equals_a_dict_searched_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, max_examples=25, steps=20)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_500_histories_of_50_steps_equal_a_dict_searched_by_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, max_examples=500, steps=50)
