"""Labels, weights and graph, against plain counting."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reelspace.signals.label_files import write_labels
from reelspace.signals.label_graph import label_graph
from reelspace.signals.label_weights import label_weights
from reelspace.signals.settings import GraphSettings, SearchSettings, SignalsSettings, VocabularySettings, WeightSettings
from reelspace.signals.vocabulary import Labels

WriteTables = Callable[..., Path]
DAY = datetime(2025, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
ENTRIES = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (3, 2)]  # (work, label)


def _labels(entries: list[tuple[int, int]], last_days: list[float]) -> Labels:
    label_E = np.array([label for _, label in entries], dtype=np.int64)
    num = int(label_E.max(initial=-1)) + 1
    zeros = np.zeros(num, dtype=np.int64)
    return Labels(
        texts=tuple(f"label{label}" for label in range(num)),
        num_tag_works_L=zeros,
        num_query_works_L=zeros,
        first_us_L=zeros,
        work_E=np.array([work for work, _ in entries], dtype=np.int64),
        label_E=label_E,
        weight_E=np.ones(len(entries), dtype=np.float32),
        last_us_E=np.array([round(day * DAY_US) for day in last_days], dtype=np.int64),
        evidence_E=("{}",) * len(entries),
    )


def test_the_graph_counts_shared_works_in_both_directions() -> None:
    graph = label_graph(_labels(ENTRIES, [0.0] * 7), GraphSettings(min_count=1))
    works = {label: {work for work, other in ENTRIES if other == label} for label in range(3)}
    wanted = {}
    for first, second in combinations(range(3), 2):
        count = len(works[first] & works[second])
        wanted[first, second] = (count, count / len(works[first]))
        wanted[second, first] = (count, count / len(works[second]))
    got = {
        (int(i), int(j)): (int(count), pytest.approx(float(p), abs=1e-6))
        for i, j, count, p in zip(graph.i_G, graph.j_G, graph.count_G, graph.p_G, strict=True)
    }
    assert {pair: (count, got[pair][1] == p) for pair, (count, p) in wanted.items()} == {pair: (got[pair][0], True) for pair in got}
    assert list(got) == sorted(got)


def test_rare_pairs_are_left_out_of_the_graph() -> None:
    graph = label_graph(_labels(ENTRIES, [0.0] * 7), GraphSettings(min_count=2))
    assert list(zip(graph.i_G.tolist(), graph.j_G.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_weights_are_idf_times_freshness_with_mean_one() -> None:
    last_days = [60.0, 60.0, 30.0, 30.0, 60.0, 0.0, 60.0]
    weights = label_weights(_labels(ENTRIES, last_days), 60 * DAY_US, WeightSettings(half_life_days=30.0))
    fresh = [(1 + 0.5 + 0.25) / 3, (1 + 1) / 2, (0.5 + 1) / 2]
    idf = [np.log(4 / 3), np.log(4 / 2), np.log(4 / 2)]
    product = np.array(fresh) * np.array(idf)
    assert np.allclose(weights.freshness_L, fresh, atol=1e-5)
    assert np.allclose(weights.idf_L, idf, atol=1e-5)
    assert np.allclose(weights.weight_L, product / product.mean(), atol=1e-4)


def test_weights_are_cut_and_survive_a_single_label() -> None:
    rare = _labels([(work, 0) for work in range(100)] + [(0, label) for label in range(1, 3)], [0.0] * 102)
    assert label_weights(rare, 0, WeightSettings(max_weight=1.2)).weight_L.max() == pytest.approx(1.2)
    single = _labels([(0, 0)], [0.0])
    assert label_weights(single, 0, WeightSettings()).weight_L.tolist() == [1.0]
    assert label_weights(
        replace(single, texts=(), label_E=single.label_E[:0], work_E=single.work_E[:0], last_us_E=single.last_us_E[:0]), 0, WeightSettings()
    ).weight_L.shape == (0,)


def _crowd(write_tables: WriteTables) -> Path:
    videos = [{"video_id": number, "caption": "my day #Camera #fyp", "creator_id": number} for number in range(4)]
    videos += [{"video_id": 4, "caption": "", "created_at": DAY + timedelta(days=3)}]
    searches = [{"search_id": number, "user_id": number, "query": "best CAMERA?"} for number in range(6)]
    clicks = [{"search_id": number, "video_id": number % 3, "clicked_at": DAY + timedelta(hours=number)} for number in range(6)]
    return write_tables(videos=videos, searches=searches, clicks=clicks)


def _settings() -> SignalsSettings:
    return SignalsSettings(searches=SearchSettings(min_users=2), vocabulary=VocabularySettings(max_work_share=1.0))


def test_tags_and_query_words_become_one_label_with_its_evidence(write_tables: WriteTables, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    write_labels(_crowd(write_tables), out, _settings())
    vocabulary = pq.read_table(out / "vocabulary.parquet").to_pylist()
    camera = next(row for row in vocabulary if row["text"] == "camera")
    assert (camera["df_tags"], camera["df_queries"], camera["status"]) == (4, 3, "active")
    assert camera["first_seen"] == datetime(2025, 1, 1, tzinfo=UTC)
    assert "fyp" not in {row["text"] for row in vocabulary}
    entries = pq.read_table(out / "video_labels.parquet").to_pylist()
    entry = next(row for row in entries if row["video_id"] == 0 and row["label_id"] == camera["label_id"])
    evidence = json.loads(entry["evidence"])
    assert evidence["queries"] == {"best camera": 2}
    score = evidence["tags"]["Camera"]
    assert entry["weight"] == pytest.approx(1 - (1 - score) * 0.5, abs=1e-3)
    texts = {row["video_id"]: row for row in pq.read_table(out / "texts.parquet").to_pylist()}
    assert texts[0] == {"video_id": 0, "caption": "my day", "comments": [], "queries": ["best camera"]}
    assert texts[4]["queries"] == []
    uses = pq.read_table(out / "tag_uses.parquet").to_pylist()
    begging = [row for row in uses if row["tag"] == "fyp"]
    assert [(row["kept"], row["reason"], row["label_id"]) for row in begging] == [(False, "blocklist", None)] * 4
    assert {row["label_id"] for row in uses if row["tag"] == "Camera"} == {camera["label_id"]}


def test_a_platform_without_a_crowd_has_empty_labels(write_tables: WriteTables, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    write_labels(write_tables(videos=[{"video_id": 1, "caption": "hello"}]), out, SignalsSettings())
    rows = {path.stem: pq.read_metadata(path).num_rows for path in out.glob("*.parquet")}
    assert rows == {"vocabulary": 0, "video_labels": 0, "graph": 0, "weights": 0, "texts": 1, "tag_uses": 0}
    assert "<h1>Crowd signals</h1>" in (out / "report.html").read_text()
