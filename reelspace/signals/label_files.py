"""The files of a `labels` artifact.

Inside one run a label is a row, 0 to L - 1; in the files it is the id that `vocabulary_history` gives it, the same in every version.
Legend: V works, L labels, E work-label entries, G edges, U uses of hashtags.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from reelspace.signals.audit import Audit
from reelspace.signals.crowd import Crowd, read_crowd
from reelspace.signals.label_graph import LabelGraph, graph_facts, label_graph
from reelspace.signals.label_propensities import label_masks, label_propensities
from reelspace.signals.label_weights import LabelWeights, label_weights
from reelspace.signals.page import render_page
from reelspace.signals.report import report_of
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.spellings import canonical_tags
from reelspace.signals.vocabulary_history import CHANGES_FILE, VOCABULARY_FILE, Vocabulary, next_version, read_vocabulary

_TIME = pa.timestamp("us", tz="UTC")
_TEXT = pa.large_string()
_TEXTS = pa.list_(pa.large_string())


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier runs left.

    Args:
        labels: directory with the vocabulary files of the labels whose ids are kept; None starts at id 0.
        vectors: directory with the vectors that a model gave the works; None if there is no model yet.
    """

    labels: Path | None = None
    vectors: Path | None = None


NOTHING_EARLIER: Final = Earlier()


def write_labels(tables: Path, out: Path, settings: SignalsSettings, earlier: Earlier = NOTHING_EARLIER) -> Mapping[str, object]:
    """Make labels of the tables in one directory and write all files into another; gives the figures for run.json.

    Args:
        earlier: what earlier runs left for this one.

    Raises:
        TableError: no work was uploaded before `as_of`, or the earlier vocabulary is not whole.
    """
    before = read_vocabulary(earlier.labels) if earlier.labels else None
    audit = Audit()
    crowd = read_crowd(tables, settings, earlier.vectors)
    labels = crowd.labels
    vocabulary, changes = next_version(before, labels.texts, labels.first_us_L, canonical_tags(crowd.merges))
    id_L = vocabulary.ids_L(labels.texts)
    weights = label_weights(labels, crowd.as_of_us, settings.weights)
    _write_vocabulary(audit, out, crowd, vocabulary)
    (out / CHANGES_FILE).write_bytes(changes.json())
    _write_video_labels(audit, out, crowd, id_L)
    graph = label_graph(labels, settings.graph)
    _write_graph(audit, out, graph, id_L, settings)
    _write_weights(audit, out, weights, id_L)
    _write_propensities(audit, out, crowd, id_L, settings)
    _write_missing(audit, out, crowd)
    _write_texts(audit, out, crowd)
    _write_tag_uses(audit, out, crowd, id_L)
    _write_pairs(audit, out, crowd)
    _write_weak_labels(audit, out, crowd)
    report = report_of(crowd, weights, settings, graph=graph, audit=audit, comment_languages=crowd.comment_languages)
    (out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    audit.write_counts(out / "audit.json")
    (out / "report.html").write_text(render_page(report), encoding="utf-8")
    return {name: report[name] for name in ("hashtags", "labels", "funnels")}


def _write_vocabulary(audit: Audit, out: Path, crowd: Crowd, vocabulary: Vocabulary) -> None:
    """Every label ever known; one that this version lacks has no works in it."""
    labels, known = crowd.labels, vocabulary.known
    row_of = labels.number()
    rows = [row_of.get(label.text) for label in known]
    audit.write_columns(
        out / VOCABULARY_FILE,
        {
            "label_id": np.arange(len(known), dtype=np.int64),
            "text": [label.text for label in known],
            "df_tags": [0 if row is None else int(labels.num_tag_works_L[row]) for row in rows],
            "df_queries": [0 if row is None else int(labels.num_query_works_L[row]) for row in rows],
            "first_seen": [label.first_us for label in known],
            "status": [label.status for label in known],
            "merged_into": [label.merged_into for label in known],
            "version_added": [label.version_added for label in known],
            "version_changed": [label.version_changed for label in known],
        },
        {
            "label_id": pa.int64(),
            "text": _TEXT,
            "df_tags": pa.int64(),
            "df_queries": pa.int64(),
            "first_seen": _TIME,
            "status": _TEXT,
            "merged_into": pa.int64(),
            "version_added": pa.int32(),
            "version_changed": pa.int32(),
        },
    )


def _write_video_labels(audit: Audit, out: Path, crowd: Crowd, id_L: NDArray[np.int64]) -> None:
    labels = crowd.labels
    id_E = id_L[labels.label_E]
    order = np.lexsort((id_E, labels.work_E))
    audit.write_columns(
        out / "video_labels.parquet",
        {
            "video_id": crowd.works.ids_V[labels.work_E[order]],
            "label_id": id_E[order],
            "weight": labels.weight_E[order],
            "evidence": [labels.evidence_E[entry] for entry in order.tolist()],
        },
        {"video_id": pa.int64(), "label_id": pa.int64(), "weight": pa.float32(), "evidence": _TEXT},
    )


def _write_graph(audit: Audit, out: Path, graph: LabelGraph, id_L: NDArray[np.int64], settings: SignalsSettings) -> None:
    facts = graph_facts(graph, len(id_L), settings.graph)
    (out / "graph.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    graph = graph.numbered(id_L)
    audit.write_columns(
        out / "graph.parquet",
        {"i": graph.i_G, "j": graph.j_G, "count": graph.count_G, "p_ij": graph.p_G},
        {"i": pa.int64(), "j": pa.int64(), "count": pa.int64(), "p_ij": pa.float32()},
    )


def _write_weights(audit: Audit, out: Path, weights: LabelWeights, id_L: NDArray[np.int64]) -> None:
    order = np.argsort(id_L)
    audit.write_columns(
        out / "weights.parquet",
        {
            "label_id": id_L[order],
            "tf": weights.tf_L[order],
            "idf": weights.idf_L[order],
            "freshness": weights.freshness_L[order],
            "weight": weights.weight_L[order],
        },
        {"label_id": pa.int64(), "tf": pa.int64(), "idf": pa.float32(), "freshness": pa.float32(), "weight": pa.float32()},
    )


def _write_propensities(audit: Audit, out: Path, crowd: Crowd, id_L: NDArray[np.int64], settings: SignalsSettings) -> None:
    found = label_propensities(crowd.labels, len(crowd.works.ids_V), settings.weights)
    order = np.argsort(id_L)
    audit.write_columns(
        out / "propensities.parquet",
        {
            "label_id": id_L[order],
            "propensity": found.propensity_L[order],
            "num_both": found.num_both_L[order],
            "num_tags": found.num_tags_L[order],
            "num_queries": found.num_queries_L[order],
            "method": [found.method_L[row] for row in order.tolist()],
        },
        {
            "label_id": pa.int64(),
            "propensity": pa.float32(),
            "num_both": pa.int64(),
            "num_tags": pa.int64(),
            "num_queries": pa.int64(),
            "method": _TEXT,
        },
    )


def _write_missing(audit: Audit, out: Path, crowd: Crowd) -> None:
    masks = label_masks(crowd.labels, len(crowd.works.ids_V))
    audit.write_columns(
        out / "missing.parquet",
        {
            "video_id": crowd.works.ids_V,
            "has_tags": masks.has_tags_V,
            "has_queries": masks.has_queries_V,
            "all_missing": masks.all_missing_V(),
        },
        {"video_id": pa.int64(), "has_tags": pa.bool_(), "has_queries": pa.bool_(), "all_missing": pa.bool_()},
    )


def _write_texts(audit: Audit, out: Path, crowd: Crowd) -> None:
    audit.write_columns(
        out / "texts.parquet",
        {"video_id": crowd.works.ids_V, "caption": crowd.captions, "comments": crowd.comments, "queries": crowd.queries},
        {"video_id": pa.int64(), "caption": _TEXT, "comments": _TEXTS, "queries": _TEXTS},
    )


def _write_pairs(audit: Audit, out: Path, crowd: Crowd) -> None:
    """Pairs of query and work that satisfied enough people, and pairs that enough people passed over."""
    pairs, negatives = crowd.pairs, crowd.negatives
    audit.write_columns(
        out / "pairs.parquet",
        {
            "video_id": pairs.video_ids_P,
            "query": pairs.queries,
            "head": pairs.heads,
            "num_users": pairs.num_users_P,
            "num_clicks": pairs.num_clicks_P,
            "weighted_clicks": pairs.weighted_clicks_P.astype(np.float32),
            "num_skips": pairs.num_skips_P,
            "confidence": pairs.confidence_P.astype(np.float32),
            "first": pairs.first_us_P,
            "last": pairs.last_us_P,
        },
        {
            "video_id": pa.int64(),
            "query": _TEXT,
            "head": _TEXT,
            "num_users": pa.int64(),
            "num_clicks": pa.int64(),
            "weighted_clicks": pa.float32(),
            "num_skips": pa.int64(),
            "confidence": pa.float32(),
            "first": _TIME,
            "last": _TIME,
        },
    )
    audit.write_columns(
        out / "negatives.parquet",
        {
            "video_id": negatives.video_ids_N,
            "query": negatives.queries,
            "num_skips": negatives.num_skips_N,
            "num_users": negatives.num_users_N,
        },
        {"video_id": pa.int64(), "query": _TEXT, "num_skips": pa.int64(), "num_users": pa.int64()},
    )


def _write_weak_labels(audit: Audit, out: Path, crowd: Crowd) -> None:
    """Phrases and aspects that viewers speak of under a work; they are no labels of the vocabulary."""
    weak = crowd.weak_labels
    audit.write_columns(
        out / "weak_labels.parquet",
        {
            "video_id": crowd.works.ids_V[weak.work_E],
            "text": weak.texts,
            "kind": weak.kinds,
            "weight": weak.weight_E,
            "num_comments": weak.num_comments_E,
        },
        {"video_id": pa.int64(), "text": _TEXT, "kind": _TEXT, "weight": pa.float32(), "num_comments": pa.int64()},
    )


def _write_tag_uses(audit: Audit, out: Path, crowd: Crowd, id_L: NDArray[np.int64]) -> None:
    clean, uses = crowd.clean, crowd.clean.evidence.uses
    number = dict(zip(crowd.labels.texts, id_L.tolist(), strict=True))
    normal = [uses.tags[tag] for tag in uses.tag_U.tolist()]
    audit.write_columns(
        out / "tag_uses.parquet",
        {
            "video_id": crowd.works.ids_V[uses.work_U],
            "tag": uses.raws,
            "normal": normal,
            "label_id": [number.get(text) if kept else None for text, kept in zip(normal, clean.kept_U.tolist(), strict=True)],
            "score": clean.score_U.astype(np.float32),
            "kept": clean.kept_U,
            "reason": clean.reasons,
            "suspicions": [[None if np.isnan(value) else value for value in row] for row in clean.suspicion_UR.tolist()],
        },
        {
            "video_id": pa.int64(),
            "tag": _TEXT,
            "normal": _TEXT,
            "label_id": pa.int64(),
            "score": pa.float32(),
            "kept": pa.bool_(),
            "reason": _TEXT,
            "suspicions": pa.list_(pa.float32()),
        },
    )
