"""The usual lone query on one shard of this process, answered without arrays: the same as with them."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.access.fanout import Fanout, FanoutSettings
from reelspace.search.access.local_shard import LocalShard
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.filters import Filter, Match, encode_filter
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import ShardQuery
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.rebuild import rebuild_shard
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.search.storage.rows import Change, Op

from ..builders import make_queries

MADE = Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=16)}, num_shards=1)
RED = encode_filter(Filter(must=(Match("color", ("red",)),)))
QUERIES_QD = make_queries(40)


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[LocalShard]:
    store = LocalStore(tmp_path / "store")
    create_collection(store, MADE)
    rows = enumerate(make_queries(1000, seed=3))
    changes = [Change(Op.UPSERT, 3 * number, {"": row_D}, {"color": "red" if number % 4 else "blue"}) for number, row_D in rows]
    with closing(LogWriters(store, MADE)) as writers:
        writers.submit("put", changes)[0].result()
    rebuild_shard(store, MADE, 0, IndexSettings(flat_below=1, recall_target=0.9, num_recall_queries=64), tmp_path)
    with ShardHost(store, MADE, 0, Hosting(poll_s=3600.0)) as host, ThreadPoolExecutor(1) as executor:
        host.refresh()
        assert host.num_unsealed == 0
        yield LocalShard(host, executor)


@pytest.mark.parametrize("where", [b"", RED])
def test_a_lone_query_is_answered_as_in_company_and_counted(shard: LocalShard, where: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    queries = [ShardQuery(query_D, 5, "", where) for query_D in QUERIES_QD]

    async def run() -> None:
        fanout = Fanout([shard], FanoutSettings(), sizes.append)
        expected = await fanout.search_all(queries, 5.0, allow_partial=[False] * len(queries))
        sizes.clear()
        for query in queries:  # a filter that is asked for again has its rows gathered
            await fanout.search(query, 5.0)
        monkeypatch.setattr(LocalShard, "search_now", lambda *_: None)
        sizes.clear()
        found = [fanout.search_now(query) for query in queries]
        assert sum(one is not None for one in found) >= 36
        assert sizes == [1] * sum(one is not None for one in found)
        for one, other in zip(found, expected, strict=True):
            assert one is None or (one.ids, one.scores, one.missing_shards) == (other.ids, other.scores, ())

    asyncio.run(run())


def test_a_query_that_wants_more_than_ids_is_left_to_the_general_way(shard: LocalShard) -> None:
    assert shard.lone_now(ShardQuery(QUERIES_QD[0], 5)) is not None
    for more in ({"with_payload": True}, {"with_vectors": ("",)}, {"excluded": (3,)}):
        assert shard.lone_now(ShardQuery(QUERIES_QD[0], 5, **more)) is None  # type: ignore[arg-type]
