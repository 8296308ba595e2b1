"""The log of searches before `as_of`, opened but not yet read: searches, clicks and impressions as lazy frames.

A click satisfies when the person stayed `satisfied_dwell_ms` and did not return within `quick_return_ms`. With `as_of`, the search
and the whole stay lie before it. Queries are whole numbers from here on, in the order of their normal forms: texts cross no large join.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.signals.engine import HERE, Engine, Frame
from reelspace.signals.settings import SearchSettings
from reelspace.signals.tables import before, microseconds, time_us

NormalQuery = Callable[[str], str]
PAIR: Final = ("video_id", "query_id")
SHOWN: Final = ("search_id", "video_id")
REST: Final = -1
"""Work and query of the one row that stands for all pairs that are left out."""


@dataclass(frozen=True, slots=True)
class SearchLog:
    """The log before `as_of` as lazy frames.

    Args:
        searches: search_id, user_id, query_id; those with words.
        clicks: search_id, video_id, dwell_ms, returned_within_ms, clicked_us.
        impressions: search_id, video_id, position from 1 to K; None if nothing is known of what was shown.
        ids_V: the known works.
        queries: the normal form of each query_id, sorted.
        spans: first search_id of a slice and that of the next, None for the ends; the slices together are the whole log.
        starts: first video_id of each range of works, as many as slices.
    """

    searches: Frame
    clicks: Frame
    impressions: Frame | None
    ids_V: NDArray[np.int64]
    queries: pa.Array
    spans: tuple[tuple[int | None, int | None], ...]
    starts: NDArray[np.int64]

    def collect_by_works(self, rows_of: Callable[["SearchLog"], Frame], job: Callable[[Frame], Frame], engine: Engine) -> pa.Table:
        """Make rows of each slice of searches, and of those on known works whatever the job gives, by rising ranges of works."""
        ids = [engine.table(pa.table({"video_id": ids})) for ids in np.split(self.ids_V, np.searchsorted(self.ids_V, self.starts[1:]))]
        slices = [rows_of(self._between(*span)) for span in self.spans]
        results = engine.collect_ranges(
            slices, "video_id", self.starts, lambda number, rows: job(rows.join(ids[number], on="video_id", how="semi"))
        )
        return pa.concat_tables(results)

    def _between(self, first: int | None, end: int | None) -> "SearchLog":
        def within(frame: Frame) -> Frame:
            frame = frame if first is None else frame.filter(nw.col("search_id") >= first)
            return frame if end is None else frame.filter(nw.col("search_id") < end)

        impressions = None if self.impressions is None else within(self.impressions)
        return replace(self, searches=within(self.searches), clicks=within(self.clicks), impressions=impressions)


def open_log(
    directory: Path,
    ids_V: NDArray[np.int64],
    normal_query: NormalQuery,
    settings: SearchSettings,
    as_of: datetime | None,
    engine: Engine = HERE,
) -> SearchLog:
    """Open the three tables. Only searches are read, for the normal forms of their distinct queries; 24 bytes of each stay in memory."""
    searches = before(engine.scan(directory / "searches.parquet"), "searched_at", as_of)
    forms, queries = _normal_forms(engine.collect(searches.group_by("query").agg(num=nw.len()))["query"], normal_query)
    clicks = engine.scan(directory / "clicks.parquet")
    if as_of is not None:
        left_us = time_us("clicked_at") + nw.col("dwell_ms").cast(nw.Int64) * 1_000
        clicks = clicks.filter(left_us < microseconds(as_of))
    cuts = _cuts(directory / "clicks.parquet", engine.slice_rows)
    return SearchLog(
        searches=engine.keep(searches.join(engine.table(forms), on="query").select("search_id", "user_id", "query_id")),
        clicks=clicks.select(*SHOWN, "dwell_ms", "returned_within_ms", clicked_us=time_us("clicked_at")),
        impressions=_impressions(directory / "impressions.parquet", settings, engine),
        ids_V=ids_V,
        queries=queries,
        spans=tuple(zip([None, *cuts], [*cuts, None], strict=True)),
        starts=ids_V[np.arange(len(cuts) + 1) * len(ids_V) // (len(cuts) + 1)],
    )


def clicked_positions(log: SearchLog, impressions: Frame) -> Frame:
    """Give the uppermost position of each clicked result."""
    shown = impressions.join(log.clicks.select(*SHOWN), on=list(SHOWN), how="semi")
    return shown.group_by(*SHOWN).agg(position=nw.col("position").min())


def satisfied_clicks(log: SearchLog, settings: SearchSettings) -> Frame:
    """Keep the clicks that satisfy, whatever they are on."""
    stayed, stayed_away = satisfaction(settings)
    return log.clicks.filter(stayed, stayed_away)


def satisfaction(settings: SearchSettings) -> tuple[nw.Expr, nw.Expr]:
    """Give the two conditions: the person stayed, and did not come back at once."""
    returned_ms = nw.col("returned_within_ms")
    return nw.col("dwell_ms") >= settings.satisfied_dwell_ms, returned_ms.is_null() | (returned_ms > settings.quick_return_ms)


def rest_as_one(pairs: Frame, keep: nw.Expr) -> Frame:
    """Give all pairs that are not kept the same key: grouped once more they are one row, counted without leaving the engine."""
    kept = pairs.with_columns(keep=keep)
    rest = nw.lit(REST, nw.Int64)
    return kept.with_columns(*(nw.when(nw.col("keep")).then(nw.col(name)).otherwise(rest).alias(name) for name in PAIR))


def _normal_forms(written: pa.ChunkedArray, normal_query: NormalQuery) -> tuple[pa.Table, pa.Array]:
    """Map each query as written to the number of its normal form; those without words have none."""
    written = pa.chunked_array([chunk.cast(pa.large_string()) for chunk in written.chunks], type=pa.large_string())
    batches = [pa.array([normal_query(text) for text in batch.to_pylist()], pa.large_string()) for batch in written.chunks]
    normal = pa.chunked_array(batches, type=pa.large_string())
    distinct = pc.unique(normal)
    distinct = distinct.filter(pc.not_equal(distinct, ""))
    queries = distinct.take(pc.array_sort_indices(distinct))
    numbers = pc.index_in(normal, value_set=queries).cast(pa.int64())
    return pa.table({"query": written, "query_id": numbers}).filter(pc.is_valid(numbers)), queries


def _impressions(path: Path, settings: SearchSettings, engine: Engine) -> Frame | None:
    if not path.exists() or pq.read_metadata(path).num_rows == 0:
        return None
    position = nw.col("position").cast(nw.Int64).clip(1, settings.max_position)
    return engine.scan(path).select(*SHOWN, position=position)


def _cuts(path: Path, slice_rows: int | None) -> list[int]:
    """First search_id of each slice but the first: those of row groups, so that no slice reads another's; the table is sorted by it."""
    metadata = pq.read_metadata(path)
    column = metadata.schema.names.index("search_id")
    cuts: list[int] = []
    num_rows = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        least = group.column(column).statistics
        if slice_rows and num_rows + group.num_rows > slice_rows and num_rows and least and least.has_min_max:
            cuts.append(int(least.min))
            num_rows = 0
        num_rows += group.num_rows
    return sorted(set(cuts))
