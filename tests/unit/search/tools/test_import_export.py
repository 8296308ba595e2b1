"""Rows that are imported are all there, and come back as they were, through a directory and through a gateway."""

import random
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np
import pytest

import reelspace.search
from reelspace.core.errors import ServerUnavailable, TableError, UserError
from reelspace.core.local_store import LocalStore
from reelspace.search.compute import queries
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import (
    Collection,
    CurrentGenerations,
    ShardManifest,
    VectorSettings,
    collection_key,
    generation_key,
    read_file,
)
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file
from reelspace.search.tables.batch import Batches
from reelspace.search.tables.formats import read_table
from reelspace.search.tools.columns import columns_of
from reelspace.search.tools.export_rows import export_rows
from reelspace.search.tools.gateway import Gateway
from reelspace.search.tools.import_rows import ImportPlan, import_into_gateway, import_into_store, metric_of
from reelspace.search.tools.named import open_named
from reelspace.search.tools.retry_budget import RESERVE, jittered
from reelspace.search.tools.source import opened_source, source_of_gateway, source_of_store

from .worlds import INDEX, expected, gateway, held, plan, vectors, write_file

IDS: list[Id] = [*range(0, 400, 2), *(UUID(int=number) for number in range(150, 0, -1)), 2**64 - 1, 8, UUID(int=7)]
VECTORS = vectors(len(IDS))


@pytest.mark.parametrize("num_shards", [1, 3])
def test_a_new_collection_holds_the_last_row_of_every_id_sealed_in_its_first_generation(tmp_path: Path, num_shards: int) -> None:
    store = LocalStore(tmp_path / "store")
    done = import_into_store(store, write_file(tmp_path / "rows.parquet", IDS, VECTORS), plan(num_shards))
    assert (done.num_rows, done.is_new) == (len(IDS), True)
    assert held(source_of_store(store, "things")) == expected(IDS, VECTORS)
    made = open_named(store, "things")
    current = read_file(store, CurrentGenerations, collection_key(made.full_name, "current.json"))
    keys = [generation_key(made.full_name, shard, current.shards[str(shard)].generation, "manifest.json") for shard in range(num_shards)]
    manifests = [read_file(store, ShardManifest, key) for key in keys]
    assert sum(manifest.num_rows for manifest in manifests) == len(set(IDS))
    assert {manifest.vectors[""].index.kind for manifest in manifests} == {"ivf_sq8"}
    with reelspace.search.open(str(tmp_path / "store")) as database:
        found = database.collection("things").search(VECTORS[5], 1, with_payload=True)
    assert [(hit.id, hit.payload["place"]) for hit in found if hit.payload] == [(IDS[5], 5)]


def test_rows_for_a_present_collection_are_upserted_and_what_is_overdue_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_UNSEALED", 60)
    store = LocalStore(tmp_path / "store")
    import_into_store(store, write_file(tmp_path / "a.parquet", IDS, VECTORS), plan(2))
    few: list[Id] = [4, UUID(int=3), 1001]
    import_into_store(store, write_file(tmp_path / "b.parquet", few, VECTORS[:3], "few"), plan())
    wanted = expected(IDS, VECTORS) | expected(few, VECTORS[:3], "few")
    assert held(source_of_store(store, "things")) == wanted
    name = collection_key(open_named(store, "things").full_name, "current.json")
    assert {one.generation for one in read_file(store, CurrentGenerations, name).shards.values()} == {1}
    many: list[Id] = list(range(5000, 5300))
    done = import_into_store(store, write_file(tmp_path / "c.parquet", many, vectors(300, seed=1)), plan())
    assert (done.num_rows, done.is_new) == (300, False)
    assert held(source_of_store(store, "things")) == wanted | expected(many, vectors(300, seed=1))
    assert {one.generation for one in read_file(store, CurrentGenerations, name).shards.values()} == {2, 3}


def test_rows_travel_through_a_gateway_both_ways(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    with gateway(store) as client:
        assert import_into_gateway(client, write_file(tmp_path / "a.parquet", IDS, VECTORS), plan(2)).is_new
        assert held(source_of_gateway(client, "things")) == expected(IDS, VECTORS)
        few: list[Id] = [4, UUID(int=3), 1001]
        assert not import_into_gateway(client, write_file(tmp_path / "b.parquet", few, VECTORS[:3], "few"), plan()).is_new
        wanted = expected(IDS, VECTORS) | expected(few, VECTORS[:3], "few")
        with opened_source(None, client.url, "things") as source:
            assert export_rows(source, tmp_path / "out.parquet") == len(wanted)
    assert held(source_of_store(store, "things")) == wanted
    other = LocalStore(tmp_path / "other")
    import_into_store(other, read_table(tmp_path / "out.parquet"), plan())
    # Vectors of length 1 are scaled again, which may move their last digit.
    back = held(source_of_store(other, "things"))
    assert {id: payload for id, (_, payload) in back.items()} == {id: payload for id, (_, payload) in wanted.items()}
    for id, (vector, _) in wanted.items():
        np.testing.assert_allclose(back[id][0], vector, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".npy", ".fvecs"])
def test_formats_without_ids_come_back_by_their_file_of_ids(tmp_path: Path, suffix: str) -> None:
    store, ids = LocalStore(tmp_path / "store"), list(range(10, 40))
    import_into_store(store, write_file(tmp_path / "a.parquet", ids, VECTORS[:30]), ImportPlan("things", "dot", 2, INDEX))
    out = tmp_path / f"out{suffix}"
    assert export_rows(source_of_store(store, "things"), out) == 30
    other = LocalStore(tmp_path / "other")
    import_into_store(other, read_table(out, ids_path=tmp_path / f"out{suffix}.ids.npy"), ImportPlan("things", "dot", 1, INDEX))
    assert {id: vector for id, (vector, _) in held(source_of_store(other, "things")).items()} == dict(
        zip(ids, VECTORS[:30].tolist(), strict=True)
    )


def test_an_unnamed_vector_becomes_the_only_named_one_and_others_must_fit(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    made = Collection(name="things", space_id="00112233aabbccdd", vectors={"text": VectorSettings(dimension=6)}, num_shards=1)
    create_collection(store, made)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", made.full_name))
    import_into_store(store, write_file(tmp_path / "a.parquet", [1, 2], VECTORS[:2]), plan())
    assert held(source_of_store(store, "things")) == expected([1, 2], VECTORS[:2])
    for rows, message in ((vectors(2, 5), "(?s)'text': 6.*'text': 5"), (VECTORS[:2], "its metric and shards stay")):
        wrong = plan() if rows.shape[1] == 5 else plan(2)
        with pytest.raises(UserError, match=message):
            import_into_store(store, write_file(tmp_path / f"{rows.shape[1]}.parquet", [1, 2], rows), wrong)


def test_a_row_that_may_not_be_stored_is_named_and_no_collection_is_made(tmp_path: Path) -> None:
    store, bad = LocalStore(tmp_path / "store"), VECTORS[:100].copy()
    bad[70] = 0
    with pytest.raises(TableError, match=r"rows from 64 on: row 6 \(id 140\).*length is zero"):
        import_into_store(store, write_file(tmp_path / "a.parquet", IDS[:100], bad), plan())
    assert list(store.list("collections/")) == []
    with pytest.raises(UserError, match="no row"):
        import_into_store(store, Batches(0, lambda: iter(())), plan())
    with pytest.raises(UserError, match="does not exist"):
        source_of_store(store, "things")


def test_a_request_is_sent_again_under_one_key_until_it_is_answered() -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers.get("Idempotency-Key")))
        if len(seen) == 1:
            raise httpx.ReadError("cut")
        return httpx.Response(503 if len(seen) == 2 else 200, json={"status": {"error": "not now"}, "result": 7})

    client = Gateway("http://127.0.0.1:9", first_pause_s=0.001, transport=httpx.MockTransport(answer))
    assert client.ask("PUT", "/x", {}, key="k") == 7
    assert seen == [("/x", "k")] * 3
    refused = Gateway("http://127.0.0.1:9", transport=httpx.MockTransport(lambda _: httpx.Response(404, json={"status": {"error": "no"}})))
    with pytest.raises(UserError, match="404: no"):
        refused.ask("GET", "/x")
    dead = Gateway("http://127.0.0.1:9", first_pause_s=0.001, transport=httpx.MockTransport(lambda _: httpx.Response(504, text="late")))
    with pytest.raises(ServerUnavailable, match="504: late"):
        dead.ask("GET", "/x")


def test_requests_sent_again_are_a_tenth_more_and_what_was_refused_as_too_much_is_not_counted() -> None:
    draw, seen, statuses, told = random.Random(5), [0], [504] * 2 + [200] * 8, set[str]()

    def answer(_: httpx.Request) -> httpx.Response:
        seen[0] += 1
        return httpx.Response(draw.choice(statuses), json={"status": {"error": "late"}, "result": 7})

    def ask(client: Gateway) -> bool:
        try:
            return bool(client.ask("PUT", "/x", {}, key="k"))
        except ServerUnavailable as error:
            told.add(str(error).partition(", and ")[2])
            return False

    client = Gateway("http://127.0.0.1:9", first_pause_s=1e-6, transport=httpx.MockTransport(answer))
    num_answered = sum(ask(client) for _ in range(2000))
    assert 2000 * 1.09 < seen[0] <= 2000 * 1.1 + RESERVE
    assert num_answered > 2000 * 0.85
    assert told == {"too many before it: 504: late"}
    statuses[:2] = [429] * 2
    client = Gateway("http://127.0.0.1:9", first_pause_s=1e-6, transport=httpx.MockTransport(answer))
    assert all(ask(client) for _ in range(500))


def test_pauses_of_clients_that_failed_together_differ() -> None:
    pauses = {jittered(2.0) for _ in range(200)}
    assert len(pauses) > 190
    assert 1 <= min(pauses) < 1.2
    assert 2.8 < max(pauses) <= 3


def test_options_that_do_not_belong_to_the_file_or_are_none_are_refused(tmp_path: Path) -> None:
    named = columns_of(Path("a.parquet"), None, ["text=t", "v"], None)
    assert named is not None
    assert (named.id, named.vectors, named.payload) == ("id", {"text": "t", "": "v"}, "payload")
    assert columns_of(Path("a.npy"), None, [], None) is None
    for path, given in ((Path("a.npy"), ["v"]), (Path("a.parquet"), ["v", "w"])):
        with pytest.raises(UserError, match="--vector"):
            columns_of(path, None, given, None)
    assert metric_of("dot") == "dot"
    with pytest.raises(UserError, match="expected one of cosine, dot, euclid"):
        metric_of("cosin")


def test_a_row_without_the_vector_that_is_exported_is_named(tmp_path: Path) -> None:
    settings = {"a": VectorSettings(dimension=2), "b": VectorSettings(dimension=2)}
    with reelspace.search.open(str(tmp_path / "store")) as database:
        made = database.create_collection("things", settings)
        made.upsert([1], {"a": [[1, 0]], "b": [[0, 1]]})
        made.upsert([2], {"a": [[1, 0]]})
    source = source_of_store(LocalStore(tmp_path / "store"), "things")
    assert export_rows(source, tmp_path / "a.parquet", "a") == 2
    with pytest.raises(UserError, match="id 2 has no vector 'b'"):
        export_rows(source, tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()
    with pytest.raises(UserError, match="expected one of 'a', 'b'"):
        export_rows(source, tmp_path / "c.parquet", "c")
