"""The engine inside the caller's process, over a directory."""

import subprocess
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

import reelspace.search
from reelspace.core.errors import OutputOccupied, SettingError, UserError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.shard import QueryRefused
from reelspace.search.storage.layout import IndexTarget, ShardManifest, VectorSettings, parse
from reelspace.search.storage.log import Log
from reelspace.search.storage.rows import Change, Op, RowRefused, rows_of
from reelspace.search.storage.writer import LogWriter


def unit(num: int, dimension: int, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    vectors = np.random.default_rng(seed).standard_normal((num, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("num_shards", [1, 3])
def test_what_was_written_is_found_at_once_after_a_restart_and_after_optimizing(tmp_path: Path, num_shards: int) -> None:
    vectors_ND, queries_QD = unit(300, 8, 0), unit(20, 8, 1)
    ids = [*range(200), *(UUID(int=number) for number in range(100))]
    payloads = [{"even": place % 2 == 0, "place": place} for place in range(300)]
    gone = set(ids[::7])

    def check(collection: object) -> None:
        for query_D in queries_QD:
            order = [place for place in np.argsort(-(vectors_ND @ query_D)) if ids[place] not in gone and place % 2 == 0][:10]
            where = {"must": [{"key": "even", "match": {"value": True}}]}
            hits = collection.search(query_D, 10, where=where, with_payload=True)  # type: ignore[attr-defined]
            assert [hit.id for hit in hits] == [ids[place] for place in order]
            assert [hit.payload["place"] for hit in hits] == order
            np.testing.assert_allclose([hit.score for hit in hits], (vectors_ND @ query_D)[order], atol=1e-6)

    with reelspace.search.open(str(tmp_path)) as database:
        collection = database.create_collection("things", 8, num_shards=num_shards)
        collection.upsert(ids, unit(300, 8, 9), payloads)
        collection.upsert(ids, vectors_ND, payloads)
        collection.delete(sorted(gone, key=str)[:10])
        collection.delete(where={"must": [{"has_id": [one if isinstance(one, int) else str(one) for one in gone]}]})
        check(collection)
    with reelspace.search.open(str(tmp_path)) as database:
        collection = database.collection("things")
        check(collection)
        collection.optimize(IndexSettings(flat_below=1, recall_target=1.0, num_recall_queries=16))
        check(collection)
        assert collection.num_rows == collection.count() == 300 - len(gone)
    with reelspace.search.open(str(tmp_path)) as database:
        check(database.collection("things"))
        assert [one.id for one in database.collection("things").scroll(5)] == [id for id in ids if id not in gone][:5]


def test_a_target_of_the_index_is_kept_and_reached(tmp_path: Path) -> None:
    target = IndexTarget(kind="ivf_pqfs", recall=0.9)
    with reelspace.search.open(str(tmp_path)) as database:
        collection = database.create_collection("things", {"": VectorSettings(dimension=16, index=target)})
        collection.upsert(range(3000), unit(3000, 16, 0))
        collection.optimize(IndexSettings(flat_below=1, num_recall_queries=32))
    with reelspace.search.open(str(tmp_path)) as database:
        assert database.collection("things").count() == 3000
    [manifest] = tmp_path.glob("collections/*/shards/0/generations/2/manifest.json")
    facts = parse(ShardManifest, manifest.read_bytes(), "manifest").vectors[""].index
    assert (facts.kind, facts.recall_target) == ("ivf_pqfs", 0.9)
    assert facts.recall_at_10 >= 0.9


def test_a_query_may_be_a_list_or_any_array(tmp_path: Path) -> None:
    with reelspace.search.open(str(tmp_path)) as database:
        collection = database.create_collection("things", 8)
        collection.upsert(range(50), unit(50, 8, 0))
        collection.optimize(IndexSettings(flat_below=1, recall_target=0.9, num_recall_queries=16))
        query_D = unit(1, 16, 1)[0, ::2]
        expected = collection.search(query_D.copy(), 5)
        assert collection.search(query_D, 5) == expected
        assert [hit.id for hit in collection.search(query_D.astype(np.float64).tolist(), 5)] == [hit.id for hit in expected]


def test_named_vectors_distances_and_payload_edits(tmp_path: Path) -> None:
    vectors = {"text": VectorSettings(dimension=4), "place": VectorSettings(dimension=2, metric="euclid")}
    with reelspace.search.open(str(tmp_path)) as database:
        collection = database.create_collection("towns", vectors)
        collection.upsert([1, 2], {"text": np.eye(2, 4), "place": [[0.0, 0.0], [3.0, 4.0]]}, [{"a": 1}, {"a": 2}])
        hits = collection.search([0.0, 0.0], using="place")
        assert [(hit.id, hit.score) for hit in hits] == [(1, 0.0), (2, 5.0)]
        collection.set_payload({"b": 3, "a": None}, where={"must": [{"key": "a", "range": {"gt": 1}}]})
        assert [one.payload for one in collection.get([2, 1, 7])] == [b'{"b":3}', b'{"a":1}']
        [one] = collection.get([2], with_vectors=True)
        assert one.vectors is not None
        assert one.vectors["place"].tolist() == [3.0, 4.0]


def test_bad_rows_and_queries_are_refused_by_name_and_change_nothing(tmp_path: Path) -> None:
    with reelspace.search.open(str(tmp_path)) as database:
        collection = database.create_collection("things", 2)
        collection.upsert([1], [[1.0, 0.0]])
        for bad in ([np.nan, 1], [np.inf, 1], [1e39, 1], [0, 0]):
            with pytest.raises(RowRefused, match=r"row 1 \(id 3\)"):
                collection.upsert([2, 3], [[1.0, 0.0], bad])
            with pytest.raises(QueryRefused):
                collection.search(np.array(bad, dtype=np.float64))
        with pytest.raises(UserError, match="expected 2 rows"):
            collection.upsert([2, 3], [[1.0, 0.0]])
        with pytest.raises(QueryRefused, match="limit"):
            collection.search([1.0, 0.0], 0)
        with pytest.raises(QueryRefused, match="using"):
            collection.search([1.0, 0.0], using="sound")
        with pytest.raises(RequestRefused, match="where"):
            collection.search([1.0, 0.0], where={"most": []})
        assert collection.count() == 1


def test_names_are_checked_taken_once_and_forgotten_with_their_rows(tmp_path: Path) -> None:
    with reelspace.search.open(str(tmp_path)) as database:
        with pytest.raises(SettingError, match="letters"):
            database.create_collection("../x", 2)
        database.create_collection("a", 2).upsert([1], [[1.0, 0.0]])
        with pytest.raises(UserError, match="exists already"):
            database.create_collection("a", 3)
        database.drop_collection("a")
        assert database.names == []
        assert database.create_collection("a", 3).count() == 0
        with pytest.raises(UserError, match="here are a"):
            database.collection("b")
    files = [path for path in (tmp_path / "collections").glob("a@*/**/*") if path.is_file()]
    assert len({path.relative_to(tmp_path).parts[1] for path in files}) == 1


def test_a_directory_is_open_in_one_process_at_a_time(tmp_path: Path) -> None:
    script = f"import reelspace.search; reelspace.search.open({str(tmp_path)!r})"
    with reelspace.search.open(str(tmp_path)):
        with pytest.raises(OutputOccupied, match="another process"):
            reelspace.search.open(str(tmp_path))
        assert "OutputOccupied" in subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stderr
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_was_written_here_leaves_the_log_with_the_second_index_that_has_it_and_what_a_server_wrote_stays(tmp_path: Path) -> None:
    def floor_after_optimizing(*ids: int) -> tuple[int, int]:
        with reelspace.search.open(str(tmp_path)) as database:
            collection = database.collection("things")
            collection.upsert(ids, unit(len(ids), 4, 0))
            collection.optimize()
            assert collection.count() == max(ids)
        return log.floor(), log.last()

    with reelspace.search.open(str(tmp_path)) as database:
        made = database.create_collection("things", 4)._made
    log = Log(LocalStore(tmp_path), made.full_name, 0, made.fields)
    assert [floor_after_optimizing(number) for number in (1, 2, 3)] == [(0, 1), (1, 2), (2, 3)]
    with LogWriter(log) as writer:
        writer.append(f"{UUID(int=7)}#1", rows_of([Change(Op.UPSERT, 4, {"": [1.0, 0.0, 0.0, 0.0]})], made.fields))
    assert [floor_after_optimizing(number) for number in (5, 6, 7)] == [(3, 5), (3, 6), (3, 7)]
