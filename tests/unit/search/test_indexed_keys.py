"""Shards that keep the columns of indexed payload keys before anybody filters by them."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.errors import CorruptArtifact
from reelspace.core.local_store import LocalStore
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.access.merge import merge_answers
from reelspace.search.compute import host as host_module
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.filters import Filter, Match, encode_filter
from reelspace.search.compute.generation import open_generation
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.payload_column import PayloadColumn
from reelspace.search.compute.queries import Count, ShardQuery
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.rebuild import rebuild_shard
from reelspace.search.storage.layout import PAYLOAD_SCHEMA, Collection, PayloadSchema, VectorSettings, collection_key
from reelspace.search.storage.replaced_file import replace_file
from reelspace.search.storage.rows import Change, Op

MADE = Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=2)}, num_shards=1)
COLORS = ("red", "blue", "green")
RED = encode_filter(Filter(must=(Match("color", ("red",)),)))
ONE_D = np.array([1.0, 0.0], dtype=np.float32)
PATIENCE_S = 10.0


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "store")
    create_collection(store, MADE)
    return store


def put(store: LocalStore, ids: range) -> None:
    changes = [Change(Op.UPSERT, id, {"": [1.0, 0.001 * id]}, {"color": COLORS[id % 3], "size": id}) for id in ids]
    with closing(LogWriters(store, MADE)) as writers:
        writers.submit(f"put-{ids}", changes)[0].result()


def paint(store: LocalStore, id: int, color: str) -> None:
    with closing(LogWriters(store, MADE)) as writers:
        writers.submit(f"paint-{id}", [Change(Op.MERGE_PAYLOAD, id, payload={"color": color})])[0].result()


def index(store: LocalStore, *keys: str) -> None:
    replace_file(
        store,
        PayloadSchema,
        collection_key(MADE.full_name, PAYLOAD_SCHEMA),
        lambda _: PayloadSchema(keys=dict.fromkeys(keys, "keyword")),
    )


def found_red(host: ShardHost, monkeypatch: pytest.MonkeyPatch) -> set[object]:
    """Search for red rows where no payload may be read into a column."""
    with monkeypatch.context() as patched:
        patched.setattr(PayloadColumn, "extend", lambda column, payloads: pytest.fail("payloads were read"))
        return {*merge_answers([host.search([ShardQuery(ONE_D, 1000, "", RED)])], 1000).ids()[0]}


def wait_until(host: ShardHost, holds: Callable[[ShardHost], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds(host):
        assert time.monotonic() < end_s
        time.sleep(0.01)


def keeps(*keys: str) -> Callable[[ShardHost], bool]:
    """Tell whether a host keeps these columns, up to its last row and change."""
    return lambda host: host.with_shard(lambda shard: shard.payloads.indexed == keys and not shard.payloads.read_ahead(0))


def test_the_first_filtered_search_of_a_loaded_shard_reads_no_payload(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, range(300))
    paint(store, 1, "red")
    index(store, "color")
    with ShardHost(store, MADE, 0, Hosting(poll_s=3600.0)) as host:
        assert found_red(host, monkeypatch) == {*range(0, 300, 3), 1}


def test_a_key_that_is_indexed_later_and_rows_that_come_later_are_read_ahead_and_a_dropped_key_is_forgotten(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "SCHEMA_S", 0.0)
    monkeypatch.setattr(host_module, "READ_AT_ONCE", 7)
    put(store, range(100))
    with ShardHost(store, MADE, 0, Hosting(poll_s=0.01)) as host:
        assert keeps()(host)
        index(store, "size", "color")
        wait_until(host, keeps("color", "size"))
        assert found_red(host, monkeypatch) == {*range(0, 100, 3)}
        put(store, range(100, 200))
        paint(store, 1, "red")
        host.sync(3, PATIENCE_S)
        wait_until(host, keeps("color", "size"))
        assert found_red(host, monkeypatch) == {*range(0, 200, 3), 1}
        index(store, "size")
        wait_until(host, keeps("size"))
        assert host.read(Count(RED)) == 68


def test_the_next_generation_brings_the_columns_with_it(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, range(60))
    index(store, "color")
    served = rebuild_shard(store, MADE, 0, IndexSettings(), tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(PayloadColumn, "extend", lambda column, payloads: pytest.fail("payloads were read"))
        shard = open_generation(store, served)
        assert np.flatnonzero(shard.allowed_rows(RED)).tolist() == [*range(0, 60, 3)]


def test_a_damaged_list_of_indexed_keys_is_refused_by_name_and_a_loaded_shard_follows_its_log_all_the_same(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "SCHEMA_S", 0.0)
    with ShardHost(store, MADE, 0, Hosting(poll_s=0.01)) as host:
        store.put(collection_key(MADE.full_name, PAYLOAD_SCHEMA), b'{"keys":{"color":"keyword"}}')
        with pytest.raises(CorruptArtifact, match=PAYLOAD_SCHEMA):
            ShardHost(store, MADE, 0)
        put(store, range(5))
        wait_until(host, lambda host: host.num_rows == 5)
