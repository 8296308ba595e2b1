"""The files of a `labels` artifact.

Legend: V works, L labels, E work-label entries, G edges, U uses of hashtags.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from reelspace.signals.crowd import Crowd, read_crowd
from reelspace.signals.label_graph import label_graph
from reelspace.signals.label_weights import LabelWeights, label_weights
from reelspace.signals.page import render_page
from reelspace.signals.report import report_of
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.tables import write_columns

_ACTIVE = "active"
_TIME = pa.timestamp("us", tz="UTC")
_TEXT = pa.large_string()
_TEXTS = pa.list_(pa.large_string())


def write_labels(tables: Path, out: Path, settings: SignalsSettings) -> Mapping[str, object]:
    """Make labels of the tables in one directory and write all files into another; gives the figures for run.json."""
    crowd = read_crowd(tables, settings)
    weights = label_weights(crowd.labels, crowd.as_of_us, settings.weights)
    _write_vocabulary(out, crowd)
    _write_video_labels(out, crowd)
    _write_graph(out, crowd, settings)
    _write_weights(out, weights)
    _write_texts(out, crowd)
    _write_tag_uses(out, crowd)
    report = report_of(crowd, weights, settings)
    (out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    (out / "report.html").write_text(render_page(report), encoding="utf-8")
    return {name: report[name] for name in ("hashtags", "labels", "funnels")}


def _write_vocabulary(out: Path, crowd: Crowd) -> None:
    labels = crowd.labels
    write_columns(
        out / "vocabulary.parquet",
        {
            "label_id": np.arange(len(labels.texts), dtype=np.int64),
            "text": labels.texts,
            "df_tags": labels.num_tag_works_L,
            "df_queries": labels.num_query_works_L,
            "first_seen": labels.first_us_L,
            "status": [_ACTIVE] * len(labels.texts),
        },
        {"label_id": pa.int64(), "text": _TEXT, "df_tags": pa.int64(), "df_queries": pa.int64(), "first_seen": _TIME, "status": _TEXT},
    )


def _write_video_labels(out: Path, crowd: Crowd) -> None:
    labels = crowd.labels
    write_columns(
        out / "video_labels.parquet",
        {
            "video_id": crowd.works.ids_V[labels.work_E],
            "label_id": labels.label_E,
            "weight": labels.weight_E,
            "evidence": labels.evidence_E,
        },
        {"video_id": pa.int64(), "label_id": pa.int64(), "weight": pa.float32(), "evidence": _TEXT},
    )


def _write_graph(out: Path, crowd: Crowd, settings: SignalsSettings) -> None:
    graph = label_graph(crowd.labels, settings.graph)
    write_columns(
        out / "graph.parquet",
        {"i": graph.i_G, "j": graph.j_G, "count": graph.count_G, "p_ij": graph.p_G},
        {"i": pa.int64(), "j": pa.int64(), "count": pa.int64(), "p_ij": pa.float32()},
    )


def _write_weights(out: Path, weights: LabelWeights) -> None:
    write_columns(
        out / "weights.parquet",
        {
            "label_id": np.arange(len(weights.weight_L), dtype=np.int64),
            "idf": weights.idf_L,
            "freshness": weights.freshness_L,
            "weight": weights.weight_L,
        },
        {"label_id": pa.int64(), "idf": pa.float32(), "freshness": pa.float32(), "weight": pa.float32()},
    )


def _write_texts(out: Path, crowd: Crowd) -> None:
    write_columns(
        out / "texts.parquet",
        {"video_id": crowd.works.ids_V, "caption": crowd.captions, "comments": crowd.comments, "queries": crowd.queries},
        {"video_id": pa.int64(), "caption": _TEXT, "comments": _TEXTS, "queries": _TEXTS},
    )


def _write_tag_uses(out: Path, crowd: Crowd) -> None:
    clean, uses = crowd.clean, crowd.clean.evidence.uses
    number = crowd.labels.number()
    normal = [uses.tags[tag] for tag in uses.tag_U.tolist()]
    write_columns(
        out / "tag_uses.parquet",
        {
            "video_id": crowd.works.ids_V[uses.work_U],
            "tag": uses.raws,
            "normal": normal,
            "label_id": [number.get(text) if kept else None for text, kept in zip(normal, clean.kept_U.tolist(), strict=True)],
            "score": clean.score_U.astype(np.float32),
            "kept": clean.kept_U,
            "reason": clean.reasons,
        },
        {
            "video_id": pa.int64(),
            "tag": _TEXT,
            "normal": _TEXT,
            "label_id": pa.int64(),
            "score": pa.float32(),
            "kept": pa.bool_(),
            "reason": _TEXT,
        },
    )
