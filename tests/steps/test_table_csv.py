"""Records of CSV: what Python's own module writes is read back, and no byte is lost or read twice."""

import csv
import hashlib
import io
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.steps.table_csv import read_records
from reelspace.steps.table_lines import read_lines


def records_of(data: bytes, max_bytes: int = 1 << 20) -> Iterator[list[str] | None]:
    for record in read_records(read_lines(io.BytesIO(data), max_bytes), max_bytes):
        yield None if record.fields is None else [field.decode() for field in record.fields]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.text(alphabet='ab,"\r\n é', max_size=6), min_size=2, max_size=4), min_size=1, max_size=6))
def test_what_pythons_csv_writes_is_read_back(rows: list[list[str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    assert list(records_of(out.getvalue().encode())) == rows


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200).map(lambda data: data.replace(b"x", b'"')), st.integers(1, 30))
def test_every_byte_of_any_csv_lies_in_one_record_or_is_a_newline(data: bytes, max_bytes: int) -> None:
    end = 0
    for record in read_records(read_lines(io.BytesIO(data), max_bytes), max_bytes):
        assert record.line.start == end
        assert record.line.sha256 == hashlib.sha256(data[record.line.start : record.line.end]).hexdigest()
        end = record.line.end + 1
    assert end in (len(data), len(data) + 1)


def test_a_quote_that_is_never_closed_costs_one_line_of_many() -> None:
    good = [f"{n},x" for n in range(1000)]
    data = "\n".join([*good[:500], '7,"open', *good[500:]]).encode()
    read = list(records_of(data))
    assert read.count(None) == 1
    assert [fields for fields in read if fields] == [line.split(",") for line in good]
