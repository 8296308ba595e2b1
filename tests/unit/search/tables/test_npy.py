import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelspace.core.errors import OutputOccupied, TableError, UserError
from reelspace.search.tables.npy import read_npy, write_npy

from .batches import DIMENSION, batch, expected, in_parts, plain, uuid, vectors


@pytest.mark.parametrize("num_rows", [0, 1, 7])
@pytest.mark.parametrize("id", [lambda number: 2**64 - 1 - number, uuid])
def test_what_is_written_is_read_again_and_numpy_reads_the_same(num_rows: int, id: Any, tmp_path: Path) -> None:
    ids, rows, path, ids_path = [id(number) for number in range(num_rows)], vectors(num_rows), tmp_path / "v.npy", tmp_path / "i.npy"
    assert write_npy(path, in_parts(ids, rows), DIMENSION, ids_path=ids_path) == num_rows
    assert plain(read_npy(path, ids_path, batch_rows=2)) == expected(ids, rows)
    assert np.array_equal(np.load(path), rows)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["i.npy", "v.npy"]


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numpy_are_read_in_batches_with_row_numbers_as_ids(dtype: str, order: Any, tmp_path: Path) -> None:
    rows = vectors(7).astype(dtype)
    np.save(tmp_path / "v.npy", np.asarray(rows, order=order))
    batches = read_npy(tmp_path / "v.npy", batch_rows=3)
    assert [len(one.ids) for one in batches] == [3, 3, 1]
    assert batches.num_rows == 7
    assert plain(batches) == expected(list(range(7)), rows.astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_a_number_that_is_not_finite_is_refused_by_its_row(bad: float, tmp_path: Path) -> None:
    rows = vectors(7).astype(np.float64)
    rows[5, 2] = bad
    np.save(tmp_path / "v.npy", rows)
    with pytest.raises(TableError, match=rf"v\.npy: row 5: .*number 2 of the vector is {re.escape(str(bad))}"):
        list(read_npy(tmp_path / "v.npy", batch_rows=2))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3), np.int32), "expected float16, float32 or float64, got int32"),
        (np.zeros((2, 3), np.longdouble), "expected float16, float32 or float64"),
        (np.zeros(3), "of 2 axes"),
        (np.zeros((2, 0)), "expected vectors of 1 to 65,536 numbers, it says 0"),
        (np.zeros((0, 65_537)), "it says 65,537"),
        (np.array([[{}]], dtype=object), "expected an array of numbers"),
    ],
)
def test_arrays_that_are_no_vectors_are_refused(array: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    with pytest.raises(TableError, match=message):
        read_npy(tmp_path / "v.npy")


@pytest.mark.parametrize("shape", [(2**62, 4), (3, 2**62), (2**32, 2**32), (8, 4), (6, 4), (-1, 4)])
def test_a_header_that_claims_another_size_is_refused_before_it_is_mapped(shape: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, vectors(7, 4))
    data = path.read_bytes()
    told, claimed = b"(7, 4), }", f"({shape[0]}, {shape[1]}), }}".encode()
    assert told in data
    path.write_bytes(data.replace(told + b" " * (len(claimed) - len(told)), claimed))
    with pytest.raises(TableError, match=r"v\.npy: expected"):
        read_npy(path)


@pytest.mark.parametrize("cut", [0, 5, 40, 100, -1])
def test_a_file_that_was_cut_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, vectors(7))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(TableError, match=r"v\.npy: expected"):
        read_npy(path)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([1, -2, 3]), "row 1: expected ids of at least 0, got -2"),
        (np.array([1, 2]), "expected one id for each of 3 rows, got 2"),
        (np.array([1.0, 2.0, 3.0]), "expected integers, or UUIDs"),
    ],
)
def test_ids_that_are_none_are_refused(ids: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vectors(3))
    np.save(tmp_path / "i.npy", ids)
    with pytest.raises(TableError, match=rf"i\.npy: {message}"):
        list(read_npy(tmp_path / "v.npy", tmp_path / "i.npy"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.npy: expected a readable file: No such file"):
        read_npy(tmp_path / "none.npy")


def test_nothing_is_left_where_ids_of_two_kinds_meet(tmp_path: Path) -> None:
    parts = [batch([1], vectors(1)), batch([uuid(2)], vectors(1))]
    for batches in (parts, [batch([1, uuid(2)], vectors(2))]):
        with pytest.raises(UserError, match="write Parquet"):
            write_npy(tmp_path / "v.npy", batches, DIMENSION, ids_path=tmp_path / "i.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_that_name_stays_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "v.npy").write_text("mine")
    batches = in_parts([1], vectors(1))
    with pytest.raises(OutputOccupied, match=r"v\.npy exists"):
        write_npy(tmp_path / "v.npy", batches, DIMENSION)
    # Told before anything was read.
    assert len(list(batches)) == 1
    assert (tmp_path / "v.npy").read_text() == "mine"
