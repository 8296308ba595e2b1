"""The index is chosen by what was measured, within the budget, and the proof stays in the manifest."""

import numpy as np
import pytest

from reelspace.core.errors import UserError
from reelspace.search.compute.build import IndexSettings, build_parts, checked_table, choose, rows_of_table, settings_for
from reelspace.search.compute.shard import Shard
from reelspace.search.compute.tuning import recall_of
from reelspace.search.storage.layout import IndexTarget, TriedIndex, VectorSettings

from .builders import make_table


def tried(kind: str, code_bytes: float, recall: float, query_us: float) -> TriedIndex:
    return TriedIndex.model_validate({"kind": kind, "code_bytes": code_bytes, "recall_at_10": recall, "query_us": query_us})


TRIED = [tried("ivf_sq8", 140, 0.97, 50), tried("ivf_pq", 72, 0.96, 90), tried("ivf_pqfs", 40, 0.96, 70), tried("hnsw", 400, 0.99, 40)]


@pytest.mark.parametrize(
    ("recall", "budget", "expected"),
    [(0.95, None, "hnsw"), (0.95, 200, "ivf_sq8"), (0.95, 100, "ivf_pqfs"), (0.98, None, "hnsw"), (0.965, 200, "ivf_sq8")],
)
def test_the_fastest_kind_within_recall_and_budget_is_chosen(recall: float, budget: int | None, expected: str) -> None:
    assert choose(TRIED, IndexSettings(recall_target=recall, max_code_bytes=budget)) == expected


def test_where_none_fits_the_error_gives_what_each_reached() -> None:
    with pytest.raises(UserError, match=r"within 30 bytes per vector: ivf_sq8 0\.9700 at 140 bytes; ivf_pq"):
        choose(TRIED, IndexSettings(recall_target=0.95, max_code_bytes=30))


def test_a_vectors_own_target_stands_before_the_builders() -> None:
    made = settings_for(VectorSettings(dimension=4, index=IndexTarget(recall=0.9)), IndexSettings(kind="hnsw", recall_target=0.99))
    assert (made.kind, made.recall_target, made.max_code_bytes) == ("hnsw", 0.9, None)


def test_auto_measures_every_kind_and_keeps_the_proof() -> None:
    everything = make_table(2600, 16, clusters=60)
    vectors = VectorSettings(dimension=16, index=IndexTarget(kind="auto", recall=0.95, max_code_bytes=60))
    rows = rows_of_table(checked_table(everything.take(np.arange(2500))), vectors)
    parts = build_parts(rows, IndexSettings(flat_below=1, num_recall_queries=64))
    facts = parts.vectors[""].facts.index
    assert [one.kind for one in facts.tried] == ["ivf_sq8", "ivf_pq", "ivf_pqfs", "hnsw"]
    chosen = next(one for one in facts.tried if one.kind == facts.kind)
    assert chosen.code_bytes <= 60
    assert all(one.query_us >= chosen.query_us or one.code_bytes > 60 or one.recall_at_10 < 0.95 for one in facts.tried)
    shard, queries_QD = Shard(parts), everything.vectors_ND[2500:]
    assert recall_of(shard.search(queries_QD, 10).rows_QK, shard.search_exactly(queries_QD, 10).rows_QK) >= 0.93
