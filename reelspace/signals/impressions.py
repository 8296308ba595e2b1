"""Impressions as evidence: looks per position, and works that people passed over.

An impression above the lowest clicked one of its search was seen; if it was not clicked itself, it is a skip.
Legend: K positions.
"""

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelspace.signals.engine import HERE, Engine, Frame
from reelspace.signals.search_log import PAIR, REST, SHOWN, SearchLog, clicked_positions, rest_as_one
from reelspace.signals.searches import PositionCounts
from reelspace.signals.settings import SearchSettings
from reelspace.signals.tables import Stage, count, int64

_RATE_SCALE = 1_000_000


def position_counts(log: SearchLog, settings: SearchSettings, engine: Engine = HERE) -> PositionCounts:
    """Count clicks on pairs of query and work that were shown at two positions: what intervention harvesting needs."""
    num = settings.max_position
    rates_KK, clicks_KK = np.zeros((num, num)), np.zeros((num, num), dtype=np.int64)
    if log.impressions is not None:
        table = log.collect_by_works(_shown_per_position, lambda shown: _at_two_positions(shown, engine), engine)
        place = int64(table, "position") - 1, int64(table, "position_other") - 1
        np.add.at(rates_KK, place, int64(table, "rate"))
        np.add.at(clicks_KK, place, int64(table, "clicks"))
    return PositionCounts(rates_KK / _RATE_SCALE, clicks_KK)


def skipped_pairs(log: SearchLog, pairs: pa.Table, settings: SearchSettings, engine: Engine = HERE) -> tuple[pa.Table, list[Stage]]:
    """Give how often works were passed over: shown above the lowest clicked one of a search, and not clicked.

    Returns:
        video_id, query_id, num_skips, num_users (who skipped) and is_pair, by work, then query, of the satisfied pairs given and of
        the pairs with enough skips by enough people; and the funnel.
    """
    if log.impressions is None:
        names = (*PAIR, "num_skips", "num_users", "is_pair")
        return pa.table({name: pa.array([], type=pa.int64()) for name in names}), [Stage("impressions", 0)]
    known = engine.table(pairs.select(PAIR).append_column("is_pair", pa.array(np.ones(pairs.num_rows, dtype=np.int64))))
    table = log.collect_by_works(_skips, lambda skips: _grouped_skips(skips, known, settings), engine)
    kept = table.filter(pc.field("query_id") != REST)
    num_enough = int(((int64(kept, "num_skips") >= settings.min_skips) & (int64(kept, "num_users") >= settings.min_users)).sum())
    return kept, [
        Stage("impressions", count(engine, log.impressions)),
        Stage("skips", int(int64(table, "num_skips").sum())),
        Stage("skipped pairs of query and work", int(int64(table, "num_pairs").sum())),
        Stage(f"pairs with at least {settings.min_skips} skips by {settings.min_users} people", num_enough),
    ]


def _skips(log: SearchLog) -> Frame:
    impressions = _known(log)
    clicked = clicked_positions(log, impressions)
    lowest = clicked.group_by("search_id").agg(lowest=nw.col("position").max())
    return (
        impressions.join(lowest, on="search_id")
        .filter(nw.col("position") < nw.col("lowest"))
        .join(clicked, on=list(SHOWN), how="anti")
        .join(log.searches, on="search_id")
        .select(*PAIR, "user_id")
    )


def _grouped_skips(skips: Frame, known: Frame, settings: SearchSettings) -> Frame:
    """One row per satisfied pair and per pair with enough skips by enough people, and one for the rest."""
    pairs = skips.group_by(*PAIR).agg(num_skips=nw.len(), num_users=nw.col("user_id").n_unique())
    pairs = pairs.join(known, on=list(PAIR), how="left").with_columns(is_pair=nw.col("is_pair").fill_null(0))
    enough = (nw.col("num_skips") >= settings.min_skips) & (nw.col("num_users") >= settings.min_users)
    grouped = rest_as_one(pairs, enough | (nw.col("is_pair") == 1)).group_by(*PAIR)
    return grouped.agg(
        num_pairs=nw.len(),
        num_skips=nw.col("num_skips").cast(nw.Int64).sum(),
        num_users=nw.col("num_users").max(),
        is_pair=nw.col("is_pair").max(),
    ).sort(*PAIR)


def _shown_per_position(log: SearchLog) -> Frame:
    """How often each pair was shown and clicked at each position; a second showing of a clicked result is not counted."""
    impressions = _known(log)
    clicked = clicked_positions(log, impressions).rename({"position": "clicked_at"})
    shown = (
        impressions.join(log.searches, on="search_id")
        .join(clicked, on=list(SHOWN), how="left")
        .filter(nw.col("clicked_at").is_null() | (nw.col("clicked_at") == nw.col("position")))
        .with_columns(is_clicked=(~nw.col("clicked_at").is_null()).cast(nw.Int64))
    )
    grouped = shown.group_by(*PAIR, "position").agg(num_shown=nw.len(), clicks=nw.col("is_clicked").sum())
    return grouped.with_columns(nw.col("num_shown").cast(nw.Int64))


def _at_two_positions(shown: Frame, engine: Engine) -> Frame:
    """Sums over the pairs that were clicked at all: rate and clicks at one position, for each other position of the pair."""
    totals = shown.group_by(*PAIR, "position").agg(nw.col("num_shown").sum(), nw.col("clicks").sum())
    with_clicks = totals.filter(nw.col("clicks") > 0).select(*PAIR)
    rate = (nw.col("clicks") * _RATE_SCALE // nw.col("num_shown")).cast(nw.Int64)
    # Kept: daft 0.7 loses rows of a frame that is joined with itself before it was run.
    rates = engine.keep(totals.join(with_clicks, on=list(PAIR), how="semi").select(*PAIR, "position", "clicks", rate=rate))
    both = rates.join(rates.select(*PAIR, position_other="position"), on=list(PAIR))
    both = both.filter(nw.col("position") != nw.col("position_other"))
    return both.group_by("position", "position_other").agg(nw.col("rate").sum(), nw.col("clicks").sum())


def _known(log: SearchLog) -> Frame:
    """The impressions; only asked for where there are some."""
    assert log.impressions is not None
    return log.impressions
