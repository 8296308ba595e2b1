"""The input tables: columns, types and what makes a row unique.

Types: `int64` ids and counts, `int32` small numbers, `timestamp` microseconds in UTC, `text`, `bool`, `list<text>`,
`box` four float32 (x0, y0, x1, y1 in pixels). Numbers are never negative.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a required one must be present and without nulls; a required text may be empty (null reads as "") only if `blank`."""

    name: str
    type: str
    required: bool = True
    blank: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One table; `unique` names the columns no two rows share (none if empty), `order` those that sort the normalised table."""

    name: str
    columns: tuple[Column, ...]
    unique: tuple[str, ...]
    order: tuple[str, ...]

    def column(self, name: str) -> Column:
        """Give the column of that name."""
        return next(column for column in self.columns if column.name == name)


MEDIA_KINDS: Final = ("video", "image", "sound")

_VIDEOS = TableSchema(
    name="videos",
    columns=(
        Column("video_id", "int64"),
        Column("uri", "text"),
        Column("caption", "text", blank=True),
        Column("cover_text", "text", required=False),
        Column("cover_time_ms", "int32", required=False),
        Column("created_at", "timestamp"),
        Column("creator_id", "int64", required=False),
        Column("music_id", "int64", required=False),
        Column("kind", "text", required=False, choices=MEDIA_KINDS),
        Column("categories", "list<text>", required=False),
    ),
    unique=("video_id",),
    order=("video_id",),
)
_SEARCHES = TableSchema(
    name="searches",
    columns=(
        Column("search_id", "int64"),
        Column("user_id", "int64"),
        Column("query", "text", blank=True),
        Column("searched_at", "timestamp"),
        Column("reference_video_id", "int64", required=False),
    ),
    unique=("search_id",),
    order=("search_id",),
)
_IMPRESSIONS = TableSchema(
    name="impressions",
    columns=(Column("search_id", "int64"), Column("video_id", "int64"), Column("position", "int32")),
    unique=("search_id", "video_id", "position"),
    order=("search_id", "position", "video_id"),
)
_CLICKS = TableSchema(
    name="clicks",
    columns=(
        Column("search_id", "int64"),
        Column("video_id", "int64"),
        Column("clicked_at", "timestamp"),
        Column("dwell_ms", "int32"),
        Column("returned_within_ms", "int32", required=False),
    ),
    unique=("search_id", "video_id", "clicked_at"),
    order=("search_id", "video_id", "clicked_at"),
)
_COMMENTS = TableSchema(
    name="comments",
    columns=(
        Column("comment_id", "int64"),
        Column("video_id", "int64"),
        Column("user_id", "int64"),
        Column("text", "text", blank=True),
        Column("commented_at", "timestamp"),
        Column("likes", "int64"),
    ),
    unique=("comment_id",),
    order=("comment_id",),
)
_TAG_JUDGEMENTS = TableSchema(
    name="tag_judgements",
    columns=(Column("video_id", "int64"), Column("tag", "text"), Column("relevant", "bool"), Column("rater", "text")),
    unique=("video_id", "tag", "rater"),
    order=("video_id", "tag", "rater"),
)
_REGIONS = TableSchema(
    name="regions",
    columns=(
        Column("video_id", "int64"),
        Column("time_ms", "int32"),
        Column("box", "box"),
        Column("vertical", "text"),
        Column("instance", "text", required=False),
    ),
    unique=(),
    order=("video_id", "time_ms", "vertical", "instance"),
)

TABLES: Final[dict[str, TableSchema]] = {
    schema.name: schema for schema in (_VIDEOS, _SEARCHES, _IMPRESSIONS, _CLICKS, _COMMENTS, _TAG_JUDGEMENTS, _REGIONS)
}
