from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.core.errors import UserError
from reelspace.core.rng import rng
from reelspace.evaluate.vectors import read_embedding, read_vectors

VECTORS = rng(6, "vectors").standard_normal((5, 3)).astype(np.float32)
IDS = [7, 3, 9, 1, 4]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(path, **columns):
    pq.write_table(pa.table({"video_id": IDS, **columns}), path)
    return path


def fixed(vectors):
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1])


def test_every_fixed_size_list_is_a_named_vector(tmp_path):
    times = [datetime(2025, 1, day, tzinfo=UTC) for day in range(1, 6)]
    read = read_vectors(write(tmp_path / "v.parquet", vector=fixed(VECTORS), student=fixed(-VECTORS), created_at=times))
    assert read.video_ids_N.tolist() == IDS
    assert read.created_at_N == times
    assert set(read.by_name) == {"vector", "student"}
    assert np.array_equal(read.by_name["student"], -VECTORS)


@pytest.mark.parametrize("form", ["fixed", "list", "large_list", "double"])
def test_an_embedding_of_any_list_type_is_read_as_unit_vectors(tmp_path, form):
    columns = {
        "fixed": fixed(VECTORS),
        "list": pa.array(VECTORS.tolist(), pa.list_(pa.float32())),
        "large_list": pa.array(VECTORS.tolist(), pa.large_list(pa.float32())),
        "double": pa.array(VECTORS.tolist(), pa.list_(pa.float64())),
    }
    read = read_embedding(write(tmp_path / "v.parquet", clip=columns[form]))
    assert read.video_ids_N.tolist() == IDS
    assert read.vectors_ND.dtype == np.float32
    assert np.allclose(read.vectors_ND, unit(VECTORS), atol=1e-6)


def test_an_array_file_is_read_with_its_ids(tmp_path):
    np.save(tmp_path / "v.npy", VECTORS)
    np.save(tmp_path / "ids.npy", np.array(IDS))
    (tmp_path / "ids.txt").write_text("\n".join(map(str, IDS)) + "\n")
    for ids in ("ids.npy", "ids.txt"):
        read = read_embedding(tmp_path / "v.npy", tmp_path / ids)
        assert read.video_ids_N.tolist() == IDS
        assert np.allclose(read.vectors_ND, unit(VECTORS), atol=1e-6)
    with pytest.raises(UserError, match="expected --ids"):
        read_embedding(tmp_path / "v.npy")


def test_of_several_lists_one_must_be_named(tmp_path):
    path = write(tmp_path / "v.parquet", a=fixed(VECTORS), b=fixed(-VECTORS))
    with pytest.raises(UserError, match=r"a, b; name one with --column"):
        read_embedding(path)
    assert np.allclose(read_embedding(path, column="b").vectors_ND, -unit(VECTORS), atol=1e-6)
    with pytest.raises(UserError, match="it has video_id, a, b"):
        read_embedding(path, column="c")


def test_vectors_without_a_direction_and_works_named_twice_are_refused(tmp_path):
    for value in (0.0, np.nan, np.inf):
        bad = VECTORS.copy()
        bad[2] = value
        with pytest.raises(UserError, match=r"1 others, e\.g\. of video 9"):
            read_embedding(write(tmp_path / "v.parquet", vector=fixed(bad)))
    with pytest.raises(UserError, match="one length"):
        read_embedding(write(tmp_path / "v.parquet", vector=pa.array([[1.0, 2.0], [1.0], [1.0], [1.0], [1.0]])))
    with pytest.raises(UserError, match="one length"):
        read_embedding(write(tmp_path / "v.parquet", vector=pa.array([[1.0], None, [1.0], [1.0], [1.0]])))
    pq.write_table(pa.table({"video_id": [1, 1], "vector": fixed(VECTORS[:2])}), tmp_path / "twice.parquet")
    with pytest.raises(UserError, match="2 rows of 1 works"):
        read_embedding(tmp_path / "twice.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match="expected a Parquet file"):
        read_embedding(tmp_path / "text.parquet")
