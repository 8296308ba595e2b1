"""A shard with several generations: each answers who asks for it, follows the log, and goes when nobody does."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson
import pytest

from reelspace.core.errors import ReelspaceError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute import host as host_module
from reelspace.search.compute.host import GenerationGone, Hosting, ShardHost
from reelspace.search.compute.queries import AlikeQueries, Count, Describe, ShardFacts, ShardQuery
from reelspace.search.compute.signature import IDS, PAYLOAD, K
from reelspace.search.compute.tensors import TensorsRefused, generation_of, queries_of, query_tensors
from reelspace.search.compute.triton_requests import ShardRequest, answer_requests
from reelspace.search.scheduling.generations import point_collection
from reelspace.search.scheduling.pointer import roll_back
from reelspace.search.storage.rows import Change, Op

from .publishing import DIMENSION, MADE, built

QUERY = ShardQuery(np.ones(DIMENSION, dtype=np.float32), 3, with_payload=True)


@pytest.fixture
def host(store: LocalStore) -> Iterator[ShardHost]:
    with ShardHost(store, MADE, 0, Hosting(poll_s=3600.0)) as host:
        yield host


def edition_of(host: ShardHost, generation: int) -> int:
    found = host.search([QUERY], generation).payloads_QK
    assert found is not None
    return int(orjson.loads(found[0, 0])["edition"])


def test_who_asks_for_a_generation_is_answered_by_it_also_after_the_next_is_current(
    host: ShardHost, store: LocalStore, tmp_path: Path
) -> None:
    with pytest.raises(GenerationGone, match=r"this generation is not loaded: 2 of shard 0 of works@01234567, it has \(1,\)"):
        host.search([QUERY], 2)
    point_collection(store, built(store, 2, tmp_path))
    host.refresh()
    assert (host.generation, host.loaded) == (2, (2, 1))
    assert [edition_of(host, generation) for generation in (0, 1, 2)] == [2, 1, 2]
    roll_back(store, MADE.full_name)
    host.refresh()
    assert (host.generation, edition_of(host, 0)) == (1, 1)


def test_what_nobody_asks_for_any_more_goes_after_a_while_and_what_is_asked_for_stays(
    host: ShardHost, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(host_module.time, "monotonic", lambda: now_s)
    point_collection(store, built(store, 2, tmp_path))
    host.refresh()
    for _ in range(3):
        now_s += 50.0
        assert edition_of(host, 1) == 1
        host.refresh()
        assert host.loaded == (2, 1)
    now_s += 61.0
    host.refresh()
    assert host.loaded == (2,)


def test_of_many_generations_the_last_three_at_most_are_loaded(host: ShardHost, store: LocalStore, tmp_path: Path) -> None:
    for edition in range(2, 8):
        point_collection(store, built(store, edition, tmp_path))
        host.refresh()
        assert len(host.loaded) <= 3
    assert host.loaded[0] == 7


def test_every_generation_that_is_loaded_has_what_was_written(host: ShardHost, store: LocalStore, tmp_path: Path) -> None:
    point_collection(store, built(store, 2, tmp_path))
    host.refresh()
    before = [host.read(Count(b""), generation) for generation in (1, 2)]
    with closing(LogWriters(store, MADE)) as writers:
        changes = [Change(Op.UPSERT, 10_000 + number, {"": [1.0] * DIMENSION}) for number in range(20)]
        futures = writers.submit("put", changes)
        number = futures[0].result()
    host.sync(number, 5.0)
    num_new = [host.read(Count(b""), generation) - count for generation, count in zip((1, 2), before, strict=True)]  # type: ignore[operator]
    assert num_new[0] == num_new[1] > 0
    facts = host.read(Describe(), 1)
    assert isinstance(facts, ShardFacts)
    assert (facts.generation, facts.loaded, facts.applied) == (1, (2, 1), number)


def request(generation: int, num: int = 1) -> ShardRequest:
    queries = [QUERY] * num
    return ShardRequest(query_tensors(queries, generation), frozenset({IDS, PAYLOAD}))


def test_requests_of_several_generations_in_one_batch_are_each_answered_by_their_own(
    host: ShardHost, store: LocalStore, tmp_path: Path
) -> None:
    point_collection(store, built(store, 2, tmp_path))
    host.refresh()
    answers = answer_requests(host, [request(2), request(1, 3), request(9), request(0)])
    editions = [
        {orjson.loads(one)["edition"] for one in answer[PAYLOAD].reshape(-1)} if not isinstance(answer, ReelspaceError) else answer
        for answer in answers
    ]
    assert (editions[0], editions[1], editions[3]) == ({2}, {1}, {2})
    assert isinstance(editions[2], GenerationGone)


@pytest.mark.parametrize("num", [1, 5])
def test_queries_keep_their_generation_on_the_way(num: int) -> None:
    alike = AlikeQueries(np.ones((num, DIMENSION), dtype=np.float32), 7)
    for queries in (alike, [QUERY] * num):
        for generation in (0, 4):
            tensors = query_tensors(queries, generation)
            assert generation_of(tensors) == generation
            assert [one.k for one in queries_of(tensors, frozenset())] == [one.k for one in queries]
    tensors = query_tensors([QUERY] * 2, 4)
    tensors[K][1, 1] = 5
    with pytest.raises(TensorsRefused, match=r"K: expected one generation in all rows, got \[4, 5\]"):
        generation_of(tensors)
    with pytest.raises(TensorsRefused, match="K: expected one or two numbers a row"):
        queries_of(tensors | {K: np.zeros((2, 3), dtype=np.int32)}, frozenset())
