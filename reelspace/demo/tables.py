"""The input tables of a world as Arrow tables, and how they are written: partitioned by day, the same bytes every time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelspace.core.rng import rng
from reelspace.core.schemas import TABLES
from reelspace.demo.comments import Comment
from reelspace.demo.entities import VERTICALS, Placement
from reelspace.demo.hashtags import TagUse, with_tags
from reelspace.demo.latents import Work, World
from reelspace.demo.music import Track, track_of
from reelspace.demo.presets import FPS, NUM_FRAMES
from reelspace.demo.searches import SearchLog
from reelspace.demo.words import caption, cover_text

CATEGORISED_SHARE = 0.92
RIGHT_CATEGORY_SHARE = 0.85
NUM_JUDGEMENTS = 300
RATER_ERROR = 0.05
LABELLED_REGIONS_SHARE = 0.2
_NUM_RATERS = 5
_TYPES = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "text": pa.large_string(),
    "bool": pa.bool_(),
    "list<text>": pa.list_(pa.large_string()),
    "box": pa.list_(pa.float32(), 4),
}


def media_name(work: Work) -> str:
    """The file name of a work's media."""
    return f"{work.video_id:012d}.{'jpg' if work.kind == 'image' else 'mp4'}"


def videos_table(world: World, uses: dict[int, tuple[TagUse, ...]], pieces: tuple[Track, ...]) -> pa.Table:
    """The works, in the order of upload."""
    settings, works = world.settings, world.works
    rows = [_written(world, work, uses.get(work.video_id, ())) for work in works]
    music = [track_of(settings, work, pieces) for work in works]
    return _table(
        "videos",
        {
            "video_id": [work.video_id for work in works],
            "uri": [f"media/{media_name(work)}" for work in works],
            "caption": [words for words, _ in rows],
            "cover_text": [cover for _, cover in rows],
            "cover_time_ms": [_cover_time_ms(settings.seed, work) for work in works],
            "created_at": [work.created_us for work in works],
            "creator_id": [work.creator_id for work in works],
            "music_id": [None if piece is None else piece.music_id for piece in music],
            "kind": [work.kind for work in works],
            "categories": [_categories(world, work) if "categories" in settings.parts else None for work in works],
        },
    )


def search_tables(log: SearchLog) -> dict[str, pa.Table]:
    """Searches, impressions and clicks."""
    parts = {"searches": log.searches, "impressions": log.impressions, "clicks": log.clicks}
    return {name: _table(name, columns) for name, columns in parts.items()}


def comments_table(written: list[Comment]) -> pa.Table:
    """Comments in the order of time, numbered from 1."""
    return _table(
        "comments",
        {
            "comment_id": range(1, len(written) + 1),
            "video_id": [comment.video_id for comment in written],
            "user_id": [comment.user_id for comment in written],
            "text": [comment.text for comment in written],
            "commented_at": [comment.commented_us for comment in written],
            "likes": [comment.likes for comment in written],
        },
    )


def judgements_table(world: World, uses: dict[int, tuple[TagUse, ...]]) -> pa.Table:
    """300 tag uses (all, if there are fewer) as raters saw them: one in twenty is wrong. Uses before the cut-off if they suffice."""
    late = {work.video_id for work in world.works if work.is_late}
    every = [use for video_id in sorted(uses) for use in uses[video_id]]
    early = [use for use in every if use.video_id not in late]
    pool = early if len(early) >= NUM_JUDGEMENTS else every
    draw = rng(world.settings.seed, "tag judgements")
    rated = [pool[int(index)] for index in draw.permutation(len(pool))[:NUM_JUDGEMENTS]]
    wrong = draw.random(len(rated)) < RATER_ERROR
    raters = draw.integers(1, _NUM_RATERS + 1, len(rated))
    return _table(
        "tag_judgements",
        {
            "video_id": [use.video_id for use in rated],
            "tag": [use.tag for use in rated],
            "relevant": [use.relevant != bool(error) for use, error in zip(rated, wrong, strict=True)],
            "rater": [f"rater-{number}" for number in raters],
        },
    )


def regions_table(world: World, placed: dict[int, tuple[Placement, ...]]) -> pa.Table:
    """Boxes of the entities in a fifth of the works that have some."""
    rows: list[tuple[int, int, list[float], str, str]] = []
    for video_id in sorted(placed):
        draw = rng(world.settings.seed, "regions", video_id)
        if draw.random() < LABELLED_REGIONS_SHARE:
            time_ms = int(draw.integers(NUM_FRAMES)) * 1_000 // FPS
            rows += [(video_id, time_ms, [float(x) for x in item.box], VERTICALS[item.vertical], item.name) for item in placed[video_id]]
    still = {work.video_id for work in world.works if work.kind == "image"}
    names = ("video_id", "time_ms", "box", "vertical", "instance")
    columns: dict[str, list[object]] = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    columns["time_ms"] = [0 if row[0] in still else row[1] for row in rows]
    return _table("regions", columns)


def write_table(path: Path, table: pa.Table) -> None:
    """Write one Parquet file; equal tables give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def write_by_day(root: Path, name: str, table: pa.Table, times_us: Sequence[object]) -> None:
    """Write `<root>/<name>/day=YYYY-MM-DD/part.parquet` for every day that has rows."""
    days = pc.strftime(pa.array(times_us, type=pa.timestamp("us", tz="UTC")), format="%Y-%m-%d").to_numpy(zero_copy_only=False)
    for day in sorted(set(days.tolist())):
        write_table(root / name / f"day={day}" / "part.parquet", table.filter(pa.array(days == day)))


def _table(name: str, columns: Mapping[str, Sequence[object]]) -> pa.Table:
    schema = TABLES[name]
    fields = [pa.field(column.name, _TYPES[column.type], nullable=not column.required) for column in schema.columns]
    arrays = [pa.array(columns[field.name], type=field.type) for field in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _written(world: World, work: Work, uses: tuple[TagUse, ...]) -> tuple[str, str | None]:
    """The caption with its tags, and the text on the cover."""
    seed, topic = world.settings.seed, world.topics[work.topic]
    cover = cover_text(seed, work, topic) if "cover_text" in world.settings.parts else None
    return with_tags(world, work, caption(seed, work, topic), uses), cover


def _cover_time_ms(seed: int, work: Work) -> int:
    return 0 if work.kind == "image" else int(rng(seed, "cover time", work.video_id).integers(NUM_FRAMES)) * 1_000 // FPS


def _categories(world: World, work: Work) -> list[str] | None:
    """What the platform's own classifier says: area and kind, right for 85 % of works, the area alone for some."""
    draw = rng(world.settings.seed, "categories", work.video_id)
    present, right, depth = draw.random(3)
    if present >= CATEGORISED_SHARE:
        return None
    named = world.topics[work.topic]
    if right >= RIGHT_CATEGORY_SHARE:
        others = [topic for topic in world.topics if topic.kind_name != named.kind_name]
        named = others[int(draw.integers(len(others)))]
    return [named.area_name] if depth < 0.1 else [named.area_name, named.kind_name]
