import hashlib
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.core.errors import CorruptArtifact
from reelspace.search.storage.entries import Write, decode, encode, seal, unseal
from reelspace.search.storage.rows import Change, Op, VectorField

from .builders import FIELDS, damaged, delete, rows, upsert, vector

KEY = "collections/videos/shards/0/log/00000000000000000001.arrow"
ids = st.one_of(st.integers(0, 2**64 - 1), st.builds(lambda number: UUID(int=number), st.integers(0, 2**128 - 1)))
numbers = st.floats(-1e6, 1e6, width=32).map(lambda value: value or 1.0)
json_objects = st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=5)))
changes = st.one_of(
    st.builds(
        Change,
        st.just(Op.UPSERT),
        ids,
        st.fixed_dictionaries(
            {"": st.lists(st.floats(1, 9, width=32), min_size=4, max_size=4)}, optional={"sound": st.lists(numbers, min_size=3, max_size=3)}
        ),
        st.one_of(st.none(), json_objects),
    ),
    st.builds(Change, st.just(Op.DELETE), ids),
    st.builds(Change, st.just(Op.MERGE_PAYLOAD), ids, payload=json_objects),
    st.builds(Change, st.just(Op.DROP_PAYLOAD), ids, payload=st.lists(st.sampled_from(["a", "b.c", 'd[]."e f"']))),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=9), st.lists(changes, min_size=1, max_size=5)), min_size=1, max_size=3))
def test_what_is_encoded_is_decoded_to_the_same_writes(parts: list[tuple[str, list[Change]]]) -> None:
    written = [Write(key, 1_000_000 + number, rows(*part)) for number, (key, part) in enumerate(parts)]
    read = decode(KEY, 1, FIELDS, encode(KEY, FIELDS, written)).writes
    assert [(one.request_key, one.at_us, one.rows.digest) for one in read] == [
        (one.request_key, one.at_us, one.rows.digest) for one in written
    ]
    for one, (_, part) in zip(read, parts, strict=True):
        assert one.rows.ids == tuple(change.id for change in part)
        assert one.rows.ops_N.tolist() == [change.op for change in part]
        for name, column in one.rows.vectors.items():
            assert column.vectors_MD.tolist() == [change.vectors[name] for change in part if name in change.vectors]


def small() -> bytes:
    return encode(KEY, FIELDS, [Write("k", 5, rows(upsert(1, 1.0), delete(UUID(int=2))))])


def test_every_changed_byte_and_every_cut_is_refused_by_name() -> None:
    num = 0
    for data in damaged(small()):
        with pytest.raises(CorruptArtifact, match=f"log object {KEY} is corrupt"):
            decode(KEY, 1, FIELDS, data)
        num += 1
    assert num > 4 * len(small())


def test_an_object_under_another_number_is_refused() -> None:
    other = KEY.replace("1.arrow", "2.arrow")
    with pytest.raises(CorruptArtifact, match=other):
        decode(other, 2, FIELDS, small())
    assert decode(other, 2, FIELDS, seal(other, unseal(KEY, small()))).writes[0].request_key == "k"


def test_arrow_reads_an_object_as_it_is() -> None:
    table = pa.ipc.open_stream(small()).read_all()
    assert table["op"].to_pylist() == [1, 2]
    assert table["id"].to_pylist() == [1, None]
    assert table["uuid"].to_pylist() == [None, UUID(int=2).bytes]
    assert table["vector:"].to_pylist() == [vector(1.0), None]
    assert table["request_key"].to_pylist() == ["k", "k"]


def test_an_object_of_another_collection_is_refused() -> None:
    for fields in ({"": FIELDS[""]}, {"": FIELDS[""], "colour": FIELDS["sound"]}):
        with pytest.raises(CorruptArtifact, match="another collection"):
            decode(KEY, 1, fields, small())
    with pytest.raises(CorruptArtifact, match="expected 5 numbers"):
        decode(KEY, 1, {**FIELDS, "": VectorField(5, "cosine")}, small())


def written_by_another(batches: list[Any], schema: Any) -> bytes:
    """Seal a stream as a third party would that knows the format: the hash is right."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data + hashlib.sha256(KEY.encode() + b"\0" + data).digest()


def table_with(column: str, values: list[object]) -> bytes:
    table = pa.ipc.open_stream(small()).read_all()
    place = table.schema.get_field_index(column)
    changed = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return written_by_another(changed.to_batches(), table.schema)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("vector:", [[1.0, float("nan"), 1.0, 1.0], None]),
        ("vector:", [[1.0, float("inf"), 1.0, 1.0], None]),
        ("vector:", [[0.0, 0.0, 0.0, 0.0], None]),
        ("vector:", [[1.0, None, 1.0, 1.0], None]),
        ("vector:", [[1.0, 1.0, 1.0], None]),
        ("vector:", [vector(1.0), vector(1.0)]),
        ("vector:", [None, vector(1.0)]),
        ("op", [1, 9]),
        ("op", [2, 2]),
        ("id", [1, 3]),
        ("id", [None, None]),
        ("payload", [b"{", None]),
        ("payload", [b"\xff", None]),
        ("request_key", ["k", "l"]),
    ],
)
def test_what_no_writer_of_ours_writes_is_refused_though_its_hash_is_right(column: str, values: list[object]) -> None:
    with pytest.raises(CorruptArtifact, match=f"log object {KEY} does not hold writes"):
        decode(KEY, 1, FIELDS, table_with(column, values))


def test_streams_that_are_no_log_are_refused_though_their_hash_is_right() -> None:
    schema = pa.ipc.open_stream(small()).schema
    cases = [
        (seal(KEY, b""), "does not hold writes"),
        (seal(KEY, b"no arrow at all"), "does not hold writes"),
        (seal(KEY, unseal(KEY, small())[:-60]), "does not hold writes"),
        (written_by_another([], schema), "holds no write"),
        (written_by_another([], schema.with_metadata({"reelspace.log": "2"})), "version b'2', this program reads b'1'"),
        (written_by_another([], schema.remove_metadata()), "version None"),
        (written_by_another([pa.record_batch([pa.array([], one.type) for one in schema], schema=schema)], schema), "does not hold writes"),
    ]
    for data, message in cases:
        with pytest.raises(CorruptArtifact, match=message):
            decode(KEY, 1, FIELDS, data)
