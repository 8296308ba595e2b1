"""What is true about a world, written to truth/: only `evaluate` may read it.

Graded relevance between two works (`relevance`): 3 same sub-topic, 2 same topic, 1 same area, 0 otherwise; a work's twin, re-upload
and series therefore have at least 2. Twins: `twin_of` names the original; both works of a pair are on the same side of the cut-off
day, and the twin score is measured on the pairs after it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from reelspace.demo.backgrounds import BACKGROUNDS
from reelspace.demo.comments import Comment
from reelspace.demo.entities import VERTICALS, Placement
from reelspace.demo.hashtags import TagUse
from reelspace.demo.latents import MOODS, STYLES, World
from reelspace.demo.music import Track
from reelspace.demo.searches import SearchLog
from reelspace.demo.tables import write_table

_INT, _REAL, _TEXT = pa.int64(), pa.float64(), pa.string()


@dataclass(frozen=True, slots=True)
class Crowd:
    """Everything the crowd of a world left behind; an absent part is empty."""

    tag_uses: dict[int, tuple[TagUse, ...]]
    searches: SearchLog
    comments: list[Comment]


def relevance(topic: int, subtopic: int, other_topic: int, other_subtopic: int) -> int:
    """Graded relevance of one work to another: 3, 2, 1 or 0."""
    if topic == other_topic:
        return 3 if subtopic == other_subtopic else 2
    return 1 if topic // 4 == other_topic // 4 else 0


def write_truth(directory: Path, world: World, crowd: Crowd, placed: dict[int, tuple[Placement, ...]], pieces: tuple[Track, ...]) -> None:
    """Write the truth of a world as Parquet files."""
    write_table(directory / "works.parquet", _works(world))
    write_table(directory / "topics.parquet", _topics(world))
    uses = [use for video_id in sorted(crowd.tag_uses) for use in crowd.tag_uses[video_id]]
    write_table(directory / "tag_uses.parquet", _rows(uses, {"video_id": _INT, "tag": _TEXT, "relevant": pa.bool_(), "noise_kind": _TEXT}))
    write_table(directory / "query_pairs.parquet", _rows(crowd.searches.pairs, {"video_id": _INT, "query": _TEXT, "wrong": pa.bool_()}))
    write_table(directory / "randomised_positions.parquet", _rows(crowd.searches.randomised, {"search_id": _INT, "position": _INT}))
    write_table(directory / "comments.parquet", _comments(crowd.comments))
    write_table(directory / "entities.parquet", _entities(placed))
    write_table(directory / "musics.parquet", _rows(pieces, {"music_id": _INT, "mood": _INT, "energy": _REAL, "tempo_bpm": _REAL}))


def _works(world: World) -> pa.Table:
    works = world.works
    plain = (
        *("video_id", "topic", "subtopic", "area", "newborn", "energy", "quality", "composition", "kind", "sound", "sound_topic"),
        *("language", "popularity_rank", "creator_id", "day"),
    )
    columns: dict[str, pa.Array] = {name: pa.array([getattr(work, name) for work in works]) for name in plain}
    columns["topic_name"] = pa.array([world.topics[work.topic].name for work in works])
    columns["style"] = pa.array([STYLES[work.style] for work in works])
    columns["mood"] = pa.array([MOODS[work.mood] for work in works])
    columns["background"] = pa.array([work.background for work in works])
    columns["background_name"] = pa.array([BACKGROUNDS[work.background].en for work in works])
    for name in ("twin_of", "near_duplicate_of", "series"):
        columns[name] = pa.array([getattr(work, name) for work in works], type=_INT)
    columns["decodable"] = pa.array([work.broken is None for work in works])
    columns["broken"] = pa.array([work.broken for work in works], type=_TEXT)
    return pa.table(columns)


def _topics(world: World) -> pa.Table:
    start = dict(world.settings.newborn_days)
    rows = world.topics
    return pa.table(
        {
            "topic": [row.topic for row in rows],
            "name": [row.name for row in rows],
            "area": [row.area for row in rows],
            "area_name": [row.area_name for row in rows],
            "kind_name": [row.kind_name for row in rows],
            "newborn": [row.topic in start for row in rows],
            "start_day": [start.get(row.topic, 0) for row in rows],
            "spellings": [list(row.spellings) for row in rows],
        }
    )


def _comments(written: list[Comment]) -> pa.Table:
    kinds = pa.array([item.kind for item in written], type=_TEXT)
    return pa.table({"comment_id": pa.array(range(1, len(written) + 1), type=_INT), "kind": kinds})


def _entities(placed: dict[int, tuple[Placement, ...]]) -> pa.Table:
    rows = [item for video_id in sorted(placed) for item in placed[video_id]]
    return pa.table(
        {
            "video_id": pa.array([item.video_id for item in rows], type=_INT),
            "vertical": pa.array([VERTICALS[item.vertical] for item in rows], type=_TEXT),
            "instance": pa.array([item.name for item in rows], type=_TEXT),
            "box": pa.array([list(item.box) for item in rows], type=pa.list_(pa.int32(), 4)),
        }
    )


def _rows(items: Iterable[object], types: dict[str, pa.DataType]) -> pa.Table:
    rows = list(items)
    return pa.table({name: pa.array([getattr(item, name) for item in rows], type=kind) for name, kind in types.items()})
