import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelspace.core.errors import UserError
from reelspace.search.tables.batch import Batch
from reelspace.search.tables.formats import SUFFIXES, ids_path_of, read_table, write_table
from reelspace.search.tables.parquet import Columns

from .batches import expected, plain, uuid, vectors

DIES = """
import os, sys
from pathlib import Path
import numpy as np
from reelspace.search.tables.batch import Batch
from reelspace.search.tables.formats import write_table
def batches():
    yield Batch([1], {"": np.zeros((1, 3), np.float32)}, [b"{}"])
    os.kill(os.getpid(), 9)
write_table(Path(sys.argv[1]), batches(), {"": 3})
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_back_the_rows_of_one_vector(suffix: str, tmp_path: Path) -> None:
    path, ids = tmp_path / f"v{suffix}", [uuid(row) for row in range(6)]
    rows, others = np.round(np.abs(vectors(6)) * 50), vectors(6, 2, seed=1)
    batches = [Batch(ids[i : i + 4], {"": others[i : i + 4], "one": rows[i : i + 4]}, [b"{}"] * len(ids[i : i + 4])) for i in (0, 4)]
    assert write_table(path, batches, {"": 2, "one": 5}, vector="one") == 6
    found = read_table(path, batch_rows=4, ids_path=None if suffix == ".parquet" else ids_path_of(path))
    (name,) = next(iter(found)).vectors
    assert {id: (vector[name], payload) for id, (vector, payload) in plain(found).items()} == {
        id: (vector[""], payload) for id, (vector, payload) in expected(ids, rows).items()
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_writer_that_is_killed_leaves_no_file_of_that_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    result = subprocess.run([sys.executable, "-c", DIES, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == -9, result.stderr
    assert not path.exists()
    assert not ids_path_of(path).exists()
    assert any(file.name.endswith(".partial") for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("v.csv", {}, r"expected a name that ends in \.parquet, \.npy, \.fvecs, \.bvecs"),
        ("v.parquet", {"ids_path": Path("i.npy")}, "expected its own column of ids"),
        ("v.npy", {"columns": Columns()}, r"expected columns for a \.parquet file only"),
    ],
)
def test_what_does_not_belong_to_a_format_is_refused(name: str, arguments: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(Path(name), **arguments)


def test_the_one_vector_of_a_row_is_named_where_there_are_more(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.npy holds one vector per row: expected the name of one of '', 'one'"):
        write_table(tmp_path / "v.npy", [], {"": 2, "one": 5})
    with pytest.raises(UserError, match="vector 'two': expected one of '', 'one'"):
        write_table(tmp_path / "v.npy", [], {"": 2, "one": 5}, vector="two")
