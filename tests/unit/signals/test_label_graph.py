"""Label graph and adjacency, against plain counting and loops over the published formulas."""

import tracemalloc
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.signals.label_graph import (
    LabelGraph,
    adjacency,
    choose_tau,
    graph_facts,
    label_graph,
    neighbours,
    official_adjacency,
    official_weights,
    paper_adjacency,
    paper_weights,
    read_graph,
    sparse_adjacency,
)
from reelspace.signals.settings import GraphSettings
from reelspace.signals.vocabulary import Labels

ENTRIES = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (3, 2)]  # (work, label)


def _labels(entries: list[tuple[int, int]]) -> Labels:
    label_E = np.array([label for _, label in entries], dtype=np.int64)
    num = int(label_E.max(initial=-1)) + 1
    zeros_L, zeros_E = np.zeros(num, dtype=np.int64), np.zeros(len(entries), dtype=np.int64)
    return Labels(
        texts=tuple(f"label{label}" for label in range(num)),
        num_tag_works_L=zeros_L,
        num_query_works_L=zeros_L,
        first_us_L=zeros_L,
        work_E=np.array([work for work, _ in entries], dtype=np.int64),
        label_E=label_E,
        weight_E=np.ones(len(entries), dtype=np.float32),
        from_tags_E=zeros_E.astype(bool),
        from_queries_E=zeros_E.astype(bool),
        evidence_E=("{}",) * len(entries),
        entry_S=zeros_E[:0],
        time_us_S=zeros_E[:0],
    )


def _random_entries(name: str, num_works: int = 120, num_labels: int = 12) -> list[tuple[int, int]]:
    has = rng(5, name).random((num_works, num_labels)) < np.linspace(0.5, 0.05, num_labels)
    return [(work, label) for work, label in np.argwhere(has).tolist()]


def _links(num_labels: int, share: float) -> NDArray[np.bool_]:
    links_LL = rng(7, "links", num_labels).random((num_labels, num_labels)) < share
    np.fill_diagonal(links_LL, val=False)
    return links_LL


@pytest.mark.parametrize("entries", [ENTRIES, _random_entries("counts")])
def test_the_graph_counts_shared_works_in_both_directions(entries: list[tuple[int, int]]) -> None:
    graph = label_graph(_labels(entries), GraphSettings(min_count=1))
    num = max(label for _, label in entries) + 1
    works = {label: {work for work, other in entries if other == label} for label in range(num)}
    wanted = {}
    for first, second in combinations(range(num), 2):
        count = len(works[first] & works[second])
        if count:
            wanted[first, second] = (count, count / len(works[first]))
            wanted[second, first] = (count, count / len(works[second]))
    pairs = list(zip(graph.i_G.tolist(), graph.j_G.tolist(), strict=True))
    assert pairs == sorted(wanted)
    assert graph.count_G.tolist() == [wanted[pair][0] for pair in pairs]
    assert np.allclose(graph.p_G, [wanted[pair][1] for pair in pairs], atol=1e-6)


def test_rare_pairs_are_left_out_of_the_graph() -> None:
    graph = label_graph(_labels(ENTRIES), GraphSettings(min_count=2))
    assert list(zip(graph.i_G.tolist(), graph.j_G.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_tau_is_the_value_whose_edges_come_nearest_to_the_wanted_density() -> None:
    graph = label_graph(_labels(_random_entries("tau")), GraphSettings(min_count=1))
    p_G = graph.p_G.astype(np.float64)
    for wanted in (0.3, 1.0, 2.5, 5.0, 50.0):
        settings = GraphSettings(mean_neighbours=wanted)
        found = neighbours(graph, 12, settings)
        gaps = {float(p): abs(int((p_G >= p).sum()) - wanted * 12) for p in np.unique(p_G)}
        assert abs(int(found.is_kept_G.sum()) - wanted * 12) == min(gaps.values())
        facts = graph_facts(graph, 12, settings)
        assert (facts["tau"], facts["num_edges_kept"]) == (found.tau, int(found.is_kept_G.sum()))


def test_edges_of_equal_p_stay_together_and_no_edges_give_tau_one() -> None:
    p_G = np.array([1.0, 0.5, 0.5, 0.5, 0.25])
    assert choose_tau(p_G, 2) == 1.0  # 1 edge and 4 edges: 1 is nearer
    assert choose_tau(p_G, 3) == 0.5
    assert choose_tau(p_G, 9) == 0.25
    assert choose_tau(p_G[:0], 9) == 1.0


def test_a_tau_of_the_settings_keeps_exactly_the_p_that_reach_it() -> None:
    # 0.333333 as float32 lies below the decimal that was written
    graph = LabelGraph(np.array([0, 1]), np.array([1, 0]), np.array([1, 1]), np.array([0.333333, 0.2], dtype=np.float32))
    assert neighbours(graph, 2, GraphSettings(tau=0.333333)).is_kept_G.tolist() == [True, False]
    assert neighbours(graph, 2, GraphSettings(tau=0.2)).is_kept_G.tolist() == [True, True]


@pytest.mark.parametrize("symmetry", ["max", "mean"])
def test_symmetric_modes_compare_one_value_of_both_directions(symmetry: str) -> None:
    graph = label_graph(_labels(_random_entries("symmetry")), GraphSettings(min_count=1))
    p_of = {(i, j): float(p) for i, j, p in zip(graph.i_G.tolist(), graph.j_G.tolist(), graph.p_G.astype(np.float64), strict=True)}
    settings = GraphSettings.model_validate({"symmetry": symmetry, "tau": 0.3})
    kept = neighbours(graph, 12, settings).is_kept_G
    both = {pair: (p, p_of[pair[::-1]]) for pair, p in p_of.items()}
    wanted = {pair for pair, (p, back) in both.items() if (max(p, back) if symmetry == "max" else (p + back) / 2) >= 0.3}
    found = set(zip(graph.i_G[kept].tolist(), graph.j_G[kept].tolist(), strict=True))
    assert found == wanted == {(j, i) for i, j in found}
    assert 0 < len(wanted) < len(p_of)
    directed = neighbours(graph, 12, GraphSettings(tau=0.3)).is_kept_G
    assert set(zip(graph.i_G[directed].tolist(), graph.j_G[directed].tolist(), strict=True)) == {
        pair for pair, p in p_of.items() if p >= 0.3
    }


def _paper_by_loops(links_LL: NDArray[np.bool_], p: float) -> NDArray[np.float64]:
    """Chen et al., 2019, equations 4, 5 and 6, entry by entry."""
    num = len(links_LL)
    again = np.zeros((num, num))
    for i, j in product(range(num), repeat=2):
        total = sum(int(links_LL[i, k]) for k in range(num) if k != i)
        again[i, j] = 1 - p if i == j else (p * int(links_LL[i, j]) / total if total else 0.0)
    degree = [sum(again[i, k] for k in range(num)) for i in range(num)]
    result = np.zeros((num, num))
    for i, j in product(range(num), repeat=2):
        result[i, j] = again[i, j] / (degree[i] ** 0.5 * degree[j] ** 0.5)
    return result


def _official_by_loops(links_LL: NDArray[np.bool_]) -> NDArray[np.float64]:
    """gen_A: 0.25 / (sum over axis 0 + 1e-6), plus the identity; gen_adj: (A D)^T D with D from the row sums."""
    num = len(links_LL)
    a = np.zeros((num, num))
    for i, j in product(range(num), repeat=2):
        column = sum(int(links_LL[k, j]) for k in range(num))
        a[i, j] = int(links_LL[i, j]) * 0.25 / (column + 1e-6) + (i == j)
    d = [sum(a[i, k] for k in range(num)) ** -0.5 for i in range(num)]
    result = np.zeros((num, num))
    for i, j in product(range(num), repeat=2):
        result[i, j] = a[j, i] * d[i] * d[j]
    return result


@pytest.mark.parametrize(("num_labels", "share"), [(9, 0.3), (15, 0.06), (4, 0.0)])
def test_both_variants_are_the_published_ones(num_labels: int, share: float) -> None:
    links_LL = _links(num_labels, share)
    assert np.allclose(paper_adjacency(links_LL, 0.2), _paper_by_loops(links_LL, 0.2), atol=1e-6)
    assert np.allclose(official_adjacency(links_LL, 0.2), _official_by_loops(links_LL), atol=1e-6)


@pytest.mark.parametrize(("num_labels", "share"), [(9, 0.3), (15, 0.06)])
def test_the_variants_are_equal_up_to_a_scale_per_row_and_column_when_one_is_transposed(num_labels: int, share: float) -> None:
    links_LL = _links(num_labels, share)
    # Before D: the official code spreads over columns, so it is the paper on transposed links, by the one factor 1 / (1 - p).
    assert np.allclose(official_weights(links_LL, 0.2).T * 0.8, paper_weights(links_LL.T, 0.2))
    assert not np.allclose(official_weights(links_LL, 0.2) * 0.8, paper_weights(links_LL, 0.2))
    official, paper = official_adjacency(links_LL, 0.2), paper_adjacency(links_LL.T, 0.2)
    assert ((official > 0) == (paper > 0)).all()
    # After D: each label has one factor, read off the diagonal, and it explains every entry.
    scale_L = np.sqrt(np.diag(official) / np.diag(paper))
    assert np.allclose(official, scale_L[:, None] * paper * scale_L[None, :], atol=1e-6)


def test_labels_without_neighbours_keep_themselves_and_nothing_is_nan() -> None:
    graph = label_graph(_labels(ENTRIES), GraphSettings(min_count=2))
    for variant in ("paper", "official"):
        matrix = adjacency(graph, 5, GraphSettings.model_validate({"variant": variant}))
        assert (matrix.dtype, matrix.shape) == (np.float32, (5, 5))
        assert np.isfinite(matrix).all()
        assert matrix[2:, 2:].tolist() == np.eye(3).tolist()
        assert (matrix[:2, :2] > 0).all()
    assert adjacency(graph.numbered(np.arange(3)), 0 + 3, GraphSettings()).sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_adjacency_follows_the_direction_of_p() -> None:
    # label 1 is always with label 0, label 0 mostly without it
    graph = label_graph(_labels([(work, 0) for work in range(10)] + [(work, 1) for work in range(2)]), GraphSettings())
    assert len(graph.i_G) == 0  # entries must lie by work
    entries = sorted([(work, 0) for work in range(10)] + [(work, 1) for work in range(2)])
    graph = label_graph(_labels(entries), GraphSettings())
    paper = adjacency(graph, 2, GraphSettings(tau=0.5))
    assert paper[1, 0] > 0 == paper[0, 1]
    official = adjacency(graph, 2, GraphSettings(tau=0.5, variant="official"))
    assert official[0, 1] > 0 == official[1, 0]


@pytest.mark.parametrize("symmetry", ["directed", "max"])
@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("tau", [0.05, 0.4, 1.0])
def test_the_sparse_adjacency_has_the_dense_ones_numbers_and_no_zeros(symmetry: str, variant: str, tau: float) -> None:
    graph = label_graph(_labels(_random_entries("sparse")), GraphSettings(min_count=1))
    settings = GraphSettings.model_validate({"symmetry": symmetry, "variant": variant, "tau": tau, "neighbour_share": 0.3})
    num = 12 + 2  # the last two labels have no edge at all
    dense_LL, sparse = adjacency(graph, num, settings), sparse_adjacency(graph, num, settings)
    assert (sparse.start_L1.dtype, sparse.column_A.dtype, sparse.value_A.dtype) == (np.int64, np.int64, np.float32)
    found_LL = np.zeros((num, num), dtype=np.float32)
    columns = []
    for row in range(num):
        inside = slice(int(sparse.start_L1[row]), int(sparse.start_L1[row + 1]))
        found_LL[row, sparse.column_A[inside]] = sparse.value_A[inside]
        columns.append(sparse.column_A[inside].tolist())
    assert np.allclose(found_LL, dense_LL, rtol=1e-6, atol=0)
    assert columns == [np.flatnonzero(dense_row).tolist() for dense_row in dense_LL]
    assert len(sparse.value_A) == int((dense_LL > 0).sum()) == int(sparse.start_L1[-1])
    assert (len(sparse.value_A) > num) == (tau < 1)


def test_the_sparse_adjacency_of_many_labels_needs_memory_by_edge_and_not_by_pair() -> None:
    num = 50_000
    first = np.arange(num - 1, dtype=np.int64)  # a chain: label l lies with l + 1
    p_G = np.full(2 * (num - 1), 0.5, dtype=np.float32)
    chain = LabelGraph(np.concatenate([first, first + 1]), np.concatenate([first + 1, first]), np.full(len(p_G), 2, dtype=np.int64), p_G)
    graph = chain.numbered(np.arange(num, dtype=np.int64))
    tracemalloc.start()
    try:
        sparse = sparse_adjacency(graph, num, GraphSettings(tau=0.5))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(sparse.value_A) == 3 * num - 2
    assert peak_bytes < num * num / 50  # L x L booleans alone would be 50 times that
    assert sparse.value_A[sparse.start_L1[7] : sparse.start_L1[8]].tolist() == pytest.approx([0.1, 0.8, 0.1])


def test_a_model_reads_the_edges_among_its_own_labels(tmp_path: Path) -> None:
    graph = label_graph(_labels(_random_entries("read")), GraphSettings(min_count=1))
    named = graph.numbered(np.arange(12)[::-1] * 10)
    columns = {"i": named.i_G, "j": named.j_G, "count": named.count_G, "p_ij": named.p_G}
    pq.write_table(pa.table(columns), tmp_path / "graph.parquet")
    ids = [110, 30, 0]  # labels 0, 8 and 11
    found = read_graph(tmp_path, ids)
    rows = zip(graph.i_G.tolist(), graph.j_G.tolist(), graph.count_G.tolist(), graph.p_G.tolist(), strict=True)
    place = {0: 0, 8: 1, 11: 2}
    wanted = sorted((place[i], place[j], count, p) for i, j, count, p in rows if i in place and j in place)
    assert list(zip(found.i_G.tolist(), found.j_G.tolist(), found.count_G.tolist(), found.p_G.tolist(), strict=True)) == wanted
    assert wanted
