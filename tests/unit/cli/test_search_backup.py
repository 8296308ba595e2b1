"""`reelspace search snapshot` and `restore`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import reelspace.search
from reelspace.cli.main import app
from reelspace.core.errors import OutputOccupied, UserError


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["search", *words])
    if result.exception is not None:
        raise result.exception
    return result.stdout.strip()


def test_a_restored_collection_has_the_rows_of_the_moment_of_its_snapshot(tmp_path: Path) -> None:
    vectors, backup, other = (str(tmp_path / name) for name in ("vectors", "backup", "other"))
    with reelspace.search.open(vectors) as database:
        works = database.create_collection("works", 2)
        works.upsert([1, 2], [[1.0, 0.0], [0.0, 1.0]], [{"kind": "video"}, {"kind": "image"}])
        works.optimize()
        works.upsert([3], [[1.0, 1.0]], [{"kind": "video"}])
    id = run("snapshot", "--collection", "works", "--dir", vectors, "--into", backup)
    with reelspace.search.open(vectors) as database:
        database.collection("works").delete([1, 2, 3])
    assert "collection works" in run("restore", id, "--from", backup, "--dir", other)
    with reelspace.search.open(other) as database:
        assert [hit.id for hit in database.collection("works").search([1.0, 0.1], limit=3)] == [1, 3, 2]
    assert "collection before" in run("restore", id, "--from", backup, "--dir", vectors, "--name", "before")
    with pytest.raises(OutputOccupied):
        run("restore", id, "--from", backup, "--dir", other)


def test_a_collection_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "vectors").mkdir()
    with pytest.raises(UserError, match="nothing"):
        run("snapshot", "--collection", "nothing", "--dir", str(tmp_path / "vectors"), "--into", str(tmp_path / "backup"))
