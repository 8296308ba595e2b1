"""Writing a world: complete or not at all, and the same bytes every time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from reelspace.core.errors import OutputOccupied
from reelspace.core.locks import locked_directory
from reelspace.core.schemas import TABLES
from reelspace.demo.generate import generate
from reelspace.demo.presets import world_preset


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    for name, num_processes in (("one", 1), ("two", 3)):
        generate(world_preset("demo", seed=9, num_works=60).model_copy(update={"num_processes": num_processes}), tmp_path / name)
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


def test_tables_have_the_columns_and_types_of_the_schemas_and_are_partitioned_by_day(small_world_directory: Path) -> None:
    types = {"int64": "int64", "int32": "int32", "timestamp": "timestamp[us, tz=UTC]", "text": "large_string", "bool": "bool"}
    for name, schema in TABLES.items():
        parts = sorted((small_world_directory / "tables").glob(f"{name}/day=*/part.parquet")) or [
            small_world_directory / "tables" / f"{name}.parquet"
        ]
        tables = [pq.read_table(part, partitioning=None) for part in parts]
        assert tables[0].column_names == [column.name for column in schema.columns]
        for column in schema.columns:
            field = tables[0].schema.field(column.name)
            assert str(field.type) == types.get(column.type, str(field.type))
            if column.required:
                assert all(table.column(column.name).null_count == 0 for table in tables)
        if schema.unique:
            rows = [tuple(row.values()) for table in tables for row in table.select(list(schema.unique)).to_pylist()]
            assert len(rows) == len(set(rows)), name
        for part, table in zip(parts, tables, strict=True):
            for column in ("created_at", "searched_at", "clicked_at", "commented_at"):
                if column in table.column_names:
                    assert {f"day={time:%Y-%m-%d}" for time in table.column(column).to_pylist()} == {part.parent.name}


def test_the_world_file_names_the_cutoff(small_world_directory: Path) -> None:
    assert orjson.loads((small_world_directory / "world.json").read_bytes())["cutoff"] == "2025-02-20T00:00:00+00:00"


def test_a_second_call_keeps_the_world_and_other_settings_are_refused(tmp_path: Path) -> None:
    settings = world_preset("tables", seed=1, num_works=60)
    generate(settings, tmp_path / "world")
    before = (tmp_path / "world" / "world.json").stat().st_mtime_ns
    generate(settings, tmp_path / "world")
    assert (tmp_path / "world" / "world.json").stat().st_mtime_ns == before
    with pytest.raises(OutputOccupied, match="remove it or choose another"):
        generate(world_preset("tables", seed=2, num_works=60), tmp_path / "world")


def test_a_world_of_older_code_is_replaced(tmp_path: Path) -> None:
    settings = world_preset("tables", seed=1, num_works=60)
    generate(settings, tmp_path / "world")
    wanted = _bytes(tmp_path / "world")
    facts = orjson.loads((tmp_path / "world" / "world.json").read_bytes())
    (tmp_path / "world" / "world.json").write_bytes(orjson.dumps({**facts, "code": "older"}))
    (tmp_path / "world" / "queries.parquet").write_bytes(b"older")
    generate(settings, tmp_path / "world")
    assert _bytes(tmp_path) == {f"world/{name}": data for name, data in wanted.items()}


def test_two_generators_in_one_directory_are_told_apart(tmp_path: Path) -> None:
    with locked_directory(tmp_path / ".world.unfinished"), pytest.raises(OutputOccupied, match="another reelspace process"):
        generate(world_preset("tables", num_works=60), tmp_path / "world")


def test_an_occupied_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputOccupied):
        generate(world_preset("tables", num_works=60), tmp_path / "world")
    assert _bytes(tmp_path) == {"world/thesis.txt": b"mine"}


_GENERATE = """
import sys
from pathlib import Path
from reelspace.demo.generate import generate
from reelspace.demo.presets import world_preset
generate(world_preset("demo", num_works=240), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_generation_leaves_no_world_and_no_process(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", _GENERATE, str(tmp_path / "world")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".world.unfinished/media/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(30)
    assert not (tmp_path / "world").exists()
    while any(str(tmp_path) in command for command in _commands()):
        assert time.monotonic() < deadline, "a drawing process is still alive"
        time.sleep(0.05)
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []


def _commands() -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
