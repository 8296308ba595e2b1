import json
from pathlib import Path

import pytest

from reelspace.search.compute.lists import num_lists
from reelspace.search.planning.index_bytes import index_parts, rerank_bytes, why_not
from reelspace.search.planning.measured import ALONE_SECONDS, CURVES, DIMENSION, KINDS, RERANK_FACTORS, Kind

RESULT = json.loads((Path(__file__).resolve().parents[4] / "benchmarks" / "results" / "index_bytes.json").read_text())


def test_the_plan_holds_the_figures_that_the_benchmark_wrote() -> None:
    curves = {
        kind: {
            str(curve.rows): (curve.bytes_per_vector, [[point.effort, point.recall, point.seconds] for point in curve.points])
            for curve in found
        }
        for kind, found in CURVES.items()
    }
    assert curves == {
        kind: {rows: (curve["bytes_per_vector"], curve["points"]) for rows, curve in found.items()}
        for kind, found in RESULT["curves"].items()
    }
    assert {str(rows): seconds for rows, seconds in ALONE_SECONDS.items()} == {
        rows: curve["alone_seconds"] for rows, curve in RESULT["curves"]["flat"].items()
    }
    assert (RESULT["dimension"], RESULT["rerank_factors"]) == (DIMENSION, RERANK_FACTORS)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_an_index_add_up_to_the_bytes_that_were_measured(kind: Kind) -> None:
    for curve in CURVES[kind]:
        counted = sum(part.size_bytes for part in index_parts(kind, DIMENSION, curve.rows))
        assert counted == pytest.approx(curve.bytes_per_vector, rel=0.02), curve.rows


def test_the_plan_counts_as_many_lists_as_the_indexes_had_that_were_measured() -> None:
    made = {(kind, int(rows)): curve["num_lists"] for kind, found in RESULT["curves"].items() for rows, curve in found.items()}
    assert made == {(kind, rows): num_lists(rows) if kind.startswith("ivf") else None for kind, rows in made}


def test_bytes_of_a_vector_counted_by_hand() -> None:
    # 2.5 sqrt(1,000,000) = 2,500 lists of 96 floats.
    sizes = {part.name: part.size_bytes for part in index_parts("ivf_sq8", 96, 1_000_000)}
    assert num_lists(1_000_000) == 2_500
    assert sizes == {"codes": 96, "ids": 8, "centres": pytest.approx(2_500 * 96 * 4 / 1_000_000)}
    assert [part.size_bytes for part in index_parts("flat", 96, 10)] == [384]
    assert (rerank_bytes("ivf_pq64", 128), rerank_bytes("ivf_pq64_reranked", 128), rerank_bytes("ivf_pq_fastscan", 128)) == (0, 512, 512)
    # A graph over codes; what it finds is scored again with the vectors.
    graph = {part.name: part.size_bytes for part in index_parts("hnsw", 96, 10)}
    assert (graph["codes"], round(graph["links"]), rerank_bytes("hnsw", 96)) == (96, 272, 384)


def test_dimensions_that_an_index_cannot_cut_are_told() -> None:
    assert why_not("ivf_pq64", 100) == "64 parts do not divide 100 dimensions"
    assert why_not("ivf_pq_fastscan", 101) == "parts of 2 do not divide 101 dimensions"
    assert [why_not(kind, 128) for kind in KINDS] == [None] * len(KINDS)
    assert why_not("ivf_sq8", 101) is None
