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
from reelspace.core.locks import locked_directory
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

    A world that the same settings and the same code left there before is kept as it is; one of the same settings and older code is
    replaced.

    Raises:
        OutputOccupied: `out` holds anything else, or another process generates into it.
        DiskFull: no space is left.
    """
    facts = _facts(settings)
    _refuse_strangers(out, facts)
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        with locked_directory(unfinished):
            _fill(settings, out, unfinished, facts)
    except OSError as error:
        raise as_reelspace_error(error) from error


def _fill(settings: WorldSettings, out: Path, unfinished: Path, facts: dict[str, Any]) -> None:
    if _is_current(out, facts):
        shutil.rmtree(unfinished)
        return
    try:
        _write(settings, unfinished, facts)
        _exchange(unfinished, out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _facts(settings: WorldSettings) -> dict[str, Any]:
    return {
        "format_version": 1,
        "code": code_digest("reelspace.demo.generate", roots=["reelspace.demo.studio"]),
        "settings": identity(settings),
        "day_zero": DAY_ZERO.isoformat(),
        "num_days": NUM_DAYS,
        "cutoff": CUTOFF.isoformat(),
    }


def _is_current(out: Path, facts: dict[str, Any]) -> bool:
    known = out / "world.json"
    return known.is_file() and bool(orjson.loads(known.read_bytes()) == facts)


def _refuse_strangers(out: Path, facts: dict[str, Any]) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    known = out / "world.json"
    if not known.is_file() or orjson.loads(known.read_bytes()).get("settings") != facts["settings"]:
        raise OutputOccupied(f"expected {out} to be absent, empty or a world of the same settings: remove it or choose another directory")


def _write(settings: WorldSettings, root: Path, facts: dict[str, Any]) -> None:
    for left_over in root.iterdir():
        if left_over.is_dir():
            shutil.rmtree(left_over)
    world = plan(settings)
    with filming(settings, root / "media") if "media" in settings.parts else nullcontext():
        _write_tables(world, root)
    (root / "world.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def _exchange(unfinished: Path, out: Path) -> None:
    """Put the finished world in the place of an older one or of nothing."""
    if out.exists():
        old = unfinished / "old"
        os.rename(out, old)
        shutil.rmtree(old)
    os.rename(unfinished, out)
    (out / ".lock").unlink()


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
