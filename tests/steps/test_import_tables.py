"""The user's own tables: strict, normalised, and every refusal is one line with table, column, file and row."""

import hashlib
import re
import shutil
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.errors import SettingError
from reelspace.core.schemas import TABLES
from tests.steps.import_world import NOON, ROWS, Row, World, jsonl, rows_of


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("REELSPACE_STORE", str(tmp_path / "out/store"))
    return World(tmp_path / "world", tmp_path / "out")


@pytest.fixture
def full(world: World) -> World:
    for name, rows in ROWS.items():
        world.parquet(name, rows)
    world.media({"media/7.mp4": b"seven"})
    return world


def expected(name: str) -> list[Row]:
    columns = [column.name for column in TABLES[name].columns]
    order = {"impressions": ["search_id", "position"], "regions": ["box"]}.get(name, columns[:1])
    return sorted(
        ({column: row.get(column) for column in columns} for row in ROWS[name]), key=lambda row: [row[column] for column in order]
    )


def test_every_table_is_normalised_and_sorted(full: World) -> None:
    tables, _ = full.run()
    assert tables.names() == tuple(sorted(["ledger.json", *(f"{name}.parquet" for name in TABLES)]))
    for name in TABLES:
        assert rows_of(tables, name) == expected(name)
    schema = pq.read_schema(pa.BufferReader(tables.read("videos.parquet")))
    assert [str(schema.field(name).type) for name in ("video_id", "uri", "created_at", "cover_time_ms", "categories")] == [
        "int64",
        "large_string",
        "timestamp[us, tz=UTC]",
        "int32",
        "list<element: large_string>",
    ]
    assert str(pq.read_schema(pa.BufferReader(tables.read("clicks.parquet"))).field("dwell_ms").type) == "int32"


def test_media_files_are_listed_with_hash_and_size(full: World, tmp_path: Path) -> None:
    _, media = full.run()
    assert rows_of(media, "media") == [
        {"video_id": 3, "uri": "media/3.jpg", "sha256": None, "size_bytes": None, "missing": True},
        {"video_id": 7, "uri": "media/7.mp4", "sha256": hashlib.sha256(b"seven").hexdigest(), "size_bytes": 5, "missing": False},
    ]


def test_an_absolute_uri_is_taken_as_it_is(world: World, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    world.parquet("videos", [{**ROWS["videos"][0], "uri": str(tmp_path / "clip.mp4")}])
    _, media = world.run()
    assert rows_of(media, "media")[0]["sha256"] == hashlib.sha256(b"clip").hexdigest()


@pytest.mark.parametrize("uri", ["http://host/x.mp4", "s3://bucket/../x", "s3://bucket"])
def test_a_uri_of_another_kind_is_refused(world: World, uri: str) -> None:
    world.parquet("videos", [{**ROWS["videos"][0], "uri": uri}])
    message = world.refusal()
    assert message.startswith("table videos, column uri, file ")
    assert "row 1: expected a path or s3://" in message


def test_a_folder_in_place_of_a_media_file_is_missing(world: World) -> None:
    world.parquet("videos", [{**ROWS["videos"][0], "uri": "media"}])
    world.media({"media/x": b""})
    assert rows_of(world.run()[1], "media")[0]["missing"]


def test_equal_content_gives_equal_ids_however_it_is_laid_out(full: World, tmp_path: Path) -> None:
    first = [artifact.id for artifact in full.run()]
    again = [artifact.id for artifact in full.run()]
    for name, rows in ROWS.items():
        (full.root / "tables" / f"{name}.parquet").unlink()
        if name in ("videos", "regions"):
            full.lines(name, jsonl(rows[::-1]))
            continue
        for number, row in enumerate(rows[::-1]):
            folder = full.root / "tables" / name / f"day=2025-01-{number + 10}"
            folder.mkdir(parents=True)
            pq.write_table(pa.Table.from_pylist([row]), folder / "part.parquet")
    laid_out = [artifact.id for artifact in full.run()]
    moved = World(tmp_path / "elsewhere", full.out)
    shutil.move(full.root, moved.root)
    assert again == laid_out == [artifact.id for artifact in moved.run(extra_columns=["unused"])] == first


def test_an_absent_table_is_empty_with_its_schema(world: World) -> None:
    world.parquet("videos", ROWS["videos"])
    tables, _ = world.run()
    for name in set(TABLES) - {"videos"}:
        assert rows_of(tables, name) == []
        assert pq.read_schema(pa.BufferReader(tables.read(f"{name}.parquet"))).names == [column.name for column in TABLES[name].columns]


def test_a_file_that_changes_is_seen(full: World) -> None:
    first = full.run()
    full.media({"media/7.mp4": b"other"})
    second = full.run()
    assert (first[0].id == second[0].id, first[1].id == second[1].id) == (True, False)


def test_polars_and_narrow_types_are_normalised_alike(full: World) -> None:
    first, _ = full.run()
    impressions = pl.DataFrame(ROWS["impressions"], schema={"search_id": pl.UInt32, "video_id": pl.UInt64, "position": pl.UInt8})
    impressions.write_parquet(full.root / "tables/impressions.parquet")
    videos = pl.DataFrame(ROWS["videos"]).with_columns(
        pl.col("kind").cast(pl.Categorical), pl.col("created_at").dt.convert_time_zone("Asia/Shanghai")
    )
    videos.write_parquet(full.root / "tables/videos.parquet")
    regions = [{**row, "box": dict(zip(("x0", "y0", "x1", "y1"), row["box"], strict=True))} for row in ROWS["regions"]]
    full.parquet("regions", regions)
    assert full.run()[0].id == first.id


def test_nanoseconds_and_other_zones_become_microseconds_in_utc(world: World) -> None:
    east = NOON.astimezone(timezone(timedelta(hours=8)))
    row = {**ROWS["videos"][0], "created_at": east}
    world.lines("videos", jsonl([row]))
    assert rows_of(world.run()[0], "videos")[0]["created_at"] == NOON
    (world.root / "tables/videos.jsonl").unlink()
    table = pa.Table.from_pylist([ROWS["videos"][0]])
    nanoseconds = pa.array([int(NOON.timestamp() * 1_000_000) * 1000 + 999], pa.timestamp("ns", "UTC"))
    pq.write_table(
        table.set_column(table.column_names.index("created_at"), "created_at", nanoseconds), world.root / "tables/videos.parquet"
    )
    assert rows_of(world.run()[0], "videos")[0]["created_at"] == NOON


def test_a_null_caption_is_empty(world: World) -> None:
    world.parquet("videos", [{**ROWS["videos"][0], "caption": None}, ROWS["videos"][1]])
    assert [row["caption"] for row in rows_of(world.run()[0], "videos")] == ["", ""]


def test_the_users_own_paths_come_first(full: World, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "media").mkdir(parents=True)
    (own / "media/7.mp4").write_bytes(b"mine")
    (own / "my videos.jsonl").write_text(jsonl([ROWS["videos"][0]]))
    tables, media = full.run("", paths={"videos": str(own / "my videos.jsonl")})
    assert (len(rows_of(tables, "videos")), rows_of(tables, "clicks")) == (1, [])
    assert rows_of(media, "media")[0]["sha256"] == hashlib.sha256(b"mine").hexdigest()
    tables, media = full.run(paths={"videos": str(own / "my videos.jsonl")})
    assert (len(rows_of(tables, "videos")), len(rows_of(tables, "clicks"))) == (1, 1)
    assert rows_of(media, "media")[0]["sha256"] == hashlib.sha256(b"seven").hexdigest()


def test_extra_columns_are_left_out_when_they_are_listed(full: World) -> None:
    first = full.run()[0].id
    full.parquet("clicks", [{**row, "device": "phone"} for row in ROWS["clicks"]])
    assert "column device" in full_refusal(full)
    assert full.run(extra_columns=["device"])[0].id == first


def full_refusal(world: World) -> str:
    shutil.rmtree(world.out)
    return world.refusal()


def changed(name: str, **values: object) -> list[Row]:
    return [*ROWS[name][1:], {**ROWS[name][0], **values}]


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("videos", [{**row, "captoin": "x"} for row in ROWS["videos"]], "column captoin.*unknown, the nearest is caption"),
        ("clicks", [{"search_id": 1, "video_id": 7, "clicked_at": NOON}], "column dwell_ms.*missing"),
        ("videos", changed("videos", video_id="7"), "column video_id.*expected an integer"),
        ("videos", changed("videos", video_id=7.0), "column video_id.*expected an integer"),
        ("videos", changed("videos", video_id=-7), "column video_id, file .*, row 2: .*not negative, got -7"),
        ("videos", changed("videos", video_id=None), "column video_id, file .*, row 2: the value is missing"),
        ("videos", changed("videos", video_id=3), "column video_id, file .*, row 2: 3 is there twice, first in file .*, row 1"),
        ("videos", [{**row, "created_at": NOON.replace(tzinfo=None)} for row in ROWS["videos"]], "column created_at.*time zone"),
        ("videos", changed("videos", created_at="2025-01-31"), "column created_at.*time zone"),
        ("videos", changed("videos", kind="film"), "column kind, file .*, row 2: expected one of video, image, sound, got 'film'"),
        ("videos", changed("videos", uri=""), "column uri, file .*, row 2: expected text that is not empty"),
        ("videos", changed("videos", uri=None), "column uri, file .*, row 2: the value is missing"),
        ("videos", changed("videos", caption=3), "column caption.*expected text"),
        ("videos", changed("videos", categories="pets"), "column categories.*list of texts"),
        ("videos", changed("videos", categories=["a", None]), "column categories, file .*, row 2: .*list of texts.*None"),
        (
            "videos",
            [{**row, "cover_time_ms": 2**31} for row in ROWS["videos"]],
            "column cover_time_ms, file .*, row 1: expected an integer up to 2147483647",
        ),
        ("clicks", changed("clicks", dwell_ms=-1), "table clicks, column dwell_ms, file .*, row 1: .*not negative, got -1"),
        ("clicks", changed("clicks", dwell_ms=True), "column dwell_ms.*expected an integer"),
        ("clicks", [ROWS["clicks"][0]] * 2, r"column search_id\+video_id\+clicked_at, file .*, row 2: .*there twice"),
        ("comments", changed("comments", likes=None), "column likes, file .*, row 1: the value is missing"),
        ("tag_judgements", changed("tag_judgements", relevant=1), "column relevant.*true or false"),
        ("regions", changed("regions", box=[0.0, 0.0, 1.0]), "column box.*four numbers"),
        ("regions", changed("regions", box=[2.0, 0.0, 1.0, 1.0]), "column box, file .*, row 2: expected finite 0 <= x0 < x1"),
        ("regions", changed("regions", box=[0.0, 0.0, float("inf"), 1.0]), "column box, file .*, row 2: expected finite"),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_what_breaks_a_schema_is_refused_with_its_place(world: World, form: str, name: str, rows: list[Row], words: str) -> None:
    world.parquet("videos", ROWS["videos"])
    if form == "jsonl":
        (world.root / "tables" / f"{name}.parquet").unlink(missing_ok=True)
        text = jsonl(rows)
        path = world.lines(name, text.replace("Infinity", "1e39"))
    else:
        try:
            path = world.parquet(name, rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            pytest.skip("a Parquet column has one type")
    message = world.refusal()
    assert str(path) in message
    assert re.search(words, message), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"video_id": 1}\nnot json\n', "column uri.*videos.jsonl: the column is missing"),
        ("not json\n", "row 1: it is not JSON"),
        ("[1]\n", "row 1: expected a JSON object, got list"),
        ("\n", "row 1: it is not JSON"),
        ('{"video_id": 99999999999999999999, "uri": "x", "caption": "", "created_at": "2025-01-31T12:00:00Z"}\n', "column video_id"),
        ('{"video_id": 1, "uri": "\\ud800", "caption": "", "created_at": "2025-01-31T12:00:00Z"}\n', "row 1"),
        (
            '{"video_id": 1, "uri": "x", "caption": "", "created_at": "yesterday"}\n',
            "column created_at.*row 1: expected a time.*'yesterday'",
        ),
        ('{"video_id": 1, "uri": "x", "caption": "", "created_at": 1700000000}\n', "column created_at.*row 1: expected a time"),
        ("", "it has no rows"),
    ],
)
def test_json_lines_are_read_strictly(world: World, text: str, words: str) -> None:
    path = world.lines("videos", text)
    message = world.refusal()
    assert str(path) in message
    assert re.search(words, message), message


def swap(directory: Path, make: Callable[[Path], object]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    make(directory)
    return directory


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tables: (tables / "x.txt").write_text(""), "x.txt is no table of ours"),
        (lambda tables: (tables / "vidoes.parquet").write_text(""), "vidoes.parquet is no table of ours: the nearest is videos"),
        (lambda tables: None, "table videos is missing"),
        (lambda tables: (tables / "videos").mkdir(), "it has no rows"),
        (
            lambda tables: (tables / "videos.xlsx").write_text("video_id\n1\n"),
            "videos.xlsx is no file of a kind we read, expected .parquet, .jsonl, .csv, .jsonl.gz, .csv.gz",
        ),
        (lambda tables: (tables / "videos.parquet").write_text("PAR1 no"), "videos.parquet: it cannot be read as Parquet"),
        (lambda tables: (tables / "videos.parquet").write_text(""), "videos.parquet: it cannot be read as Parquet"),
        (lambda tables: (tables / "videos/date=2025-01-01").mkdir(parents=True), "is no partition, expected a name such as day=2025-01-31"),
        (lambda tables: [(tables / name).write_text("") for name in ("videos.jsonl", "videos.parquet")], "table videos is there twice"),
    ],
)
def test_a_folder_of_tables_holds_tables_only(world: World, make: Callable[[Path], object], words: str) -> None:
    swap(world.root / "tables", make)
    assert words in world.refusal()


def full_of(path: Path) -> Path:
    path.write_text(jsonl(ROWS["clicks"]))
    return path


def test_a_place_without_tables_is_refused(world: World, tmp_path: Path) -> None:
    assert f"no tables in {world.root}" in world.refusal()
    assert "table videos is missing" in world.refusal("", paths={"clicks": str(full_of(tmp_path / "clicks.jsonl"))})
    assert "table videos: no file or directory" in world.refusal("", paths={"videos": str(tmp_path / "no.parquet")})
    assert "the nearest is videos" in world.refusal("", paths={"video": str(tmp_path / "no.parquet")})
    assert "table videos is missing" in world.refusal("")


def test_a_truncated_parquet_file_is_refused_by_name(full: World) -> None:
    path = full.root / "tables/comments.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert f"file {path}: it cannot be read as Parquet" in full.refusal()


def test_hidden_files_and_a_day_column_are_passed_over(full: World) -> None:
    first, _ = full.run()
    (full.root / "tables/clicks.parquet").unlink()
    folder = full.root / "tables/clicks/day=2025-01-31"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([{**row, "day": "2025-01-31"} for row in ROWS["clicks"]]), folder / "part.parquet")
    for name in ("_SUCCESS", ".part.crc", "day=2025-01-31/_SUCCESS"):
        (folder.parent / name).write_text("")
    assert full.run()[0].id == first.id


def test_duplicates_are_found_across_files(world: World) -> None:
    for day, row in enumerate([ROWS["videos"][0], ROWS["videos"][1], ROWS["videos"][0]], start=1):
        folder = world.root / f"tables/videos/day=2025-01-0{day}"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row]), folder / "part.parquet")
    message = world.refusal()
    assert "day=2025-01-03/part.parquet, row 1: 7 is there twice, first in file videos/day=2025-01-01/part.parquet, row 1;" in message


def test_a_wrong_setting_is_named(full: World) -> None:
    with pytest.raises(SettingError, match="'extra_column' is unknown, the nearest is 'extra_columns'"):
        full.run(extra_column=["x"])


def test_a_repaired_table_is_imported_at_once(world: World) -> None:
    world.parquet("videos", changed("videos", video_id=-1))
    world.refusal()
    world.parquet("videos", ROWS["videos"])
    assert len(rows_of(world.run()[0], "videos")) == 2
