"""Searches, clicks and impressions as pairs of a query and a work: everything that touches all rows of these tables.

What leaves is one row per pair that enough people stand behind. All sums are of whole numbers, so that engines agree on every row.
Legend: P satisfied pairs, N negative pairs, K positions.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reelspace.signals.engine import HERE, Engine, Frame
from reelspace.signals.impressions import position_counts, skipped_pairs
from reelspace.signals.search_log import (
    PAIR,
    REST,
    SHOWN,
    NormalQuery,
    SearchLog,
    clicked_positions,
    open_log,
    rest_as_one,
    satisfaction,
    satisfied_clicks,
)
from reelspace.signals.searches import click_weights, examination, pair_confidence, spelling_heads
from reelspace.signals.settings import SearchSettings
from reelspace.signals.tables import Pairs, Stage, Works, count, int64

_WEIGHT_SCALE = 1_000


@dataclass(frozen=True, slots=True)
class Negatives:
    """N pairs that satisfied nobody although enough people passed the work over for one below it; by work, then query."""

    video_ids_N: NDArray[np.int64]
    queries: tuple[str, ...]
    num_skips_N: NDArray[np.int64]
    num_users_N: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SearchSignals:
    """What searches say: pairs, negatives, how often each position is looked at, and how many got so far."""

    pairs: Pairs
    negatives: Negatives
    examination_K: NDArray[np.float64]
    pair_funnel: list[Stage]
    skip_funnel: list[Stage]


def read_searches(
    directory: Path, works: Works, normal_query: NormalQuery, settings: SearchSettings, as_of: datetime | None, engine: Engine = HERE
) -> SearchSignals:
    """Give the pairs of query and work that satisfied enough people, the negative ones, and the funnels that led to them.

    Every satisfied pair of enough people is there; `confidence_P` says how far to trust it.
    """
    log = open_log(directory, works.ids_V, normal_query, settings, as_of, engine)
    examination_K = examination(position_counts(log, settings, engine), settings)
    pairs, pair_funnel = satisfied_pairs(log, click_weights(examination_K, settings), settings, engine)
    skips, skip_funnel = skipped_pairs(log, pairs, settings, engine)
    negatives = _negatives(log, skips, settings, engine)
    return SearchSignals(
        pairs=_rated(pairs, skips, log.queries, settings),
        negatives=negatives,
        examination_K=examination_K,
        pair_funnel=pair_funnel,
        skip_funnel=[*skip_funnel, Stage("pairs that satisfied nobody", len(negatives.queries))],
    )


def satisfied_pairs(
    log: SearchLog, weights_K: NDArray[np.float64], settings: SearchSettings, engine: Engine = HERE
) -> tuple[pa.Table, list[Stage]]:
    """Give the pairs that satisfied enough people, by work, then falling number of people, then query; and their funnel.

    Args:
        weights_K: what a click counts for at each position; one at an unknown position counts for 1.

    Returns:
        video_id, query_id, num_users, num_clicks, weight (in thousandths of a click), first_us, last_us.
    """
    table = log.collect_by_works(
        lambda part: _weighted(part, weights_K, settings, engine), lambda clicks: _grouped_clicks(clicks, settings), engine
    )
    kept = table.filter(pc.field("query_id") != REST)
    return kept, [
        *_click_stages(log, settings, engine),
        Stage("from known searches with words", int(int64(table, "num_clicks").sum())),
        Stage("pairs of query and work", int(int64(table, "num_pairs").sum())),
        Stage(f"pairs with at least {settings.min_users} people", kept.num_rows),
    ]


def _weighted(log: SearchLog, weights_K: NDArray[np.float64], settings: SearchSettings, engine: Engine) -> Frame:
    """The satisfied clicks, each with the weight of its position."""
    clicks = satisfied_clicks(log, settings).join(log.searches, on="search_id")
    if log.impressions is None:
        return clicks.select(*PAIR, "user_id", "clicked_us", weight=nw.lit(_WEIGHT_SCALE, nw.Int64))
    weights = np.rint(weights_K * _WEIGHT_SCALE).astype(np.int64)
    of_position = engine.table(pa.table({"position": np.arange(1, len(weights) + 1), "weight": weights}))
    clicks = clicks.join(clicked_positions(log, log.impressions), on=list(SHOWN), how="left").join(of_position, on="position", how="left")
    return clicks.select(*PAIR, "user_id", "clicked_us", weight=nw.col("weight").fill_null(_WEIGHT_SCALE))


def _grouped_clicks(clicks: Frame, settings: SearchSettings) -> Frame:
    """One row per pair of enough people, and one for the rest."""
    pairs = clicks.group_by(*PAIR).agg(
        num_users=nw.col("user_id").n_unique(),
        num_clicks=nw.len(),
        weight=nw.col("weight").sum(),
        first_us=nw.col("clicked_us").min(),
        last_us=nw.col("clicked_us").max(),
    )
    grouped = rest_as_one(pairs, nw.col("num_users") >= settings.min_users).group_by(*PAIR)
    return grouped.agg(
        num_pairs=nw.len(),
        num_users=nw.col("num_users").max(),
        num_clicks=nw.col("num_clicks").cast(nw.Int64).sum(),
        weight=nw.col("weight").sum(),
        first_us=nw.col("first_us").min(),
        last_us=nw.col("last_us").max(),
    ).sort("video_id", "num_users", "query_id", descending=[False, True, False])


def _click_stages(log: SearchLog, settings: SearchSettings, engine: Engine) -> list[Stage]:
    stayed, stayed_away = satisfaction(settings)
    known = log.clicks.join(engine.table(pa.table({"video_id": log.ids_V})), on="video_id", how="semi")
    flags = known.select(stayed=stayed.cast(nw.Int64), satisfied=(stayed & stayed_away).cast(nw.Int64))
    table = engine.collect(flags.select(nw.col("stayed").sum(), nw.col("satisfied").sum(), num=nw.len()))
    num_known, num_stayed, num_satisfied = (int(table[name][0].as_py() or 0) for name in ("num", "stayed", "satisfied"))
    return [
        Stage("clicks", count(engine, log.clicks)),
        Stage("on known works", num_known),
        Stage(f"stayed at least {settings.satisfied_dwell_ms} ms", num_stayed),
        Stage(f"did not return within {settings.quick_return_ms} ms", num_satisfied),
    ]


def _negatives(log: SearchLog, skips: pa.Table, settings: SearchSettings, engine: Engine) -> Negatives:
    """The pairs with enough skips that are no pair and have no satisfied click either."""
    enough = (pc.field("num_skips") >= settings.min_skips) & (pc.field("num_users") >= settings.min_users)
    rows = skips.filter(enough & (pc.field("is_pair") == 0)).select([*PAIR, "num_skips", "num_users"])
    if rows.num_rows:
        candidates = engine.table(rows)
        clicks = satisfied_clicks(log, settings).join(candidates.select("video_id"), on="video_id", how="semi")
        satisfying = clicks.join(log.searches, on="search_id").select(*PAIR)
        frame = candidates.join(satisfying, on=list(PAIR), how="anti")
        rows = engine.collect(frame.sort(*PAIR))
    return Negatives(
        video_ids_N=int64(rows, "video_id"),
        queries=tuple(log.queries.take(rows["query_id"].combine_chunks()).to_pylist()),
        num_skips_N=int64(rows, "num_skips"),
        num_users_N=int64(rows, "num_users"),
    )


def _rated(pairs: pa.Table, skips: pa.Table, queries: pa.Array, settings: SearchSettings) -> Pairs:
    """The satisfied pairs with their spellings, skips and confidence."""
    work_P, clicks_P, users_P = int64(pairs, "video_id"), int64(pairs, "num_clicks"), int64(pairs, "num_users")
    weighted_P = int64(pairs, "weight") / _WEIGHT_SCALE
    used_Q, query_P = np.unique(int64(pairs, "query_id"), return_inverse=True)
    texts = queries.take(pa.array(used_Q)).to_pylist()
    head_Q = spelling_heads(texts, query_P, work_P, clicks_P, settings.min_spelling_overlap)
    skips_P = _skips_of(pairs, skips)
    return Pairs(
        video_ids_P=work_P,
        queries=tuple(texts[query] for query in query_P.tolist()),
        num_users_P=users_P,
        first_us_P=int64(pairs, "first_us"),
        last_us_P=int64(pairs, "last_us"),
        num_clicks_P=clicks_P,
        weighted_clicks_P=weighted_P,
        num_skips_P=skips_P,
        confidence_P=pair_confidence(work_P, head_Q[query_P], users_P, weighted_P, skips_P, settings.confidence_prior),
        heads=tuple(texts[head] for head in head_Q[query_P].tolist()),
    )


def _skips_of(pairs: pa.Table, skips: pa.Table) -> NDArray[np.int64]:
    of_pairs = skips.filter(pc.field("is_pair") == 1)
    keys = (int64(of_pairs, name) for name in PAIR)
    num_skips = dict(zip(zip(*(key.tolist() for key in keys), strict=True), int64(of_pairs, "num_skips").tolist(), strict=True))
    wanted = zip(*(int64(pairs, name).tolist() for name in PAIR), strict=True)
    return np.array([num_skips.get(pair, 0) for pair in wanted], dtype=np.int64)
