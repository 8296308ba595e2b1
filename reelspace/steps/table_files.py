"""The files of the input tables: where they lie, of which kind they are, and how they are opened."""

import difflib
import gzip
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from reelspace.core.errors import TableError
from reelspace.core.schemas import TABLES

PARQUET: Final = ".parquet"
JSONL: Final = ".jsonl"
CSV: Final = ".csv"
_GZIP = ".gz"
_ENDINGS: Final = (PARQUET, JSONL, CSV, JSONL + _GZIP, CSV + _GZIP)
_PARTITION = "day="


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of a table.

    `label` is its path from the place it was found in, equal wherever that lies; `partitioned` tells that a folder `day=...`
    gives the day, so a column of that name is dropped.
    """

    table: str
    path: Path
    label: str = ""
    partitioned: bool = False

    @property
    def kind(self) -> str:
        """PARQUET, JSONL or CSV."""
        return _ending(self.path).removesuffix(_GZIP)

    def open(self) -> BinaryIO:
        """Open its bytes, unpacked."""
        try:
            return cast(BinaryIO, gzip.open(self.path)) if self.path.suffix == _GZIP else self.path.open("rb")
        except PermissionError as error:
            raise self.error(f"it may not be read: {error.strerror}") from error

    def error(self, what: str, column: str | None = None, row: int | None = None) -> TableError:
        """Make the one-line error of this file."""
        where = [f"table {self.table}", *([f"column {column}"] if column else []), f"file {self.path}", *([f"row {row}"] if row else [])]
        return TableError(f"{', '.join(where)}: {what}")


def find_tables(root: Path | None, paths: Mapping[str, str]) -> dict[str, tuple[TableFile, ...]]:
    """Find the files of every table.

    Args:
        root: a directory that holds `tables/<name>.parquet` (or .jsonl, .csv) or `tables/<name>/...`; None if there is none.
        paths: table name -> a file or a directory of the user's own, taken before what lies in `root`.

    Raises:
        TableError: a name is no table's, a table lies there twice, or `videos` is missing.
    """
    places = {**_places_below(root), **_places_given(paths)} if root else _places_given(paths)
    found = {name: files_of(name, path) for name, path in places.items()}
    if "videos" not in found:
        where = f"{root}/tables/videos.parquet, videos.jsonl, videos.csv or videos/" if root else "no path is given for it"
        raise TableError(f"table videos is missing: {where} was expected")
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """Give the words that name the nearest known name, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"the nearest is {close[0]}" if close else f"known are {', '.join(names)}"


def files_of(table: str, path: Path) -> tuple[TableFile, ...]:
    """Give the files of one table: the path itself, or what lies in that directory.

    Raises:
        TableError: there is nothing, or a file is of no kind we read.
    """
    return tuple(_files(table, path))


def _places_below(root: Path) -> dict[str, Path]:
    folder = root / "tables"
    if not folder.is_dir():
        raise TableError(f"no tables in {root}: expected a directory {folder} with videos.parquet, videos.jsonl, videos.csv or videos/")
    places: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if _is_hidden(path):
            continue
        name = path.name if path.is_dir() else path.name.removesuffix(_ending(path) or path.suffix)
        _check_name(name, path)
        if name in places:
            raise TableError(f"table {name} is there twice: {places[name]} and {path}")
        places[name] = path
    return places


def _places_given(paths: Mapping[str, str]) -> dict[str, Path]:
    for name, path in paths.items():
        _check_name(name, path)
    return {name: Path(path) for name, path in paths.items()}


def _check_name(name: str, path: Path | str) -> None:
    if name not in TABLES:
        raise TableError(f"{path} is no table of ours: {nearest(name, TABLES)}")


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "_"))


def _ending(path: Path) -> str:
    """Give the ending that tells the kind, empty if it is none of ours."""
    return next((ending for ending in _ENDINGS if path.name.endswith(ending)), "")


def _files(table: str, path: Path) -> list[TableFile]:
    if path.is_dir():
        return [file for entry in sorted(path.iterdir()) if not _is_hidden(entry) for file in _directory_entry(table, entry, path.parent)]
    if not path.is_file():
        raise TableError(f"table {table}: no file or directory {path}")
    return [_file(table, path, path.parent, partitioned=False)]


def _directory_entry(table: str, entry: Path, place: Path) -> list[TableFile]:
    if not entry.is_dir():
        return [_file(table, entry, place, partitioned=False)]
    if not entry.name.startswith(_PARTITION):
        raise TableError(f"table {table}: directory {entry} is no partition, expected a name such as {_PARTITION}2025-01-31")
    return [_file(table, path, place, partitioned=True) for path in sorted(entry.iterdir()) if not _is_hidden(path)]


def _file(table: str, path: Path, place: Path, *, partitioned: bool) -> TableFile:
    if not _ending(path) or not path.is_file():
        raise TableError(f"table {table}: {path} is no file of a kind we read, expected {', '.join(_ENDINGS)}")
    return TableFile(table, path, path.relative_to(place).as_posix(), partitioned)
