"""Labels and their files, from small tables written by hand."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reelspace.signals.label_files import Earlier, write_labels
from reelspace.signals.settings import SearchSettings, SignalsSettings, VocabularySettings

WriteTables = Callable[..., Path]
DAY = datetime(2025, 1, 1, tzinfo=UTC)


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
    per_label = dict.fromkeys(("vocabulary", "video_labels", "graph", "weights", "propensities", "tag_uses"), 0)
    assert {name: rows[name] for name in (*per_label, "texts", "missing")} == {**per_label, "texts": 1, "missing": 1}
    assert json.loads((out / "graph.json").read_bytes())["num_edges_kept"] == 0
    assert "<h1>Crowd signals</h1>" in (out / "report.html").read_text()


def test_a_later_version_keeps_ids_in_every_file(write_tables: WriteTables, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    videos = [{"video_id": number, "caption": "#camera #tripod", "creator_id": number} for number in range(4)]
    videos += [{"video_id": number, "caption": "#guitar", "creator_id": number} for number in range(4, 10)]
    write_labels(write_tables(videos=videos), first, _settings())
    later = [{"video_id": number, "caption": "#violin #camera", "creator_id": number} for number in range(20, 29)]
    write_labels(write_tables(videos=videos[:4] + later), second, _settings(), Earlier(labels=first))
    old, new = (pq.read_table(directory / "vocabulary.parquet").to_pylist() for directory in (first, second))
    assert [(row["label_id"], row["text"], row["df_tags"]) for row in old] == [(0, "guitar", 6), (1, "camera", 4), (2, "tripod", 4)]
    assert [(row["text"], row["status"], row["df_tags"], row["version_added"], row["version_changed"]) for row in new] == [
        ("guitar", "retired", 0, 1, 2),
        ("camera", "active", 13, 1, 1),
        ("tripod", "active", 4, 1, 1),
        ("violin", "active", 9, 2, 2),
    ]
    changes = json.loads((second / "changes.json").read_bytes())
    assert changes == {"version": 2, "appended": [3], "merged": [], "retired": [0], "revived": []}
    entries = pq.read_table(second / "video_labels.parquet").to_pylist()
    wanted = [(number, label) for number in range(4) for label in (1, 2)] + [
        (number, label) for number in range(20, 29) for label in (1, 3)
    ]
    assert [(row["video_id"], row["label_id"]) for row in entries] == wanted
    graph = pq.read_table(second / "graph.parquet").to_pylist()
    assert [(row["i"], row["j"], row["count"]) for row in graph] == [(1, 2, 4), (1, 3, 9), (2, 1, 4), (3, 1, 9)]
    for name in ("weights", "propensities"):
        assert pq.read_table(second / f"{name}.parquet")["label_id"].to_pylist() == [1, 2, 3], name
    uses = pq.read_table(second / "tag_uses.parquet").to_pylist()
    assert {(row["normal"], row["label_id"]) for row in uses} == {("camera", 1), ("tripod", 2), ("violin", 3)}


def test_works_that_nobody_labelled_are_marked_as_missing_everything(write_tables: WriteTables, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    write_labels(_crowd(write_tables), out, _settings())
    rows = {row["video_id"]: row for row in pq.read_table(out / "missing.parquet").to_pylist()}
    assert [(rows[work]["has_tags"], rows[work]["has_queries"], rows[work]["all_missing"]) for work in (0, 3, 4)] == [
        (True, True, False),
        (True, False, False),
        (False, False, True),
    ]
    camera = next(row for row in pq.read_table(out / "vocabulary.parquet").to_pylist() if row["text"] == "camera")
    propensities = {row["label_id"]: row for row in pq.read_table(out / "propensities.parquet").to_pylist()}
    row = propensities[camera["label_id"]]
    assert (row["num_both"], row["num_tags"], row["num_queries"], row["method"]) == (3, 4, 3, "frequency")
