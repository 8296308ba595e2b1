"""Bad rows of the user's tables: each in quarantine with its reason and place, the books add up, and what is wrong as a whole stops."""

import csv
import gzip
import hashlib
import io
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.artifacts import Artifact
from reelspace.core.errors import TableError
from reelspace.core.schemas import TABLES
from tests.steps.import_world import NOON, NUM_GOOD, ROWS, Row, World, comments, csv_field, csv_text, jsonl, rows_of


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "out/store"))
    return World(tmp_path / "world", tmp_path / "out")


def write(world: World, name: str, data: str | bytes) -> Path:
    path = world.root / "tables" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return path


def ledger(tables: Artifact) -> dict[str, Any]:
    return dict(json.loads(tables.read("ledger.json")))


def quarantine(tables: Artifact, table: str = "comments") -> list[dict[str, Any]]:
    return [json.loads(line) for line in tables.read(f"quarantine/{table}.jsonl").splitlines()]


def tables_of(world: World, **settings: object) -> Artifact:
    world.parquet("videos", ROWS["videos"])
    return world.run(**settings)[0]


def hashed_by_place(data: bytes, record: Mapping[str, Any]) -> str:
    start, end = record["byte_range"]
    return hashlib.sha256(data[start:end]).hexdigest()


DAY = timedelta(days=1)
LATEST = NOON + DAY
# Column, value, reason; each is tried in JSON Lines, CSV and Parquet where that form can hold it.
VALUES: list[tuple[str, object, str]] = [
    ("comment_id", -3, "negative"),
    ("comment_id", 2**63, "out_of_range"),
    ("comment_id", None, "missing_value"),
    ("comment_id", "x7", "wrong_type"),
    ("likes", 10**30, "out_of_range"),
    ("likes", True, "wrong_type"),
    ("commented_at", LATEST + timedelta(microseconds=1), "in_the_future"),
    ("commented_at", datetime(2004, 12, 31, 23, 59, 59, tzinfo=UTC), "too_early"),
    ("commented_at", "2025-01-31T12:00:00", "wrong_type"),
    ("commented_at", None, "missing_value"),
    ("text", "a\0b", "nul_character"),
    ("text", "a\ud800b", "lone_surrogate"),
]


def texts_with_surrogates(rows: list[Row]) -> pa.Array:
    data = pa.array([row["text"].encode("utf-8", "surrogatepass") for row in rows], pa.large_binary())
    return pa.Array.from_buffers(pa.large_string(), len(rows), data.buffers())


def parquet_of(rows: list[Row]) -> pa.Table:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    arrays = {name: texts_with_surrogates(rows) if name == "text" else pa.array(values) for name, values in columns.items()}
    if any(isinstance(value, int) and value >= 2**63 for value in columns["comment_id"]):
        arrays["comment_id"] = pa.array(columns["comment_id"], pa.uint64())
    return pa.table(arrays)


def plant(world: World, form: str, rows: list[Row]) -> Path:
    if form == "jsonl":
        return write(world, "comments.jsonl", jsonl(rows))
    if form == "csv":
        return write(world, "comments.csv", csv_text(rows))
    try:
        table = parquet_of(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        pytest.skip("a Parquet column has one type")
    path = world.root / "tables/comments.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(("column", "value", "reason"), VALUES)
@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_a_bad_value_puts_its_row_alone_into_quarantine(world: World, form: str, column: str, value: object, reason: str) -> None:
    rows = comments()
    plant(world, form, rows)
    good = tables_of(world)
    next(path for path in (world.root / "tables").glob("comments.*")).unlink()
    bad = {**comments(1, first=999)[0], column: value}
    path = plant(world, form, [*rows[:5], bad, *rows[5:]])
    tables = tables_of(world, latest=LATEST.isoformat())
    [record] = quarantine(tables)
    if form == "csv" and value is True:
        assert record["detail"] == "expected an integer, got 'true'"
    assert (record["reason"], record["table"], record["file"], record["row"]) == (reason, "comments", path.name, 6)
    # JSON and CSV break as whole lines where bytes are no text; everywhere else the column is known.
    assert record["column"] == (None if form == "jsonl" and reason == "lone_surrogate" else column)
    assert tables.read("comments.parquet") == good.read("comments.parquet")
    assert ledger(tables)["comments"] == {"in": NUM_GOOD + 1, "out": NUM_GOOD, "quarantined": 1, "reasons": {reason: 1}}
    if form == "parquet":
        assert record["byte_range"] is None
    else:
        assert record["sha256"] == hashed_by_place(path.read_bytes(), record)
        assert b"999" in path.read_bytes()[slice(*record["byte_range"])] or column == "comment_id"


@pytest.mark.parametrize(("value", "kind"), [(2**63, pa.uint64()), (2**64 - 1, pa.uint64()), (2**31, pa.int64())])
def test_no_integer_wraps_silently_in_parquet(world: World, value: int, kind: pa.DataType) -> None:
    clicks = [{"search_id": 1, "video_id": 7, "clicked_at": NOON + n * DAY, "dwell_ms": 4000} for n in range(30)]
    column = "video_id" if kind == pa.uint64() else "dwell_ms"
    clicks[11][column] = value
    table = pa.Table.from_pylist([{name: row[name] for name in row if name != column} for row in clicks])
    path = world.root / "tables/clicks.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table.append_column(column, pa.array([row[column] for row in clicks], kind)), path)
    tables = tables_of(world)
    [record] = quarantine(tables, "clicks")
    assert (record["row"], record["column"], record["reason"]) == (12, column, "out_of_range")
    assert str(value) in record["detail"]
    assert rows_of(tables, "clicks") == [{**row, "returned_within_ms": None} for n, row in enumerate(clicks) if n != 11]


@pytest.mark.parametrize("value", [2**63, 2**64, 10**30, -(10**30)])
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_long_integer_keeps_its_digits_in_the_message(world: World, form: str, value: int) -> None:
    plant(world, form, [*comments(), {**comments(1, first=999)[0], "user_id": value}])
    [record] = quarantine(tables_of(world))
    assert record["reason"] in ("out_of_range", "negative")
    assert str(value) in record["detail"]


def test_a_number_of_many_digits_costs_one_row_and_no_time(world: World) -> None:
    digits = "9" * 5_000_000
    line = jsonl(comments(1, first=999)).replace('"user_id": 0', f'"user_id": {digits}')
    write(world, "comments.jsonl", jsonl(comments()) + line)
    [record] = quarantine(tables_of(world))
    assert record["reason"] in ("out_of_range", "not_json")
    assert len(record["detail"]) < 200


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "not_json"),
        (b'{"comment_id": 5', "not_json"),
        (b"[1, 2]", "not_an_object"),
        (b"", "not_json"),
        (b'{"text": "\\ud800"}', "lone_surrogate"),
        (b'{"text": "\xed\xa0\x80"}', "lone_surrogate"),
        (b'{"text": "\xff"}', "not_utf8"),
        (b'{"text": "\0"}', "nul_character"),
        (b'{"comment_id": 5}', "missing_value"),
        (b'{"text": "' + b"x" * 3000 + b'"}', "line_too_long"),
    ],
)
def test_a_line_that_cannot_be_read_costs_itself(world: World, line: bytes, reason: str) -> None:
    data = b"".join([jsonl(comments(20)).encode(), line, b"\n", jsonl(comments(20, first=200)).encode()])
    write(world, "comments.jsonl", data)
    tables = tables_of(world, max_line_bytes=2000)
    [record] = quarantine(tables)
    assert (record["reason"], record["row"]) == (reason, 21)
    start, end = record["byte_range"]
    assert data[start:end] == line
    assert record["sha256"] == hashlib.sha256(line).hexdigest()
    assert [row["comment_id"] for row in rows_of(tables, "comments")] == [*range(100, 120), *range(200, 220)]


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        (b"1,2,3", "ragged", None),
        (b"1,2,3,4,5,6,7", "ragged", None),
        (b"", "ragged", None),
        (b'1,7,1,say "hi",2025-01-31T12:00:00Z,0', "bad_quoting", None),
        (b'1,7,1,"say "hi",2025-01-31T12:00:00Z,0', "bad_quoting", None),
        (b'1,7,1,"never closed,2025-01-31T12:00:00Z,0', "bad_quoting", None),
        (b"1,7,1,\xff,2025-01-31T12:00:00Z,0", "not_utf8", "text"),
        (b"1,7,1,\xed\xa0\x80,2025-01-31T12:00:00Z,0", "lone_surrogate", "text"),
        (b"1,7,1,a\0b,2025-01-31T12:00:00Z,0", "nul_character", "text"),
        (b"01,7,1,x,2025-01-31T12:00:00Z,0", "wrong_type", "comment_id"),
        (b"1,7,1,x,2025-01-31T12:00:00Z,+1", "wrong_type", "likes"),
        (b"1,7,1,x,2025-01-31T12:00:00Z, 1", "wrong_type", "likes"),
        ("1,7,1,x,2025-01-31T12:00:00Z,١".encode(), "wrong_type", "likes"),
        (b"1,7,1,x,2025-01-31T12:00:00Z,", "missing_value", "likes"),
        (b"1,7,1,x,yesterday,0", "wrong_type", "commented_at"),
        (b"1,7,1," + b"x" * 3000 + b",2025-01-31T12:00:00Z,0", "line_too_long", None),
    ],
)
def test_a_record_of_csv_that_cannot_be_read_costs_itself(world: World, line: bytes, reason: str, column: str | None) -> None:
    first, second = csv_text(comments(20)).encode(), csv_text(comments(20, first=200)).encode().split(b"\n", 1)[1]
    data = first + line + b"\n" + second
    write(world, "comments.csv", data)
    tables = tables_of(world, max_line_bytes=2000)
    [record] = quarantine(tables)
    assert (record["reason"], record["row"], record["column"]) == (reason, 21, column)
    start, end = record["byte_range"]
    assert data[start:end] == line
    assert record["sha256"] == hashlib.sha256(line).hexdigest()
    assert [row["comment_id"] for row in rows_of(tables, "comments")] == [*range(100, 120), *range(200, 220)]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_of_rows_with_one_key_the_first_stays(world: World, form: str) -> None:
    rows = comments()
    again = [{**rows[3], "text": "second"}, {**rows[3], "text": "third"}]
    broken = {**comments(1, first=999)[0], "likes": -1}
    path = plant(world, form, [*rows[:10], broken, *rows[10:20], again[0], *rows[20:], again[1]])
    tables = tables_of(world, max_bad_ratio=0.1)
    assert [row["text"] for row in rows_of(tables, "comments")] == [row["text"] for row in rows]
    records = quarantine(tables)
    assert [(record["row"], record["reason"]) for record in records] == [(11, "negative"), (22, "duplicate"), (NUM_GOOD + 3, "duplicate")]
    assert [record["detail"] for record in records[1:]] == [f"103 is there twice, first in file {path.name}, row 4"] * 2
    if form == "parquet":
        values = {**again[0], "commented_at": int((NOON - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))}
        assert records[1]["sha256"] == hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    else:
        data = path.read_bytes()
        for record, text in zip(records[1:], [b"second", b"third"], strict=True):
            assert text in data[slice(*record["byte_range"])]
            assert record["sha256"] == hashed_by_place(data, record)


def test_the_books_add_up_in_every_table(world: World) -> None:
    draw = random.Random(3)
    num_bad = {"comments": 0, "searches": 0}
    rows: dict[str, list[Row]] = {"comments": [], "searches": []}
    for number in range(4000):
        comment = comments(1, first=number)[0]
        search = {"search_id": number, "user_id": 9, "query": "cat", "searched_at": NOON}
        for row, wrong in (
            (comment, {"likes": -1}),
            (comment, {"text": 5}),
            (search, {"searched_at": "no"}),
        ):
            if draw.random() < 0.02:
                row.update(wrong)
        num_bad["comments"] += comment["likes"] == -1 or comment["text"] == 5
        num_bad["searches"] += search["searched_at"] == "no"
        rows["comments"].append(comment)
        rows["searches"].append(search)
    for name in rows:
        for part in range(4):
            write(world, f"{name}/day=2025-01-0{part + 1}/part.jsonl", jsonl(rows[name][part * 1000 : part * 1000 + 1000]))
    tables = tables_of(world)
    books = ledger(tables)
    assert set(books) == set(TABLES)
    for name, entry in books.items():
        assert entry["in"] == entry["out"] + entry["quarantined"]
        assert entry["out"] == len(rows_of(tables, name))
        assert entry["quarantined"] == num_bad.get(name, 0) == sum(entry["reasons"].values())
    for name in rows:
        places = [(record["file"], record["row"]) for record in quarantine(tables, name)]
        assert places == sorted(places)
        assert len(places) == num_bad[name]
    assert [name for name in tables.names() if name.startswith("quarantine")] == ["quarantine/comments.jsonl", "quarantine/searches.jsonl"]


def test_the_bytes_do_not_depend_on_where_the_tables_lie_or_on_what_is_tolerated(world: World, tmp_path: Path) -> None:
    plant(world, "jsonl", [*comments(), {**comments(1, first=999)[0], "likes": -1}])
    first = tables_of(world).id
    moved = World(tmp_path / "elsewhere", world.out)
    world.root.rename(moved.root)
    assert moved.run()[0].id == first == moved.run(max_bad_ratio=0.5, latest=LATEST.isoformat())[0].id


def test_without_latest_no_time_is_in_the_future(world: World) -> None:
    plant(world, "jsonl", [*comments(), {**comments(1, first=999)[0], "commented_at": datetime(2999, 1, 1, tzinfo=UTC)}])
    assert ledger(tables_of(world))["comments"]["quarantined"] == 0


def test_the_bounds_of_time_are_settings_and_belong_to_what_is_kept(world: World) -> None:
    moments = [NOON - 9 * DAY, NOON - 9 * DAY - timedelta(microseconds=1), NOON + DAY, NOON + DAY + timedelta(microseconds=1)]
    plant(world, "jsonl", [{**row, "commented_at": moment} for row, moment in zip(comments(4), moments, strict=True)])
    tables = tables_of(world, earliest=moments[0].isoformat(), latest=moments[2].isoformat(), max_bad_ratio=0.5)
    assert [row["commented_at"] for row in rows_of(tables, "comments")] == [moments[0], moments[2]]
    assert ledger(tables)["comments"]["reasons"] == {"in_the_future": 1, "too_early": 1}
    with pytest.raises(TableError, match=r"row 1: expected a time from .* none of the 2 rows is good$"):
        world.run(earliest=(NOON + DAY).isoformat(), max_bad_ratio=1.0)


@pytest.mark.parametrize("uri", ["http://host/x.mp4", "s3://bucket", "a\0b"])
def test_a_work_whose_uri_names_nothing_is_set_aside(world: World, uri: str) -> None:
    works = [{**ROWS["videos"][0], "video_id": n, "uri": "x" * 300} for n in range(30)]
    world.parquet("videos", [*works, {**works[0], "video_id": 99, "uri": uri}])
    tables, media = world.run()
    [record] = quarantine(tables, "videos")
    assert (record["reason"], record["row"]) == ("nul_character" if "\0" in uri else "wrong_uri", 31)
    assert [(row["video_id"], row["missing"]) for row in rows_of(media, "media")] == [(n, True) for n in range(30)]


def test_the_quarantine_holds_no_long_piece_of_a_text(world: World) -> None:
    secret = "".join(chr(0x4E00 + n) for n in range(300))
    rows = comments(200)
    rows[3]["text"] = secret + "\0"
    rows[4]["user_id"] = secret
    rows[5]["text"] = {"inner": secret}
    rows[6]["commented_at"] = secret
    write(world, "comments.jsonl", jsonl(rows) + secret + "\n")
    text = json.dumps(quarantine(tables_of(world)), ensure_ascii=False)
    assert len(quarantine(tables_of(world))) == 5
    assert not any(secret[start : start + 80] in text for start in range(len(secret) - 80))


def test_rows_that_point_at_unknown_works_and_searches_are_kept(world: World) -> None:
    world.parquet("comments", [{**row, "video_id": 10**12} for row in comments()])
    world.parquet("clicks", [{"search_id": 10**12, "video_id": 10**12, "clicked_at": NOON, "dwell_ms": 1}])
    world.parquet("impressions", [{"search_id": 10**12, "video_id": 10**12, "position": 0}])
    books = ledger(tables_of(world))
    assert [books[name]["out"] for name in ("comments", "clicks", "impressions")] == [NUM_GOOD, 1, 1]


def test_a_share_of_bad_rows_up_to_the_bound_is_let_pass_and_no_more(world: World) -> None:
    rows = comments(20)
    rows[0]["likes"] = -1
    path = plant(world, "jsonl", rows)
    assert ledger(tables_of(world))["comments"]["quarantined"] == 1
    rows[9]["likes"] = -1
    plant(world, "jsonl", rows)
    (world.out / "tables").unlink()
    message = world.refusal()
    assert message.startswith(f"table comments, column likes, file {path}, row 1: expected a number that is not negative, got -1; 2 of 20 ")
    assert "(negative 2)" in message
    assert TableError.exit_code == 2


def test_a_table_handed_in_twice_is_refused(world: World) -> None:
    for day in (1, 2):
        write(world, f"comments/day=2025-01-0{day}/part.jsonl", jsonl(comments()))
    world.parquet("videos", ROWS["videos"])
    message = world.refusal()
    assert "row 1: 100 is there twice, first in file comments/day=2025-01-01/part.jsonl, row 1; 40 of 80 rows are bad" in message


def test_one_bad_day_of_many_is_set_aside(world: World) -> None:
    for day in range(1, 31):
        rows = comments(120, first=1000 * day)
        write(world, f"comments/day=2025-01-{day:02}/part.jsonl", jsonl([{**row, "likes": -1} for row in rows] if day == 7 else rows))
    assert ledger(tables_of(world))["comments"]["reasons"] == {"negative": 120}


@pytest.mark.parametrize("name", ["comments.jsonl", "comments.csv"])
def test_a_file_of_another_kind_is_refused_before_it_is_read_to_its_end(world: World, name: str) -> None:
    header = csv_text(comments(1)).split("\n")[0] if name.endswith("csv") else ""
    path = write(world, name, f"{header}\n" + "this is prose\n" * 5000)
    world.parquet("videos", ROWS["videos"])
    message = world.refusal(max_bad_ratio=1.0)
    assert f"file {path}, row 1: none of the first 100 rows can be read as .{name.split('.')[1]}" in message


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The files that this process opens while the test runs; a hook cannot be taken away, so it is made blind afterwards."""
    paths: list[str] = []
    watching = [True]
    sys.addaudithook(lambda event, arguments: paths.append(str(arguments[0])) if watching and event == "open" else None)
    yield paths
    watching.clear()


def set_clicks_text(world: World) -> None:
    world.parquet("clicks", [{**ROWS["clicks"][0], "dwell_ms": "long"}])


def cut_short(world: World) -> None:
    path = world.parquet("clicks", ROWS["clicks"])
    path.write_bytes(path.read_bytes()[:-9])


def damage_a_page(world: World) -> None:
    path = world.root / "tables/comments.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(comments(3000)), path, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)


def one_day_of_another_type(world: World) -> None:
    for day, likes in enumerate([1, "many"], start=1):
        folder = world.root / f"tables/comments/day=2025-01-0{day}"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([{**comments(1, first=day)[0], "likes": likes}]), folder / "part.parquet")


def cut_gzip(world: World) -> None:
    write(world, "comments.jsonl.gz", gzip.compress(jsonl(comments(3000)).encode())[:-500])


@pytest.mark.parametrize(
    ("plant_it", "words"),
    [
        (set_clicks_text, "column dwell_ms.*expected an integer, the column's type is"),
        (cut_short, "clicks.parquet: it cannot be read as Parquet"),
        (damage_a_page, "comments.parquet: it cannot be read as Parquet: .*CRC"),
        (one_day_of_another_type, "column likes, file .*day=2025-01-02/part.parquet: expected an integer"),
        (cut_gzip, "comments.jsonl.gz: it cannot be unpacked"),
        (lambda world: write(world, "comments.jsonl.gz", "plain"), "comments.jsonl.gz: it cannot be unpacked"),
        (lambda world: write(world, "comments.csv", ""), "comments.csv: it has no header"),
        (lambda world: write(world, "comments.csv", b"comment_id,\xff\n"), "comments.csv: the header is not UTF-8"),
        (lambda world: write(world, "comments.csv", 'comment_id,"video\n'), "comments.csv: expected a header"),
        (lambda world: write(world, "comments.csv", csv_text(comments()).replace("likes", "likse")), "column likse.*nearest is likes"),
        (lambda world: write(world, "comments.csv", csv_text([{"comment_id": 1}])), "column video_id.*the column is missing"),
        (lambda world: write(world, "comments.csv", "comment_id,comment_id\n"), "column comment_id.*there twice"),
        (lambda world: write(world, "comments.jsonl", jsonl([{**row, "likse": 1} for row in comments()])), "column likse.*row 1"),
        (lambda world: write(world, "comments.jsonl", jsonl([{"comment_id": 1}] * 9)), "column video_id.*the column is missing"),
        (lambda world: write(world, "comments.jsonl", '{"a\\nb": 1}\n'), r"column 'a\\nb'.*the column is unknown"),
    ],
)
def test_what_is_wrong_as_a_whole_stops_in_one_line_before_any_media_is_read(
    world: World, opened: list[str], plant_it: Callable[[World], object], words: str
) -> None:
    world.parquet("videos", ROWS["videos"])
    world.media({"media/7.mp4": b"seven"})
    plant_it(world)
    opened.clear()
    with pytest.raises(TableError, match=words) as caught:
        world.run(max_bad_ratio=1.0)
    assert "\n" not in str(caught.value)
    assert not [path for path in opened if path.endswith("7.mp4")]
    next((world.root / "tables").glob("c*")).rename(world.root / "aside")
    world.run()
    assert [path for path in opened if path.endswith("7.mp4")], "the watch sees nothing"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl.gz"])
def test_csv_and_packed_files_give_what_parquet_gives(world: World, ending: str) -> None:
    for name, rows in ROWS.items():
        world.parquet(name, rows)
    first = world.run()[0].id
    for name, rows in ROWS.items():
        (world.root / f"tables/{name}.parquet").unlink()
        data = (jsonl(rows) if ending.startswith("jsonl") else csv_text(rows)).encode()
        write(world, f"{name}.{ending}", gzip.compress(data) if ending.endswith("gz") else data)
    assert world.run()[0].id == first


def test_csv_is_read_with_windows_line_ends_a_byte_order_mark_and_columns_in_any_order(world: World) -> None:
    rows = [{**row, "text": 'two\r\nlines, "quoted"'} for row in comments()]
    write(world, "comments.jsonl", jsonl(rows))
    first = tables_of(world).id
    (world.root / "tables/comments.jsonl").unlink()
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(list(rows[0])[::-1])
    writer.writerows([csv_field(value) for value in list(row.values())[::-1]] for row in rows)
    write(world, "comments.csv", b"\xef\xbb\xbf" + out.getvalue().encode())
    assert world.run()[0].id == first
