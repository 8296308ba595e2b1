"""What earlier versions stored is opened, and answers as it did; what a later one stored is refused, and not a byte of it changes."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reelspace import search
from reelspace.core.errors import CorruptArtifact
from reelspace.search.storage.entries import seal, unseal

from .write import KINDS, described

FOLDER = Path(__file__).resolve().parent
VERSIONS = sorted(one.name for one in FOLDER.iterdir() if (one / "expected.json").exists())


@pytest.fixture(params=VERSIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER / request.param / "store", tmp_path / "store"))


def test_there_is_something_old() -> None:
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mapped", [False, True])
def test_what_earlier_versions_stored_answers_as_it_did(version: str, mapped: bool, tmp_path: Path) -> None:
    shutil.copytree(FOLDER / version / "store", tmp_path / "store")
    expected = json.loads((FOLDER / version / "expected.json").read_text())
    with search.open(str(tmp_path / "store"), mapped=mapped) as database:
        assert sorted(database.names) == sorted(KINDS)
        for kind in KINDS:
            found = json.loads(json.dumps(described(database.collection(kind), kind), default=str))
            assert found["rows"] == expected[kind]["rows"]
            assert found["even"] == expected[kind]["even"]
            for hits, before in zip(found["hits"], expected[kind]["hits"], strict=True):
                assert [id for id, _ in hits] == [id for id, _ in before]
                assert [score for _, score in hits] == pytest.approx([score for _, score in before], abs=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_earlier_versions_stored_can_be_written_to_and_built_anew(version: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER / version / "store", tmp_path / "store")
    with search.open(str(tmp_path / "store")) as database:
        made = database.collection("ivf_sq8")
        before = made.num_rows
        made.upsert([5000], {"": [[1.0] * 8], "small": [[1.0] * 3]})
        made.optimize()
        assert made.num_rows == before + 1
        assert made.search([1.0] * 8, 1)[0].id == 5000


def later_collection(collection: Path) -> None:
    change(collection / "collection.json")


def later_manifest(collection: Path) -> None:
    """Of a generation that the pointer names with its hash."""
    pointer = collection / "current.json"
    current = json.loads(pointer.read_text())
    state = current["shards"]["1"]
    path = collection / "shards" / "1" / "generations" / str(state["generation"]) / "manifest.json"
    change(path)
    state["manifest_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    pointer.write_text(json.dumps(current))


def later_log(collection: Path) -> None:
    path = max((collection / "shards" / "0" / "log").glob("*.arrow"))
    key = str(path.relative_to(collection.parents[1]))
    with pa.ipc.open_stream(unseal(key, path.read_bytes())) as reader:
        table = reader.read_all()
    sink = pa.BufferOutputStream()
    schema = table.schema.with_metadata({b"reelspace.log": b"2"})
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(table.cast(schema))
    path.write_bytes(seal(key, sink.getvalue().to_pybytes()))


def change(path: Path) -> None:
    facts: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"format_version": facts["format_version"] + 1}))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize("make_later", [later_collection, later_manifest, later_log])
def test_what_a_later_version_stored_is_refused_and_left_as_it_is(store: Path, make_later: Any) -> None:
    [collection] = (store / "collections").glob("ivf_sq8@*")
    make_later(collection)
    before = contents(store)
    with search.open(str(store)) as database, pytest.raises(CorruptArtifact, match=r"version"):
        database.collection("ivf_sq8").count()
    assert contents(store) == before
