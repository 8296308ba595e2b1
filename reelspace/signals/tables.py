"""The crowd's tables: read, filtered and joined by the dataframe engine, whose one home this is.

Everything that touches all rows of a large table happens here; what leaves are plain columns, already small.
Rows from `as_of` on are never seen. polars counts in 32 bits and wraps: counts are cast to 64 bits before any arithmetic.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import TableError
from reelspace.signals.settings import SearchSettings

NO_CREATOR = -1


@dataclass(frozen=True, slots=True)
class Works:
    """V works in the order of their ids; creator -1 where unknown, categories from general to special, maybe none."""

    ids_V: NDArray[np.int64]
    captions: tuple[str, ...]
    cover_texts: tuple[str, ...]
    created_us_V: NDArray[np.int64]
    creators_V: NDArray[np.int64]
    categories: tuple[tuple[str, ...], ...]

    def rows(self) -> dict[int, int]:
        """Give the row of each id."""
        return {int(video_id): row for row, video_id in enumerate(self.ids_V)}


@dataclass(frozen=True, slots=True)
class Pairs:
    """P satisfied pairs of a query (normal form) and a work, by work, then falling number of people, then query."""

    video_ids_P: NDArray[np.int64]
    queries: tuple[str, ...]
    num_users_P: NDArray[np.int64]
    first_us_P: NDArray[np.int64]
    last_us_P: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Comments:
    """C comments by others than the author, one per (work, text as written), with all likes; by work, then time."""

    video_ids_C: NDArray[np.int64]
    texts: tuple[str, ...]
    likes_C: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Judgements:
    """J judged tag uses as written; `relevant_J` is the share of raters who said so."""

    video_ids_J: NDArray[np.int64]
    tags: tuple[str, ...]
    relevant_J: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a funnel: what is left after it."""

    stage: str
    count: int


def read_works(directory: Path, as_of: datetime | None) -> Works:
    """Read the works uploaded before `as_of`.

    Raises:
        TableError: there is none.
    """
    frame = _before(pl.scan_parquet(directory / "videos.parquet"), "created_at", as_of).sort("video_id").collect()
    if frame.is_empty():
        raise TableError(f"table videos: no work was uploaded before as_of = {as_of}" if as_of else "table videos: it has no rows")
    return Works(
        ids_V=_int64(frame["video_id"]),
        captions=tuple(frame["caption"].fill_null("")),
        cover_texts=tuple(frame["cover_text"].fill_null("")),
        created_us_V=_int64(frame["created_at"].dt.timestamp("us")),
        creators_V=_int64(frame["creator_id"].fill_null(NO_CREATOR)),
        categories=tuple(tuple(name for name in names or () if name) for names in frame["categories"].to_list()),
    )


def satisfied_pairs(
    directory: Path, works: Works, normal_query: Callable[[str], str], settings: SearchSettings, as_of: datetime | None
) -> tuple[Pairs, list[Stage]]:
    """Give the pairs of query and work that satisfied enough people, and the funnel that led to them.

    A click satisfies when the person stayed `satisfied_dwell_ms` and did not return within `quick_return_ms`. With `as_of`, the
    whole stay lies before it.
    """
    searches = _before(pl.scan_parquet(directory / "searches.parquet"), "searched_at", as_of)
    clicks = pl.scan_parquet(directory / "clicks.parquet")
    clicks = clicks.with_columns(left_at=pl.col("clicked_at") + pl.duration(milliseconds=pl.col("dwell_ms").cast(pl.Int64)))
    clicks = _before(clicks, "left_at", as_of)
    num_clicks = _count(clicks)
    known = pl.LazyFrame({"video_id": works.ids_V})
    clicks = clicks.join(known, on="video_id", how="semi").join(searches.select("search_id", "user_id", "query"), on="search_id")
    num_known = _count(clicks)
    clicks = clicks.filter(pl.col("dwell_ms") >= settings.satisfied_dwell_ms)
    num_stayed = _count(clicks)
    clicks = clicks.filter(pl.col("returned_within_ms").is_null() | (pl.col("returned_within_ms") > settings.quick_return_ms))
    num_satisfied = _count(clicks)
    pairs = _people_per_pair(clicks, normal_query)
    num_pairs = pairs.height
    pairs = pairs.filter(pl.col("num_users") >= settings.min_users)
    pairs = pairs.sort("video_id", "num_users", "query", descending=[False, True, False])
    funnel = [
        Stage("clicks", num_clicks),
        Stage("on known works, from known searches", num_known),
        Stage(f"stayed at least {settings.satisfied_dwell_ms} ms", num_stayed),
        Stage(f"did not return within {settings.quick_return_ms} ms", num_satisfied),
        Stage("pairs of query and work", num_pairs),
        Stage(f"pairs with at least {settings.min_users} people", pairs.height),
    ]
    return (
        Pairs(
            video_ids_P=_int64(pairs["video_id"]),
            queries=tuple(pairs["query"]),
            num_users_P=_int64(pairs["num_users"]),
            first_us_P=_int64(pairs["first"].dt.timestamp("us")),
            last_us_P=_int64(pairs["last"].dt.timestamp("us")),
        ),
        funnel,
    )


def _people_per_pair(clicks: pl.LazyFrame, normal_query: Callable[[str], str]) -> pl.DataFrame:
    satisfied = clicks.select("user_id", "video_id", "clicked_at", written=pl.col("query")).collect()
    written = satisfied["written"].unique().sort()
    forms = pl.DataFrame(
        {"written": written, "query": [normal_query(text) for text in written]}, schema={"written": pl.String, "query": pl.String}
    )
    return (
        satisfied.join(forms, on="written")
        .filter(pl.col("query") != "")
        .group_by("video_id", "query")
        .agg(
            num_users=pl.col("user_id").n_unique().cast(pl.Int64),
            first=pl.col("clicked_at").min(),
            last=pl.col("clicked_at").max(),
        )
    )


def read_comments(directory: Path, works: Works, as_of: datetime | None) -> tuple[Comments, list[Stage]]:
    """Give the comments of others, copies under one work made one."""
    comments = _before(pl.scan_parquet(directory / "comments.parquet"), "commented_at", as_of)
    num_all = _count(comments)
    creators = pl.LazyFrame({"video_id": works.ids_V, "creator_id": works.creators_V})
    comments = comments.join(creators, on="video_id")
    num_known = _count(comments)
    comments = comments.filter(pl.col("user_id") != pl.col("creator_id"))
    num_by_others = _count(comments)
    distinct = (
        comments.group_by("video_id", pl.col("text").str.strip_chars())
        .agg(likes=pl.col("likes").cast(pl.Int64).sum(), first=pl.col("commented_at").min())
        .filter(pl.col("text") != "")
        .sort("video_id", "first", "text")
        .collect()
    )
    funnel = [
        Stage("comments", num_all),
        Stage("under known works", num_known),
        Stage("not by the author", num_by_others),
        Stage("not a copy", distinct.height),
    ]
    return Comments(_int64(distinct["video_id"]), tuple(distinct["text"]), _int64(distinct["likes"])), funnel


def read_judgements(directory: Path, works: Works) -> Judgements:
    """Read the judged tag uses of known works, raters averaged."""
    known = pl.LazyFrame({"video_id": works.ids_V})
    frame = (
        pl.scan_parquet(directory / "tag_judgements.parquet")
        .join(known, on="video_id", how="semi")
        .group_by("video_id", "tag")
        .agg(relevant=pl.col("relevant").cast(pl.Float64).mean())
        .sort("video_id", "tag")
        .collect()
    )
    return Judgements(_int64(frame["video_id"]), tuple(frame["tag"]), frame["relevant"].to_numpy().astype(np.float64))


def write_columns(path: Path, columns: Mapping[str, Sequence[object] | NDArray[np.generic]], types: Mapping[str, pa.DataType]) -> None:
    """Write one Parquet file; the same columns give the same bytes."""
    arrays = {name: pa.array(columns[name], type=types[name]) for name in types}
    pq.write_table(pa.table(arrays), path, compression="zstd")


def _before(frame: pl.LazyFrame, column: str, as_of: datetime | None) -> pl.LazyFrame:
    return frame if as_of is None else frame.filter(pl.col(column) < as_of)


def _count(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len().cast(pl.Int64)).collect().item())


def _int64(column: pl.Series) -> NDArray[np.int64]:
    return np.ascontiguousarray(column.to_numpy(), dtype=np.int64)
