"""Write a whole world to disk: tables, media, evaluation queries and the truth."""

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from reelspace.core.digest import code_digest
from reelspace.core.errors import OutputOccupied, as_reelspace_error
from reelspace.core.settings import identity
from reelspace.demo.ceilings import ceilings
from reelspace.demo.comments import comments
from reelspace.demo.entities import placements
from reelspace.demo.filming import filming
from reelspace.demo.hashtags import tag_uses
from reelspace.demo.latents import World, plan
from reelspace.demo.music import tracks
from reelspace.demo.phrasings import evaluation_phrasings
from reelspace.demo.presets import CUTOFF, DAY_ZERO, NUM_DAYS, WorldSettings
from reelspace.demo.searches import SearchLog, search_log
from reelspace.demo.tables import (
    comments_table,
    judgements_table,
    regions_table,
    search_tables,
    videos_table,
    write_by_day,
    write_table,
)
from reelspace.demo.truth import Crowd, write_truth


def generate(settings: WorldSettings, out: Path) -> None:
    """Generate a world into `out`, which appears complete or not at all.

    A world that the same settings and the same code left there before is kept as it is.

    Raises:
        OutputOccupied: `out` holds anything else.
    """
    facts = _facts(settings)
    if _is_same_world(out, facts):
        return
    unfinished = out.with_name(f".{out.name}.unfinished-{os.getpid()}")
    try:
        _write(settings, unfinished, facts)
        os.rename(unfinished, out)
    except OSError as error:
        raise as_reelspace_error(error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _facts(settings: WorldSettings) -> dict[str, Any]:
    return {
        "format_version": 1,
        "code": code_digest("reelspace.demo.generate", roots=["reelspace.demo.studio"]),
        "settings": identity(settings),
        "day_zero": DAY_ZERO.isoformat(),
        "num_days": NUM_DAYS,
        "cutoff": CUTOFF.isoformat(),
    }


def _is_same_world(out: Path, facts: dict[str, Any]) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        out.parent.mkdir(parents=True, exist_ok=True)
        return False
    known = out / "world.json"
    if known.is_file() and orjson.loads(known.read_bytes()) == facts:
        return True
    raise OutputOccupied(f"expected {out} to be absent, empty or a world of the same settings and code: remove it or choose another")


def _write(settings: WorldSettings, root: Path, facts: dict[str, Any]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    world = plan(settings)
    with filming(settings, root / "media") if "media" in settings.parts else nullcontext():
        _write_tables(world, root)
    (root / "world.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def _write_tables(world: World, root: Path) -> None:
    parts = world.settings.parts
    placed, pieces, uses = placements(world), tracks(world.settings), tag_uses(world)
    crowd = Crowd(
        tag_uses=uses,
        searches=search_log(world) if "searches" in parts else SearchLog(),
        comments=comments(world) if "comments" in parts else [],
    )
    tables = root / "tables"
    write_by_day(tables, "videos", videos_table(world, uses, pieces), [work.created_us for work in world.works])
    if "searches" in parts:
        _write_searches(tables, crowd.searches)
    if "comments" in parts:
        write_by_day(tables, "comments", comments_table(crowd.comments), [comment.commented_us for comment in crowd.comments])
    if "tag_judgements" in parts and uses:
        write_table(tables / "tag_judgements.parquet", judgements_table(world, uses))
    if "regions" in parts and placed:
        write_table(tables / "regions.parquet", regions_table(world, placed))
    _write_queries(world, root / "queries.parquet")
    write_truth(root / "truth", world, crowd, placed, pieces)
    figures = ceilings(world, uses)
    (root / "truth" / "ceilings.json").write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


def _write_searches(tables: Path, log: SearchLog) -> None:
    times: dict[str, Sequence[object]] = {
        "searches": log.searches["searched_at"],
        "impressions": log.impression_times_us,
        "clicks": log.clicks["clicked_at"],
    }
    for name, table in search_tables(log).items():
        write_by_day(tables, name, table, times[name])


def _write_queries(world: World, path: Path) -> None:
    rows = evaluation_phrasings(world.topics)
    columns = {name: [getattr(row, name) for row in rows] for name in ("text", "language", "topic", "seen")}
    write_table(path, pa.table({"query_id": range(1, len(rows) + 1), **columns}))
