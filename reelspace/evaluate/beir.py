"""Public text benchmarks in BEIR layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv in one folder.

Legend: Q queries, N documents, D dimension, K hits.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.core.errors import UserError
from reelspace.evaluate.figures import Figures, with_intervals
from reelspace.evaluate.ranking import average_precision_Q, exact_rows_QK, ndcg_at_Q, recall_at_Q

NDCG_AT: Final = 10
RECALLS_AT: Final = (10, 100)


class Encoder(Protocol):
    """What is measured: texts to unit vectors, in batches as mteb gives them."""

    def encode(self, inputs: Sequence[str]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Documents (title and text in one), queries that have judgements, and query id -> document id -> grade above 0."""

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judged: Mapping[str, Mapping[str, int]]


def read_beir(folder: Path, split: str = "test") -> Benchmark:
    """Read a benchmark; a judged document that the corpus lacks can never be found, and counts as not found.

    Raises:
        UserError: a file is missing, a line has another form, or nothing is judged relevant.
    """
    documents = {str(row["_id"]): f"{row.get('title') or ''} {row['text']}".strip() for row in _lines(folder / "corpus.jsonl")}
    queries = {str(row["_id"]): str(row["text"]) for row in _lines(folder / "queries.jsonl")}
    judged = _judgements(folder / "qrels" / f"{split}.tsv")
    unknown = [query for query in judged if query not in queries]
    if unknown or not judged or not documents:
        why = f"{unknown[0]!r} is no query" if unknown else "nothing is judged relevant" if not judged else "the corpus is empty"
        raise UserError(f"expected a benchmark in BEIR layout in {folder}: {why}")
    return Benchmark(documents, {query: queries[query] for query in judged}, judged)


def beir_figures(encoder: Encoder, benchmark: Benchmark, seed: int = 0) -> Figures:
    """Rank all documents for every query.

    Returns:
        ndcg_at_10 (graded), recall_at_10, recall_at_100, map_at_100 with their 95 % bootstrap intervals, num_queries, num_documents.

    Source: Thakur et al. (2021), BEIR; a document whose id is the query's own is left out of its answer.
    """
    names, queries = list(benchmark.documents), list(benchmark.queries)
    row_of = {name: row for row, name in enumerate(names)}
    queries_QD = encoder.encode(list(benchmark.queries.values()))
    documents_ND = encoder.encode(list(benchmark.documents.values()))
    own_Q = np.array([row_of.get(query, -1) for query in queries], dtype=np.int64)
    depth = min(max(RECALLS_AT), len(names) - int((own_Q >= 0).any()))
    rows_QK = exact_rows_QK(queries_QD, documents_ND, depth, own_Q)
    grades = [{document: grade for document, grade in benchmark.judged[query].items() if document != query} for query in queries]
    gain_QK = np.array([[of.get(names[row], 0) for row in rows] for of, rows in zip(grades, rows_QK, strict=True)], dtype=np.float64)
    num_relevant_Q = np.array([len(of) for of in grades], dtype=np.int64)
    values = {
        f"ndcg_at_{NDCG_AT}": ndcg_at_Q(gain_QK, _ideal_QK(grades), NDCG_AT),
        **{f"recall_at_{k}": recall_at_Q(gain_QK > 0, num_relevant_Q, k) for k in RECALLS_AT},
        f"map_at_{max(RECALLS_AT)}": average_precision_Q(gain_QK > 0, num_relevant_Q),
    }
    return with_intervals(values, seed, "beir") | {"num_queries": len(queries), "num_documents": len(names)}


def _ideal_QK(grades: Sequence[Mapping[str, int]]) -> NDArray[np.float64]:
    ideal_QK = np.zeros((len(grades), NDCG_AT))
    for row, of in enumerate(grades):
        best = sorted(of.values(), reverse=True)[:NDCG_AT]
        ideal_QK[row, : len(best)] = best
    return ideal_QK


def _lines(path: Path) -> Iterator[dict[str, object]]:
    if not path.is_file():
        raise UserError(f"expected a benchmark in BEIR layout, there is no {path}")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UserError(f"expected JSON in line {number} of {path}: {error}") from error
            if not isinstance(row, dict) or not {"_id", "text"} <= row.keys():
                raise UserError(f"expected an object with _id and text in line {number} of {path}")
            yield row


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    if not path.is_file():
        raise UserError(f"expected a benchmark in BEIR layout, there is no {path}")
    judged: dict[str, dict[str, int]] = {}
    with path.open(newline="", encoding="utf-8") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            if number == 1 and row[:2] == ["query-id", "corpus-id"]:
                continue
            if len(row) != 3 or not row[2].lstrip("-").isdigit():
                raise UserError(f"expected query-id, corpus-id and a whole-number score in line {number} of {path}, got {row}")
            if int(row[2]) > 0:
                judged.setdefault(row[0], {})[row[1]] = int(row[2])
    return judged
