"""The report and its page: what is optional may be absent, pictures repeat, and nothing a person wrote becomes markup."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from reelspace.signals.audit import Audit
from reelspace.signals.crowd import Crowd, read_crowd
from reelspace.signals.graph_picture import layout, picture_of
from reelspace.signals.label_graph import LabelGraph, label_graph
from reelspace.signals.label_weights import label_weights
from reelspace.signals.page import render_page
from reelspace.signals.report import Report, report_of
from reelspace.signals.settings import SignalsSettings

from .conftest import WriteTables

SETTINGS = SignalsSettings.model_validate({"searches": {"min_users": 1}, "graph": {"min_count": 1}})


@pytest.fixture
def crowd(write_tables: WriteTables) -> Crowd:
    topics = ("camera #camera #tripod", "guitar #guitar #music", "pasta #pasta #cooking")
    tables = write_tables(
        videos=[
            {"video_id": number, "caption": f"<b>my {topics[number % 3]}", "creator_id": number % 5, "categories": [f"c{number % 3}"]}
            for number in range(30)
        ],
        searches=[{"search_id": search, "user_id": search, "query": "pasta & <i>sauce</i>"} for search in range(4)],
        clicks=[{"search_id": search, "video_id": 2} for search in range(4)],
    )
    return read_crowd(tables, SETTINGS)


def _report(crowd: Crowd, audit: Audit | None = None, languages: dict[str, int] | None = None, has_graph: bool = True) -> Report:
    weights = label_weights(crowd.labels, crowd.as_of_us, SETTINGS.weights)
    graph = label_graph(crowd.labels, SETTINGS.graph) if has_graph else None
    return report_of(crowd, weights, SETTINGS, graph=graph, audit=audit, comment_languages=languages)


def test_a_full_report_has_its_sections_and_is_json(crowd: Crowd) -> None:
    audit = Audit()
    audit.text("texts", "caption", "call 13800001111")
    report = _report(crowd, audit, {"zh": 3, "en": 9})
    json.dumps(report)
    assert set(report["coverage"]) == {"all uses", "kept uses"}
    assert {"table": "texts", "column": "caption", "kind": "number", "num_texts": 1, "num_masked": 1} in report["privacy"]
    assert report["searches"]["num_pairs"] == 1
    page = render_page(report)
    for title in ("Coverage", "Search pairs", "Labels that occur together", "Languages of comments", "Privacy: what was masked"):
        assert f"<h2>{title}" in page, title
    assert page.count("<circle") == len(report["graph"]["labels"]) if report["graph"] else 0
    assert "http" not in page
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page


def test_what_is_absent_leaves_the_page_whole(crowd: Crowd) -> None:
    report = _report(crowd, has_graph=False)
    page = render_page(report)
    assert report["graph"] is None
    assert "<svg" not in page
    assert "Languages of comments" not in page
    assert "Nothing had to be masked." in page


def test_a_crowd_without_tags_has_a_page(write_tables: WriteTables) -> None:
    crowd = read_crowd(write_tables(videos=[{"video_id": 1, "caption": "hello"}]), SETTINGS)
    report = _report(crowd)
    assert report["coverage"]["all uses"]["num_tagged"] == 0
    assert "Coverage" in render_page(report)


def test_texts_of_the_report_are_masked_and_counted(crowd: Crowd) -> None:
    audit = Audit()
    report = _report(crowd, audit, {"ask @someone": 3})
    assert report["comment_languages"] == {"ask @***": 3}
    assert {(row.column, row.kind, row.num_masked) for row in audit.rows() if row.num_masked} == {("comment_languages", "handle", 1)}


def test_a_picture_has_the_strongest_edges_and_repeats() -> None:
    # labels 0 and 1 always together, 2 rarely with 0
    graph = LabelGraph(
        i_G=np.array([0, 0, 1, 2]),
        j_G=np.array([1, 2, 0, 0]),
        count_G=np.array([8, 1, 8, 1]),
        p_G=np.array([1, 0.125, 1, 0.1], dtype=np.float32),
    )
    picture = picture_of(graph, ["a", "b", "c"], np.array([8, 8, 10]))
    assert [(first, second) for first, second, _ in picture["edges"]] == [(0, 1), (0, 2)]
    assert picture["edges"][0][2] == 1.0
    assert picture["edges"][1][2] == pytest.approx(1 / 80**0.5, abs=1e-4)
    assert picture == picture_of(graph, ["a", "b", "c"], np.array([8, 8, 10]))


def test_labels_that_hang_together_lie_together() -> None:
    groups = np.arange(20) // 5
    first, second = np.array([(i, j) for i in range(20) for j in range(i + 1, 20) if groups[i] == groups[j]]).T
    mixed = (np.arange(20) * 7) % 20  # neighbours on the circle of the start are not of one group
    places = layout(20, mixed[first], mixed[second], np.ones(len(first)))
    assert (places >= 0).all()
    assert (places <= 1).all()
    group_of = np.empty(20, dtype=np.int64)
    group_of[mixed] = groups
    distance = np.sqrt(((places[:, None] - places[None, :]) ** 2).sum(axis=-1))
    same = group_of[:, None] == group_of[None, :]
    assert distance[same & ~np.eye(20, dtype=bool)].mean() < 0.5 * distance[~same].mean()


def test_the_picture_of_the_page_is_well_formed(crowd: Crowd) -> None:
    page = render_page(_report(crowd))
    found = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    assert found is not None
    quoted = re.sub(r"=([^\s'\">/]+)", r"='\1'", found[0])
    ElementTree.fromstring(quoted)
