import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.errors import OutputOccupied, TableError, UserError
from reelspace.search.tables.batch import Batch
from reelspace.search.tables.parquet import Columns, read_parquet
from reelspace.search.tables.parquet_writer import write_parquet

from .batches import DIMENSION, batch, expected, in_parts, plain, uuid, vectors

LISTS = pa.list_(pa.float32(), DIMENSION)
READS = """
import sys
from pathlib import Path
import pyarrow as pa
from reelspace.search.tables.parquet import read_parquet
print(sum(len(one.ids) for one in read_parquet(Path(sys.argv[1]), batch_rows=500)), pa.default_memory_pool().max_memory())
"""
PAYLOADS: list[dict[str, Any]] = [{"a": [1, {"b": None}], "": "é"}, {}, {"at": "2024-01-02T03:04:05Z"}, {"big": 2**64 - 1}, {"x": 0.1}]


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def lists(rows: Any, kind: pa.DataType = LISTS) -> pa.Array:
    return pa.array([None if row is None else list(row) for row in rows], kind)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "v.parquet"


def test_what_is_written_is_read_again_with_ids_of_both_kinds_and_several_vectors(path: Path) -> None:
    ids, rows, sounds = [0, uuid(7), 2**64 - 1, uuid(2**128 - 1), 5], vectors(5), vectors(5, 3, seed=1)
    whole = batch(ids, rows, PAYLOADS)
    parts = [Batch(whole.ids[i : i + 2], {"": rows[i : i + 2], "sound": sounds[i : i + 2]}, whole.payloads[i : i + 2]) for i in (0, 2, 4)]
    assert write_parquet(path, parts, {"": DIMENSION, "sound": 3}) == 5
    batches = read_parquet(path, batch_rows=4)
    assert batches.num_rows == 5
    wanted = {
        id: ({"": rows[row].tolist(), "sound": sounds[row].tolist()}, payload)
        for row, (id, payload) in enumerate(zip(ids, PAYLOADS, strict=True))
    }
    assert plain(batches) == wanted
    # The very bytes: a payload that is not parsed cannot change.
    assert [payload for one in batches for payload in one.payloads] == whole.payloads
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("id_type", "id"), [("integer", lambda number: 2**64 - 1 - number), ("uuid", uuid), ("text", uuid)])
@pytest.mark.parametrize("num_rows", [0, 4])
def test_ids_of_one_type_are_columns_of_it(id_type: Any, id: Any, num_rows: int, path: Path) -> None:
    ids, rows = [id(number) for number in range(num_rows)], vectors(num_rows)
    write_parquet(path, in_parts(ids, rows), {"": DIMENSION}, id_type=id_type)
    assert plain(read_parquet(path)) == expected(ids, rows)
    assert pq.read_schema(path).field("id").type == {"integer": pa.uint64(), "uuid": pa.binary(16), "text": pa.string()}[id_type]


def test_an_id_of_another_type_ends_the_export_and_leaves_nothing(path: Path) -> None:
    with pytest.raises(UserError, match=f"of the type integer, got {uuid(3)}; write ids as text"):
        write_parquet(path, [batch([1], vectors(1)), batch([uuid(3)], vectors(1))], {"": DIMENSION}, id_type="integer")
    assert list(path.parent.iterdir()) == []
    path.touch()
    with pytest.raises(OutputOccupied, match="exists"):
        write_parquet(path, [], {"": DIMENSION})


def test_vectors_that_would_share_a_column_are_refused(path: Path) -> None:
    for dimensions in ({"": 2, "vector": 2}, {"id": 2}, {"payload": 2}):
        with pytest.raises(UserError, match="cannot be a column"):
            write_parquet(path, [], dimensions)


@pytest.mark.parametrize("value", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("make", [pa.list_, pa.large_list, lambda value: pa.list_(value, DIMENSION)])
def test_lists_of_floats_are_vectors_across_row_groups(value: pa.DataType, make: Any, path: Path) -> None:
    rows = vectors(7).astype({16: np.float16, 32: np.float32, 64: np.float64}[value.bit_width])
    pq.write_table(pa.table({"id": pa.array(range(7)), "vector": lists(rows, make(value))}), path, row_group_size=2)
    batches = list(read_parquet(path, batch_rows=3))
    assert plain(batches) == expected(list(range(7)), rows.astype(np.float32))
    assert max(len(one.ids) for one in batches) <= 3


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([1, 2**63 - 1, 0], pa.int64()),
        ([1, 2, 3], pa.int8()),
        (["1", str(uuid(9)), str(2**64 - 1)], pa.string()),
        (["1", str(uuid(9)).upper(), "3"], pa.large_string()),
        (["1", "2", "3"], pa.dictionary(pa.int8(), pa.string())),
        ([uuid(9).bytes, bytes(16), b"\xff" * 16], pa.binary(16)),
        ([uuid(9).bytes, bytes(16), b"\xff" * 16], pa.binary()),
    ],
)
def test_ids_are_integers_or_uuids_in_any_spelling(ids: list[Any], kind: pa.DataType, path: Path) -> None:
    write(path, id=pa.array(ids, kind), vector=lists(vectors(3)))
    wanted = [UUID(bytes=id) if isinstance(id, bytes) else id if isinstance(id, int) else UUID(id) if "-" in id else int(id) for id in ids]
    assert [id for one in read_parquet(path) for id in one.ids] == wanted


def test_columns_become_payload_and_nulls_are_left_out(path: Path) -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)
    columns: dict[str, pa.Array] = {
        "text": pa.array(["é", None]),
        "tags": pa.array([["a", None], []]),
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "small": pa.array([1.5, None], pa.float16()),
        "big": pa.array([2**64 - 1, 0], pa.uint64()),
        "deep": pa.array([{"at": moment, "n": 1}, None], pa.struct([("at", pa.timestamp("ns", "UTC")), ("n", pa.int8())])),
        "zoned": pa.array([moment, None], pa.timestamp("us", "Asia/Shanghai")),
        "naive": pa.array([1_000, None], pa.timestamp("ms")),
        "fine": pa.array([1_999, None], pa.timestamp("ns")),
        "day": pa.array([date(2024, 2, 29), None]),
        "clock": pa.array([time(3, 4, 5), None]),
        "nothing": pa.nulls(2),
    }
    write(path, id=pa.array([1, 2]), vector=lists(vectors(2)), **columns)
    first, second = (payload for _, payload in plain(read_parquet(path)).values())
    assert first == {
        "text": "é",
        "tags": ["a", None],
        "kind": "x",
        "small": 1.5,
        "big": 2**64 - 1,
        "deep": {"at": "2024-02-29T23:59:59.123456Z", "n": 1},
        "zoned": "2024-02-29T23:59:59.123456Z",
        "naive": "1970-01-01T00:00:01Z",
        "fine": "1970-01-01T00:00:00.000001Z",
        "day": "2024-02-29",
        "clock": "03:04:05",
    }
    assert second == {"tags": [], "kind": "y", "big": 0}


def test_columns_beside_whole_payloads_add_keys_and_may_not_repeat_one(path: Path) -> None:
    write(path, id=pa.array([1, 2]), vector=lists(vectors(2)), payload=pa.array(['{"a": 1}', None]), b=pa.array([2, 3]))
    assert [payload for _, payload in plain(read_parquet(path)).values()] == [{"a": 1, "b": 2}, {"b": 3}]
    assert [payload for _, payload in plain(read_parquet(path, Columns(payload=None))).values()] == [
        {"payload": '{"a": 1}', "b": 2},
        {"b": 3},
    ]
    write(path, id=pa.array([1, 2]), vector=lists(vectors(2)), payload=pa.array(["{}", '{"b": 1}']), b=pa.array([2, 3]))
    with pytest.raises(TableError, match=r"column 'payload': row 1: key 'b' is a column, too"):
        list(read_parquet(path))


def test_columns_are_found_by_the_names_that_are_given(path: Path) -> None:
    rows, others = vectors(2), vectors(2, seed=1)
    write(path, video_id=pa.array([4, 5]), one=lists(rows), two=lists(others), box=lists(vectors(2, 4), pa.list_(pa.float32())))
    found = plain(read_parquet(path, Columns(id="video_id", vectors={"": "two"})))
    assert {id: vector for id, (vector, _) in found.items()} == {4: {"": others[0].tolist()}, 5: {"": others[1].tolist()}}
    assert sorted(found[4][1]) == ["box", "one"]
    with pytest.raises(TableError, match="expected a column 'id', it has video_id, one, two, box; name the columns"):
        read_parquet(path)
    with pytest.raises(TableError, match="expected a column 'three'"):
        read_parquet(path, Columns(id="video_id", vectors={"": "three"}))


def bad_columns() -> Iterator[tuple[dict[str, pa.Array], str]]:
    ids, good = pa.array(range(7)), vectors(7)
    rows: list[Any] = [row.tolist() for row in good]
    free = pa.list_(pa.float32())
    for bad in (float("nan"), float("-inf")):
        yield {"id": ids, "vector": lists([*rows[:5], [1, bad, 3, 4, 5], rows[6]])}, "column 'vector': row 5: .*number 1 of the vector is"
    yield {"id": ids, "vector": lists([*rows[:5], None, rows[6]])}, "column 'vector': row 5: expected a vector, got null"
    yield {"id": ids, "vector": lists([*rows[:5], [1, None, 3, 4, 5], rows[6]])}, "column 'vector': row 5: expected numbers, got null"
    yield {"id": ids, "vector": lists([*rows[:5], [1.0], rows[6]], free)}, "column 'vector': row 5: expected 5 numbers as in the first row"
    yield {"id": ids, "vector": lists([[], *rows[1:]], free)}, "column 'vector': row 0: expected vectors of 1 to 65,536 numbers, it says 0"
    yield {"id": ids, "vector": pa.array([["a"]] * 7)}, "expected a column of lists of floats"
    vector = lists(good)
    yield {"id": pa.array([0, 1, 2, 3, None, 5, 6]), "vector": vector}, "row 4: column 'id': expected an integer of 0 to .*, got null"
    yield {"id": pa.array([0, 1, 2, 3, -4, 5, 6]), "vector": vector}, "row 4: column 'id': .*got -4"
    for text in ("04", "x", str(2**64), "", "1.0", "00000000000000000000000000000009"):
        yield {"id": pa.array(["0", "1", "2", "3", text, "5", "6"]), "vector": vector}, f"row 4: column 'id': .*got '{text}'"
    yield {"id": pa.array([bytes(16)] * 4 + [bytes(15)] * 3), "vector": vector}, "row 4: column 'id'"
    yield {"id": pa.array([1.0] * 7), "vector": vector}, "column 'id': expected ids as integers, as text, or as 16 bytes, got double"
    table = {"id": ids, "vector": vector}
    yield table | {"x": pa.array([1.0] * 6 + [float("nan")])}, "row 6: column 'x': NaN and infinity have no form in JSON"
    yield table | {"x": pa.array([{"y": [1.0]}] * 6 + [{"y": [float("inf")]}])}, "row 6: column 'x': NaN and infinity"
    yield table | {"x": pa.array([0] * 6 + [10**18], pa.timestamp("us"))}, "row 6: column 'x': expected a time of the years 1 to 9999"
    yield table | {"x": pa.array([0] * 6 + [10**17], pa.timestamp("ms"))}, "row 6: column 'x': .*out of bounds"
    yield table | {"x": pa.array([Decimal("0.1")] * 7)}, r"column 'x': decimal128\(1, 1\) has no form in JSON: cast it"
    yield table | {"x": pa.array([b"a"] * 7)}, "column 'x': binary has no form in JSON"
    yield table | {"x": pa.array([[timedelta(1)]] * 7)}, r"column 'x': duration\[us\] has no form in JSON"
    yield table | {"payload": pa.array(["{}"] * 6 + ["[]"])}, r"column 'payload': row 6: expected a JSON object, got b'\[\]'"
    yield table | {"payload": pa.array(["{}"] * 6 + ["{"])}, "column 'payload': row 6: expected a JSON object: "
    yield table | {"payload": pa.array([1] * 7)}, "column 'payload': expected texts of JSON objects, got int64; rename the column"


@pytest.mark.parametrize(("columns", "message"), list(bad_columns()))
def test_what_is_wrong_is_told_by_file_row_and_column(columns: dict[str, pa.Array], message: str, path: Path) -> None:
    write(path, **columns)
    with pytest.raises(TableError, match=rf"v\.parquet: {message}"):
        list(read_parquet(path, batch_rows=2))


@pytest.mark.parametrize("row_group_size", [2, 3, 7])
@pytest.mark.parametrize("batch_rows", [1, 2, 4, 10])
@pytest.mark.parametrize("null", [0, 4, 6])
def test_a_null_among_vectors_of_fixed_length_is_told_by_its_row(row_group_size: int, batch_rows: int, null: int, path: Path) -> None:
    rows: list[Any] = vectors(7).tolist()
    rows[null] = None
    pq.write_table(pa.table({"id": pa.array(range(7)), "vector": lists(rows)}), path, row_group_size=row_group_size)
    with pytest.raises(TableError, match=rf"column 'vector': row {null}: expected a vector, got null"):
        list(read_parquet(path, batch_rows=batch_rows))


def test_vectors_that_are_too_long_are_refused_before_they_are_read(path: Path) -> None:
    write(path, id=pa.array([1]), vector=pa.array([np.zeros(65_537, np.float32)], pa.list_(pa.float32())))
    with pytest.raises(TableError, match=r"column 'vector': expected vectors of 1 to 65,536 numbers, it says 65,537"):
        read_parquet(path)
    write(path, id=pa.array([], pa.int64()), vector=pa.array([], pa.list_(pa.float32(), 2**31 - 1)))
    with pytest.raises(TableError, match=r"it says 2,147,483,647"):
        read_parquet(path)


def test_a_file_that_was_cut_or_damaged_or_is_no_parquet_is_refused_by_name(path: Path) -> None:
    write_parquet(path, in_parts(list(range(50)), vectors(50)), {"": DIMENSION})
    data = path.read_bytes()
    for bad in (b"", b"PAR1", data[:-1], data[:100], data[: len(data) // 2], b"x" * 1000):
        path.write_bytes(bad)
        with pytest.raises(TableError, match=r"v\.parquet: expected a whole Parquet file"):
            list(read_parquet(path))
    path.unlink()
    with pytest.raises(TableError, match="expected a readable file"):
        read_parquet(path)


def test_memory_is_that_of_a_batch_and_not_of_the_file(path: Path) -> None:
    num_rows, dimension = 40_000, 64
    rows = vectors(num_rows, dimension)
    pq.write_table(
        pa.table({"id": pa.array(range(num_rows)), "vector": pa.FixedSizeListArray.from_arrays(rows.ravel(), dimension)}),
        path,
        row_group_size=num_rows,
        use_dictionary=False,
    )
    result = subprocess.run([sys.executable, "-c", READS, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found, peak = map(int, result.stdout.split())
    assert found == num_rows
    assert peak < rows.nbytes / 2
