"""A shard under random changes, against a dict and brute force in double precision."""

from collections.abc import Iterator, Sequence
from itertools import count
from uuid import UUID

import numpy as np
import orjson
import pytest

from reelspace.search.compute import vector_index
from reelspace.search.compute.build import BuildRows, BuildVectors, IndexSettings, build_parts
from reelspace.search.compute.filters import Filter, Match, encode_filter
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.queries import Count, Describe, Record, Retrieve, Scroll, ShardFacts, ShardQuery
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.compute.service import answer_queries, answer_read
from reelspace.search.compute.shard import Shard
from reelspace.search.scheduling.rebuild import rows_of_shard
from reelspace.search.storage.entries import Entry, Write
from reelspace.search.storage.ids import Id, id_order, ids_of_words
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.search.storage.points import Point, apply_writes
from reelspace.search.storage.rows import Change, Op, rows_of

VECTORS = {"": VectorSettings(dimension=8), "sound": VectorSettings(dimension=4, metric="euclid")}
COLLECTION = Collection(name="things", space_id="0" * 16, vectors=VECTORS, num_shards=1)
IDS: list[Id] = [*range(40), *(UUID(int=number << 64 | 3) for number in range(20))]
IVF = IndexSettings(flat_below=1, recall_target=0.9, num_recall_queries=16)


def empty_shard() -> Shard:
    vectors = {name: BuildVectors(one, np.empty((0, one.dimension), dtype=np.float32)) for name, one in VECTORS.items()}
    return Shard(build_parts(BuildRows(SealedIds.of(()), vectors, Payloads()), IndexSettings()))


def random_changes(draw: np.random.Generator, num: int) -> Iterator[Change]:
    for _ in range(num):
        id = IDS[draw.integers(len(IDS))]
        kind = draw.integers(10)
        if kind < 6:
            vectors = {"": draw.integers(-3, 4, 8) + 0.25}
            if draw.random() < 0.6:
                vectors["sound"] = draw.integers(-3, 4, 4) + 0.0
            yield Change(Op.UPSERT, id, vectors, {"colour": int(draw.integers(4)), "deep": {"n": int(draw.integers(3))}})
        elif kind < 8:
            yield Change(Op.DELETE, id)
        elif kind == 8:
            yield Change(Op.MERGE_PAYLOAD_AT, id, payload={"key": "deep", "payload": {"n": None, "m": 1}})
        else:
            yield Change(Op.MERGE_PAYLOAD, id, payload={"colour": int(draw.integers(4))})


def oracle_hits(points: dict[Id, Point], using: str, query_D: np.ndarray, where: int | None) -> list[tuple[Id, float]]:  # type: ignore[type-arg]
    found = []
    for id, point in points.items():
        vector = point.vectors.get(using)
        if vector is None or (where is not None and point.payload.get("colour") != where):
            continue
        wide, query = vector.astype(np.float64), query_D.astype(np.float64)
        if VECTORS[using].metric == "cosine":
            score = wide @ query / np.linalg.norm(wide) / np.linalg.norm(query)
        else:
            score = -((wide - query) ** 2).sum()
        found.append((id, float(score)))
    return sorted(found, key=lambda hit: (-round(hit[1], 5), id_order(hit[0])))


def check(shard: Shard, points: dict[Id, Point], draw: np.random.Generator) -> None:
    for using, settings in VECTORS.items():
        for where in (None, 2):
            encoded = b"" if where is None else encode_filter(Filter(must=(Match("colour", (where,)),)))
            queries = [(draw.integers(-3, 4, settings.dimension) + 0.5).astype(np.float32) for _ in range(3)]
            answer = answer_queries(shard, [ShardQuery(query, 7, using, encoded, with_payload=True) for query in queries])
            for number, query_D in enumerate(queries):
                exact = oracle_hits(points, using, query_D, where)
                found = ids_of_words(answer.ids_QK3[number][np.isfinite(answer.scores_QK[number])])
                assert len(found) == min(7, len(exact))
                by_id = dict(exact)
                np.testing.assert_allclose([by_id[id] for id in found], [score for _, score in exact[: len(found)]], atol=2e-5)
                np.testing.assert_allclose(answer.scores_QK[number][: len(found)], [by_id[id] for id in found], atol=2e-5)
                assert answer.payloads_QK is not None
                assert [orjson.loads(one) for one in answer.payloads_QK[number][: len(found)]] == [points[id].payload for id in found]
    check_reads(shard, points)


def check_reads(shard: Shard, points: dict[Id, Point]) -> None:
    ordered = sorted(points, key=id_order)
    listed: list[Record] = []
    start: Id | None = None
    while page := records(shard, Scroll(b"", start, 8, with_vectors=("", "sound"))):
        listed += page[:7]
        if len(page) < 8:
            listed += page[7:]
            break
        start = page[7].id
    assert [one.id for one in listed] == ordered
    for one in listed:
        assert orjson.loads(one.payload or b"") == points[one.id].payload
        assert set(one.vectors or {}) == set(points[one.id].vectors)
        if "sound" in points[one.id].vectors:
            assert (one.vectors or {})["sound"].tolist() == points[one.id].vectors["sound"].tolist()
    assert [one.id for one in records(shard, Retrieve(tuple(IDS)))] == [id for id in IDS if id in points]
    blue = encode_filter(Filter(must=(Match("colour", (1,)),)))
    assert answer_read(shard, Count(blue), 1) == sum(point.payload.get("colour") == 1 for point in points.values())
    facts = answer_read(shard, Describe(), 1)
    assert isinstance(facts, ShardFacts)
    assert facts.num_rows == len(points)


def records(shard: Shard, request: Scroll | Retrieve) -> list[Record]:
    found = answer_read(shard, request, 1)
    assert isinstance(found, list)
    return found


def entry(number: int, changes: Sequence[Change]) -> Entry:
    return Entry(number, (Write(f"k{number}", number, rows_of(changes, COLLECTION.fields)),))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [IndexSettings(), IVF], ids=["flat", "ivf"])
def test_any_history_equals_a_dict_also_after_rebuilds(settings: IndexSettings, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "GROW_ROWS", 10)
    monkeypatch.setattr(vector_index, "GROW_AT_ONCE", 8)
    draw, shard, points = np.random.default_rng(seed), empty_shard(), {}
    numbers = count(1)
    for turn in range(12):
        one = entry(next(numbers), list(random_changes(draw, int(draw.integers(1, 40)))))
        shard.apply(one)
        apply_writes(points, one.writes)
        check(shard, points, draw)
        if turn % 4 == 3:
            shard = Shard(build_parts(rows_of_shard(shard, COLLECTION), settings))
            check(shard, points, draw)
    assert shard.applied == 12


def test_rows_added_to_a_sealed_index_are_found_as_well_as_sealed_ones() -> None:
    draw = np.random.default_rng(5)
    centres_CD = draw.standard_normal((60, 16))
    vectors_ND = (centres_CD[draw.integers(0, 60, 7000)] + 0.4 * draw.standard_normal((7000, 16))).astype(np.float32)
    made = Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=16)}, num_shards=1)
    shard = Shard(build_parts(BuildRows(SealedIds.of(()), {"": BuildVectors(made.vectors[""], vectors_ND[:0])}, Payloads()), IVF))
    for number, start in enumerate(range(0, 7000, 500), 1):
        if number == 9:
            settings = IndexSettings(flat_below=1, recall_target=0.97)
            shard = Shard(build_parts(rows_of_shard(shard, made), settings))
        changes = [Change(Op.UPSERT, id, {"": vectors_ND[id]}) for id in range(start, start + 500)]
        shard.apply(Entry(number, (Write(f"k{number}", number, rows_of(changes, made.fields)),)))
    shard.apply(Entry(15, (Write("k15", 15, rows_of([Change(Op.DELETE, id) for id in range(0, 7000, 10)], made.fields)),)))
    assert shard.indexes[""].num_sealed == 4000
    assert shard.indexes[""].num_grown >= 1024
    assert shard.indexes[""].num_compared >= 1024
    queries_QD = (centres_CD[draw.integers(0, 60, 100)] + 0.4 * draw.standard_normal((100, 16))).astype(np.float32)
    found_QK, exact_QK = shard.search(queries_QD, 10).rows_QK, shard.search_exactly(queries_QD, 10).rows_QK
    assert not (shard.ids.words(found_QK)[..., 2] % 10 == 0).any()
    for low, high in ((0, 4000), (4000, 4000 + shard.indexes[""].num_grown), (4000 + shard.indexes[""].num_grown, 7000)):
        wanted_QK = (exact_QK >= low) & (exact_QK < high)
        hits = sum(
            np.isin(exact_K[wanted_K], found_K).sum() for exact_K, wanted_K, found_K in zip(exact_QK, wanted_QK, found_QK, strict=True)
        )
        assert hits / wanted_QK.sum() >= 0.95
