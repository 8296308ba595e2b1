import json
import math

import numpy as np
import pytest

from reelspace.core.errors import UserError
from reelspace.evaluate.beir import beir_figures, read_beir

DOCUMENTS = {"d1": "cat cat", "d2": "cat dog", "d3": "dog", "d4": "bird", "q3": "fish"}
QUERIES = {"q1": "cat", "q2": "bird", "q3": "fish", "unjudged": "dog"}
QRELS = [("q1", "d1", 1), ("q1", "d2", 2), ("q1", "d4", 1), ("q2", "d3", 1), ("q3", "d4", 1), ("q3", "q3", 1), ("q2", "d4", 0)]
WORDS = ("cat", "dog", "bird", "fish")


class CountingEncoder:
    """Counts of four words, as unit vectors."""

    def encode(self, inputs):
        counts = np.array([[text.split().count(word) for word in WORDS] for text in inputs], dtype=np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    title_of = {"d1": "cat"}
    rows = [{"_id": name, "title": title_of.get(name, ""), "text": text} for name, text in DOCUMENTS.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in QUERIES.items()))
    write_qrels(tmp_path, QRELS)
    return tmp_path


def write_qrels(folder, rows):
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")


def test_a_benchmark_is_read_with_titles_and_only_judged_queries(folder):
    benchmark = read_beir(folder)
    assert benchmark.documents["d1"] == "cat cat cat"
    assert benchmark.documents["d2"] == "cat dog"
    assert list(benchmark.queries) == ["q1", "q2", "q3"]
    assert benchmark.judged["q2"] == {"d3": 1}


def test_figures_equal_those_worked_out_by_hand(folder):
    figures = beir_figures(CountingEncoder(), read_beir(folder))
    # q1 finds d1, d2, d3, d4, q3: grades 1, 2, 0, 1, 0 where 2, 1, 1 would be best.
    # q2 finds d4, then d1, d2, d3 by place: its only relevant one is fourth.
    # q3 is a document too and left out: all others score 0, so d4 is fourth.
    q1 = (1 + 2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3) + 1 / math.log2(4))
    fourth = 1 / math.log2(5)
    assert figures["ndcg_at_10"] == pytest.approx((q1 + 2 * fourth) / 3)
    assert figures["map_at_100"] == pytest.approx(((1 + 1 + 3 / 4) / 3 + 1 / 4 + 1 / 4) / 3)
    assert figures["recall_at_10"] == figures["recall_at_100"] == 1.0
    assert (figures["num_queries"], figures["num_documents"]) == (3, 5)
    low, high = figures["ndcg_at_10_interval"]
    assert low <= figures["ndcg_at_10"] <= high


def test_a_judged_document_that_is_not_in_the_corpus_is_never_found(folder):
    write_qrels(folder, [("q1", "d1", 1), ("q1", "gone", 1)])
    figures = beir_figures(CountingEncoder(), read_beir(folder))
    assert figures["recall_at_10"] == 0.5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "corpus.jsonl").unlink(), "there is no .*corpus.jsonl"),
        (lambda folder: (folder / "queries.jsonl").write_text('{"_id": "q1"}\n'), r"_id and text in line 1 of .*queries\.jsonl"),
        (lambda folder: (folder / "corpus.jsonl").write_text("{\n"), "expected JSON in line 1"),
        (lambda folder: write_qrels(folder, [("q9", "d1", 1)]), "'q9' is no query"),
        (lambda folder: write_qrels(folder, [("q1", "d1", 0)]), "nothing is judged relevant"),
        (lambda folder: write_qrels(folder, [("q1", "d1", "much")]), r"whole-number score in line 2"),
    ],
)
def test_a_broken_benchmark_is_refused_with_the_place(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=message):
        read_beir(folder)
