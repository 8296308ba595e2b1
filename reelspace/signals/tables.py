"""The crowd's tables: works, comments and judgements, read, filtered and joined by the dataframe engine.

Everything that touches all rows of a large table happens in an engine; what leaves are plain columns, already small.
Rows from `as_of` on are never seen. Times are whole microseconds (us) since 1970.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reelspace.core.errors import TableError
from reelspace.signals.engine import HERE, Engine, Frame

NO_CREATOR = -1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    """P satisfied pairs of a query (normal form) and a work, by work, then falling number of people, then query.

    Args:
        weighted_clicks_P: satisfied clicks, each weighing what its position makes it worth.
        num_skips_P: times people passed the work over for one below it.
        confidence_P: how well other queries, clicks against skips and people agree on the pair, 0 to 1; no filter.
        heads: the most frequent spelling of each query.
    """

    video_ids_P: NDArray[np.int64]
    queries: tuple[str, ...]
    num_users_P: NDArray[np.int64]
    first_us_P: NDArray[np.int64]
    last_us_P: NDArray[np.int64]
    num_clicks_P: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    weighted_clicks_P: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    num_skips_P: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    confidence_P: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    heads: tuple[str, ...] = ()


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


def read_works(directory: Path, as_of: datetime | None, engine: Engine = HERE) -> Works:
    """Read the works uploaded before `as_of`.

    Raises:
        TableError: there is none.
    """
    columns = ("video_id", "caption", "cover_text", "creator_id", "categories")
    videos = before(engine.scan(directory / "videos.parquet"), "created_at", as_of)
    table = engine.collect(videos.select(*columns, created_us=time_us("created_at")).sort("video_id"))
    if table.num_rows == 0:
        raise TableError(f"table videos: no work was uploaded before as_of = {as_of}" if as_of else "table videos: it has no rows")
    return Works(
        ids_V=int64(table, "video_id"),
        captions=tuple(text or "" for text in table["caption"].to_pylist()),
        cover_texts=tuple(text or "" for text in table["cover_text"].to_pylist()),
        created_us_V=int64(table, "created_us"),
        creators_V=np.array([NO_CREATOR if creator is None else creator for creator in table["creator_id"].to_pylist()], dtype=np.int64),
        categories=tuple(tuple(name for name in names or () if name) for names in table["categories"].to_pylist()),
    )


def comment_stages(directory: Path, works: Works, as_of: datetime | None, engine: Engine = HERE) -> list[Stage]:
    """Count the comments, those under known works, and those not by the author; copies are counted by who reads the batches."""
    comments = before(engine.scan(directory / "comments.parquet"), "commented_at", as_of)
    num_comments = count(engine, comments)
    _, num_all_V, num_others_V = _comments_per_work(directory, works, as_of, engine)
    return [
        Stage("comments", num_comments),
        Stage("under known works", int(num_all_V.sum())),
        Stage("not by the author", int(num_others_V.sum())),
    ]


def comment_batches(directory: Path, works: Works, as_of: datetime | None, max_rows: int, engine: Engine = HERE) -> Iterator[Comments]:
    """Give the comments of others in batches by work, copies under one work made one; each work is whole within one batch.

    Args:
        max_rows: comments in a batch, copies included; a work with more is a batch of its own.

    Cost: one pass over the table per batch, and memory for one batch.
    """
    ids_V, _, num_others_V = _comments_per_work(directory, works, as_of, engine)
    for first, last in _whole_works(num_others_V, max_rows):
        comments = _by_others(directory, works, as_of, engine)
        comments = comments.filter(nw.col("video_id") >= int(ids_V[first]), nw.col("video_id") <= int(ids_V[last]))
        distinct = _without_copies(engine.collect(comments.select("video_id", "text", "likes", commented_us=time_us("commented_at"))))
        if distinct.num_rows:
            yield Comments(int64(distinct, "video_id"), tuple(distinct["text"].to_pylist()), int64(distinct, "likes"))


def read_judgements(directory: Path, works: Works, engine: Engine = HERE) -> Judgements:
    """Read the judged tag uses of known works, raters averaged."""
    judged = (
        engine.scan(directory / "tag_judgements.parquet")
        .join(engine.table(pa.table({"video_id": works.ids_V})), on="video_id", how="semi")
        .group_by("video_id", "tag")
        .agg(num_raters=nw.len(), num_relevant=nw.col("relevant").cast(nw.Int64).sum())
        .sort("video_id", "tag")
    )
    table = engine.collect(judged)
    relevant_J = int64(table, "num_relevant") / int64(table, "num_raters")
    return Judgements(int64(table, "video_id"), tuple(table["tag"].to_pylist()), relevant_J)


def write_columns(path: Path, columns: Mapping[str, Sequence[object] | NDArray[np.generic]], types: Mapping[str, pa.DataType]) -> None:
    """Write one Parquet file; the same columns give the same bytes."""
    arrays = {name: pa.array(columns[name], type=types[name]) for name in types}
    pq.write_table(pa.table(arrays), path, compression="zstd")


def before(frame: Frame, column: str, as_of: datetime | None) -> Frame:
    """Keep the rows with a time before `as_of`."""
    return frame if as_of is None else frame.filter(time_us(column) < microseconds(as_of))


def time_us(column: str) -> nw.Expr:
    """A time in microseconds: whole numbers are what all engines add and compare alike."""
    return nw.col(column).cast(nw.Int64)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def count(engine: Engine, frame: Frame) -> int:
    """Count the rows of a frame."""
    return int(int64(engine.collect(frame.select(num=nw.len())), "num")[0])


def int64(table: pa.Table, column: str) -> NDArray[np.int64]:
    """Give a column as 64-bit numbers: engines count in 32 bits, signed or not, and products of such counts wrap."""
    return np.ascontiguousarray(table[column].to_numpy(), dtype=np.int64)


def _by_others(directory: Path, works: Works, as_of: datetime | None, engine: Engine) -> Frame:
    return _under_works(directory, works, as_of, engine).filter(nw.col("user_id") != nw.col("creator_id"))


def _under_works(directory: Path, works: Works, as_of: datetime | None, engine: Engine) -> Frame:
    creators = engine.table(pa.table({"video_id": works.ids_V, "creator_id": works.creators_V}))
    return before(engine.scan(directory / "comments.parquet"), "commented_at", as_of).join(creators, on="video_id")


def _comments_per_work(
    directory: Path, works: Works, as_of: datetime | None, engine: Engine
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the works with comments, comments of each, and those by others."""
    by_others = (nw.col("user_id") != nw.col("creator_id")).cast(nw.Int64)
    comments = _under_works(directory, works, as_of, engine).with_columns(by_others=by_others)
    table = engine.collect(comments.group_by("video_id").agg(num=nw.len(), num_others=nw.col("by_others").sum()).sort("video_id"))
    return int64(table, "video_id"), int64(table, "num"), int64(table, "num_others")


def _whole_works(num_rows_V: NDArray[np.int64], max_rows: int) -> Iterator[tuple[int, int]]:
    """First and last work of each batch."""
    first, num_rows = 0, 0
    for work, num in enumerate(num_rows_V.tolist()):
        if work > first and num_rows + num > max_rows:
            yield first, work - 1
            first, num_rows = work, 0
        num_rows += num
    if len(num_rows_V):
        yield first, len(num_rows_V) - 1


def _without_copies(comments: pa.Table) -> pa.Table:
    text = pc.utf8_trim_whitespace(comments["text"].cast(pa.large_string()))
    comments = comments.set_column(comments.schema.get_field_index("text"), "text", text)
    distinct = comments.group_by(["video_id", "text"]).aggregate([("likes", "sum"), ("commented_us", "min")])
    distinct = distinct.rename_columns({"likes_sum": "likes", "commented_us_min": "first_us"}).filter(pc.field("text") != "")
    return distinct.sort_by([("video_id", "ascending"), ("first_us", "ascending"), ("text", "ascending")])
