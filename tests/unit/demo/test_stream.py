"""Days are released one by one and add up to the world."""

from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reelspace.core.errors import ArtifactMissing, SettingError
from reelspace.demo.stream import release_day, stream


def _ids(root: Path, name: str) -> set[int]:
    files = [*root.glob(f"tables/{name}/day=*/part.parquet"), *root.glob(f"tables/{name}.parquet")]
    return {value for file in files for value in pq.read_table(file, partitioning=None).column("video_id").to_pylist()}


def test_the_days_released_hold_their_works_media_and_rows(small_world_directory: Path, tmp_path: Path) -> None:
    stream(small_world_directory, tmp_path, date(2025, 1, 1), date(2025, 1, 10))
    days = {path.parent.name for path in tmp_path.glob("tables/*/day=*/part.parquet")}
    assert max(days) == "day=2025-01-10"
    assert _ids(tmp_path, "comments") <= _ids(tmp_path, "videos")
    assert {int(path.stem) for path in (tmp_path / "media").iterdir()} == _ids(tmp_path, "videos")
    assert _ids(tmp_path, "tag_judgements") == _ids(small_world_directory, "tag_judgements") & _ids(tmp_path, "videos")


def test_all_days_together_are_the_world_and_releasing_again_changes_nothing(small_world_directory: Path, tmp_path: Path) -> None:
    for _ in range(2):
        stream(small_world_directory, tmp_path, date(2025, 1, 1), date(2025, 3, 1))
        for source in sorted(small_world_directory.glob("tables/**/*.parquet")):
            released = tmp_path / source.relative_to(small_world_directory)
            one, other = (pq.read_table(path, partitioning=None) for path in (source, released))
            assert one.equals(other), source
        for source in (small_world_directory / "media").iterdir():
            assert (tmp_path / "media" / source.name).read_bytes() == source.read_bytes()


def test_truth_and_queries_are_not_released(small_world_directory: Path, tmp_path: Path) -> None:
    release_day(small_world_directory, tmp_path, date(2025, 1, 5))
    assert {path.name for path in tmp_path.iterdir()} <= {"tables", "media"}


def test_bad_requests_are_user_errors(small_world_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="no world"):
        stream(tmp_path, tmp_path / "out", date(2025, 1, 1), date(2025, 1, 2))
    with pytest.raises(SettingError, match="on or after"):
        stream(small_world_directory, tmp_path / "out", date(2025, 1, 2), date(2025, 1, 1))
