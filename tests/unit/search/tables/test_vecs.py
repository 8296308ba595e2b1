import struct
from pathlib import Path

import numpy as np
import pytest

from reelspace.core.errors import TableError, UserError
from reelspace.search.tables.vecs import read_vecs, write_vecs

from .batches import DIMENSION, expected, in_parts, plain, uuid, vectors


def by_hand(rows: list[list[float]], number: str) -> bytes:
    return b"".join(struct.pack(f"<i{len(row)}{number}", len(row), *row) for row in rows)


@pytest.mark.parametrize("num_rows", [0, 1, 7])
@pytest.mark.parametrize(("suffix", "number"), [(".fvecs", "f"), (".bvecs", "B")])
def test_what_is_written_is_read_again_and_lies_as_the_format_says(num_rows: int, suffix: str, number: str, tmp_path: Path) -> None:
    rows = vectors(num_rows) if number == "f" else np.random.default_rng(0).integers(0, 256, (num_rows, DIMENSION)).astype(np.float32)
    ids, path = [uuid(row) for row in range(num_rows)], tmp_path / f"v{suffix}"
    assert write_vecs(path, in_parts(ids, rows), DIMENSION, ids_path=tmp_path / "i.npy") == num_rows
    assert path.read_bytes() == by_hand(rows.astype(np.float32 if number == "f" else np.uint8).tolist(), number)
    assert plain(read_vecs(path, tmp_path / "i.npy", batch_rows=2)) == expected(ids, rows)
    assert plain(read_vecs(path, batch_rows=3)) == expected(list(range(num_rows)), rows)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (by_hand([[1, 2], [3, 4], [5, 6]], "f")[:-1], r"row 2: expected 12 bytes for 2 numbers, the file ends after 11"),
        (by_hand([[1, 2], [3, 4, 5, 6, 7]], "f"), r"row 1: expected 2 numbers as in row 0, it says 5"),
        (by_hand([[1, 2], [3, 4], [5, 6, 7]], "f") + by_hand([[1], [2]], "f"), r"row 2: expected 2 numbers as in row 0, it says 3"),
        (b"\x02\x00", r"row 0: expected the dimension in 4 bytes, the file has 2"),
        (struct.pack("<i", 2**31 - 1), r"row 0: expected vectors of 1 to 65,536 numbers, it says 2,147,483,647"),
        (struct.pack("<i", -1), r"it says -1"),
        (struct.pack("<i", 0), r"it says 0"),
        (by_hand([[1, 2], [3, float("nan")]], "f"), r"row 1: .*number 1 of the vector is nan"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_its_row(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "v.fvecs"
    path.write_bytes(data)
    with pytest.raises(TableError, match=rf"v\.fvecs: {message}" if message.startswith("row") else message):
        list(read_vecs(path, batch_rows=1))


@pytest.mark.parametrize("bad", [0.5, -1.0, 256.0])
def test_bytes_hold_whole_numbers_up_to_255_only_and_nothing_is_left(bad: float, tmp_path: Path) -> None:
    rows = np.zeros((5, DIMENSION), np.float32)
    rows[4, 1] = bad
    with pytest.raises(UserError, match=rf"v\.bvecs: row 4: expected whole numbers of 0 to 255, number 1 of the vector is {bad}"):
        write_vecs(tmp_path / "v.bvecs", in_parts(list(range(5)), rows), DIMENSION)
    assert list(tmp_path.iterdir()) == []
