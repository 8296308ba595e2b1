"""`reelspace run`: the journey on a user's own tables."""

from pathlib import Path
from typing import Annotated

import typer

Table = Annotated[Path | None, typer.Option(help="Parquet or JSONL, one file or a directory partitioned by day.")]


def run(
    videos: Annotated[Path, typer.Option(help="The table of works: Parquet or JSONL, one file or a directory partitioned by day.")],
    out: Annotated[Path, typer.Option(help="Output directory.")],
    searches: Table = None,
    impressions: Table = None,
    clicks: Table = None,
    comments: Table = None,
    tag_judgements: Table = None,
    regions: Table = None,
    preset: Annotated[str, typer.Option(help="Journey preset: tiny.")] = "tiny",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override a setting, e.g. pretrain.steps=200.")] = None,
) -> None:
    """Train on your own media and tables, publish the model and the index, and answer queries."""
    from reelspace.demo.journey import run_own

    tables = {
        "videos": videos,
        "searches": searches,
        "impressions": impressions,
        "clicks": clicks,
        "comments": comments,
        "tag_judgements": tag_judgements,
        "regions": regions,
    }
    run_own({name: path for name, path in tables.items() if path is not None}, out, preset=preset, overrides=settings or [])
