"""A labelled table enters the store: its three kinds, and every refusal in one line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import urllib3

from reelspace.core.artifacts import Artifact, open_artifact, read_manifest_file
from reelspace.core.errors import TableError, UserError
from reelspace.core.store import open_store
from reelspace.steps import import_labelled

TEXT_ROWS = [{"video_id": 8, "label": "dog"}, {"video_id": 3, "label": "cat", "split": "held_out"}]
LIST_ROWS = [{"video_id": 8, "label": ["dog", "cat"]}, {"video_id": 3, "label": []}]


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "store"))


def imported(root: Path, uri: str, **settings: Any) -> Artifact:
    import_labelled.run(uri, str(root / "table.json"), json.dumps(settings))
    return open_artifact(open_store(str(root / "store")), read_manifest_file(root / "table.json").id)


def rows_of(table: Artifact) -> list[dict[str, Any]]:
    return pq.read_table(pa.BufferReader(table.read("labelled.parquet"))).to_pylist()


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        path.write_text("video_id,label,split\n" + "".join(f"{row['video_id']},{row['label']},{row.get('split', '')}\n" for row in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_parquet_json_lines_and_csv_of_one_content_are_one_artifact(tmp_path: Path):
    rows = [{**row, "split": row.get("split")} for row in TEXT_ROWS]
    found = [imported(tmp_path, write(tmp_path / f"my{ending}", rows)) for ending in (".parquet", ".jsonl")]
    # An empty field of CSV is null in a column that need not be there.
    found.append(imported(tmp_path, write(tmp_path / "my.csv", TEXT_ROWS)))
    assert len({artifact.id for artifact in found}) == 1
    assert rows_of(found[0]) == [
        {"video_id": 3, "label": "cat", "split": "held_out"},
        {"video_id": 8, "label": "dog", "split": None},
    ]


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_lists_stay_lists_and_may_be_empty(tmp_path: Path, ending: str):
    found = rows_of(imported(tmp_path, write(tmp_path / f"my{ending}", LIST_ROWS)))
    assert [row["label"] for row in found] == [[], ["dog", "cat"]]


def test_a_folder_of_files_is_one_table(tmp_path: Path):
    folder = tmp_path / "my"
    folder.mkdir()
    write(folder / "a.jsonl", TEXT_ROWS[:1])
    write(folder / "b.jsonl", TEXT_ROWS[1:])
    assert [row["video_id"] for row in rows_of(imported(tmp_path, str(folder)))] == [3, 8]


def test_a_table_in_an_object_store_is_read_from_there(tmp_path: Path, s3_url: str, s3_endpoint: str):
    key = s3_url.removeprefix("s3://")
    data = "".join(json.dumps(row) + "\n" for row in TEXT_ROWS).encode()
    assert urllib3.request("PUT", f"{s3_endpoint}/{key}/my.jsonl", body=data).status == 200
    assert len(rows_of(imported(tmp_path, f"{s3_url}/my.jsonl"))) == 2
    with pytest.raises(TableError, match=r"nothing at s3://.*/other\.jsonl"):
        imported(tmp_path, f"{s3_url}/other.jsonl")


def test_a_row_that_comes_twice_is_set_aside_and_counted(tmp_path: Path):
    rows = [{"video_id": number, "label": "cat"} for number in range(30)]
    table = imported(tmp_path, write(tmp_path / "my.jsonl", [*rows, rows[4]]))
    ledger = json.loads(table.read("ledger.json"))
    assert (ledger["in"], ledger["out"], ledger["reasons"]) == (31, 30, {"duplicate": 1})
    assert json.loads(table.read("quarantine/labelled.jsonl"))["row"] == 31


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"video_id": 1, "tag": "cat"}], "column tag.*the column is unknown"),
        ([{"video_id": 1}], "column label.*the column is missing"),
        ([], "it has no rows"),
        ([{"video_id": 1, "label": ""}], "column label.*expected text that is not empty"),
        ([{"video_id": -1, "label": "cat"}], "column video_id"),
        ([{"video_id": "one", "label": "cat"}], "column video_id.*row 1.*expected an integer"),
        ([{"video_id": 1, "label": "cat", "split": "test"}], "expected one of train, held_out, got 'test'"),
        ([{"video_id": 1, "label": ["cat", None]}], "a list of texts"),
        ([{"video_id": 1, "label": 3.5}], "column label"),
    ],
)
def test_a_table_that_breaks_its_schema_is_refused_in_one_line(tmp_path: Path, rows: list[dict[str, Any]], says: str):
    with pytest.raises(TableError, match=says) as caught:
        imported(tmp_path, write(tmp_path / "my.jsonl", rows))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_absent_or_damaged_file_is_refused(tmp_path: Path):
    with pytest.raises(TableError, match="no file or directory"):
        imported(tmp_path, str(tmp_path / "none.parquet"))
    (tmp_path / "my.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        imported(tmp_path, str(tmp_path / "my.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match="no file in"):
        imported(tmp_path, str(tmp_path / "empty"))
    with pytest.raises(UserError, match="extra_column"):
        imported(tmp_path, write(tmp_path / "my.jsonl", TEXT_ROWS), extra_column=["a"])
