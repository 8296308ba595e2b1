"""Release a world's days one by one into another directory, as a platform would deliver them."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelspace.core.errors import ArtifactMissing, SettingError
from reelspace.core.log import log
from reelspace.demo.tables import write_table

_BY_WORK = ("tag_judgements", "regions")  # tables without a time: a row is released with its work


def stream(world: Path, out: Path, first: date, last: date) -> None:
    """Release the days `first` to `last`, both included, in order; each appears complete, its media before its rows.

    Days that `out` already holds stay as they are, so an interrupted stream goes on where it stopped.

    Raises:
        ArtifactMissing: `world` is not a generated world.
        SettingError: the days are in the wrong order.
    """
    if not (world / "world.json").is_file():
        raise ArtifactMissing(f"expected a generated world at {world}, found no world.json; write one with `reelspace demo generate`")
    if last < first:
        raise SettingError(f"expected the last day on or after the first, got {first} to {last}")
    for number in range((last - first).days + 1):
        released = release_day(world, out, first + timedelta(days=number))
        log("day released", day=str(first + timedelta(days=number)), works=released)


def release_day(world: Path, out: Path, day: date) -> int:
    """Release one day; gives the number of works uploaded on it."""
    folder = f"day={day.isoformat()}"
    works = _read(world / "tables" / "videos" / folder / "part.parquet")
    uris = [] if works is None else works.column("uri").to_pylist()
    for uri in uris:
        if (world / uri).is_file():
            _copy(world / uri, out / uri)
    for table in sorted((world / "tables").glob(f"*/{folder}/part.parquet")):
        _copy(table, out / table.relative_to(world))
    if works is not None:
        for name in _BY_WORK:
            _extend(world / "tables" / f"{name}.parquet", out / "tables" / f"{name}.parquet", works.column("video_id"))
    return len(uris)


def _read(path: Path) -> pa.Table | None:
    return pq.read_table(path, partitioning=None) if path.is_file() else None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.copyfile(source, unfinished)
    unfinished.rename(target)


def _extend(source: Path, target: Path, video_ids: pa.ChunkedArray) -> None:
    """Add the rows of these works that the target lacks."""
    every = _read(source)
    if every is None:
        return
    known = _read(target)
    released = video_ids.combine_chunks()
    if known is not None:
        released = pa.concat_arrays([released, known.column("video_id").combine_chunks()])
    unfinished = target.with_name(f".{target.name}.unfinished")
    write_table(unfinished, every.filter(pc.is_in(every.column("video_id"), value_set=released)))
    unfinished.rename(target)
