"""Rows, changes and caches against plain dictionaries and the official client's local evaluation."""

import statistics
import timeit
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from qdrant_client.http import models
from qdrant_client.local.payload_filters import check_filter

from reelspace.search.access.filter_request import parse_filter
from reelspace.search.compute.filter_cache import FilterCache
from reelspace.search.compute.filters import Filter, HasId, IsEmpty, IsNull, Match, encode_filter
from reelspace.search.compute.payload_rows import MAX_ASKED_COLUMNS, PayloadRows
from reelspace.search.compute.payload_values import MIN_ORDERED
from reelspace.search.compute.payloads import PayloadRefused, Payloads, payload_rows
from reelspace.search.storage.payload_edits import merged, without
from reelspace.search.storage.payload_path import KeyRefused, parse_key

from .random_filters import KEYS, Draw, as_json, rows_of

RED = Filter(must=(Match("color", ("red",)),))


def make(*payloads: Any) -> Payloads:
    made = Payloads()
    made.append([orjson.dumps(payload) for payload in payloads])
    return made


def mask(payloads: Payloads, where: Filter) -> list[bool]:
    return payloads.mask(where, rows_of([])).tolist()


def change(draw: Draw, payloads: Payloads, plain: list[dict[str, Any]]) -> None:
    """Do one random thing to both."""
    kind, row = draw.below(4), draw.below(len(plain))
    if kind == 0:
        more = [draw.payload() for _ in range(draw.below(5))]
        payloads.append([orjson.dumps(one) for one in more])
        plain.extend(more)
    elif kind == 1:
        plain[row] = draw.payload()
        payloads.overwrite(row, orjson.dumps(plain[row]))
    elif kind == 2:
        values, key = draw.payload(1), draw.one_of([None, *KEYS])
        plain[row] = merged(plain[row], values, () if key is None else parse_key(key))
        payloads.set_keys(row, values, key)
    else:
        keys = draw.some_of(KEYS)
        plain[row] = without(plain[row], [parse_key(key) for key in keys])
        payloads.delete_keys(row, keys)


def expected(plain: list[dict[str, Any]], model: models.Filter) -> list[bool]:
    return [check_filter(model, payload, row, {}) for row, payload in enumerate(plain)]


@pytest.mark.parametrize(("seed", "max_bytes"), [(0, 1 << 20), (1, 300), (2, 1 << 20)])
def test_cached_filters_stay_true_through_any_history(seed: int, max_bytes: int) -> None:
    draw = Draw(seed)
    plain = [draw.payload() for _ in range(20)]
    payloads = make(*plain)
    models_ = [draw.filter() for _ in range(20)]
    known = [encode_filter(parse_filter(as_json(model))) for model in models_]
    cache = FilterCache(payloads, lambda ids: rows_of(list(range(len(plain))))(ids), max_bytes=max_bytes)
    for step in range(150):
        change(draw, payloads, plain)
        number = draw.below(20)
        allowed = cache.allowed(known[number])
        wanted = expected(plain, models_[number])
        assert allowed.mask_N().tolist() == wanted, (step, models_[number])
        assert allowed.num_allowed == sum(wanted)
        assert cache.size_bytes <= max_bytes
    assert [payloads.payload(row) for row in range(len(plain))] == plain


@pytest.mark.parametrize("seed", range(2))
def test_saved_payloads_open_equal_without_reading_their_json(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Draw(seed)
    plain = [draw.payload() for _ in range(60)]
    payloads = Payloads(KEYS)
    payloads.append([orjson.dumps(payload) for payload in plain])
    for _ in range(40):
        change(draw, payloads, plain)
    table = payloads.to_table()
    with pa.ipc.new_file(str(tmp_path / "payload.arrow"), table.schema) as writer:
        writer.write_table(table)
    opened = Payloads.from_table(pa.ipc.open_file(pa.memory_map(str(tmp_path / "payload.arrow"))).read_all(), KEYS)
    assert [opened.payload(row) for row in range(len(plain))] == plain
    with monkeypatch.context() as patched:
        patched.setattr("reelspace.search.compute.payload_rows.orjson.loads", lambda text: pytest.fail("a row was parsed"))
        found = {seed: opened.mask(parse_filter(as_json(Draw(seed).filter())), rows_of([])).tolist() for seed in range(50)}
    assert found == {seed: payloads.mask(parse_filter(as_json(Draw(seed).filter())), rows_of([])).tolist() for seed in range(50)}
    for _ in range(20):
        change(draw, opened, plain)
    for seed in range(50):
        model = Draw(seed).filter()
        assert opened.mask(parse_filter(as_json(model)), rows_of(list(range(len(plain))))).tolist() == expected(plain, model)


@pytest.mark.parametrize("seed", range(2))
def test_columns_that_are_read_ahead_in_parts_answer_like_plain_payloads_and_filters_parse_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Draw(seed)
    plain = [draw.payload() for _ in range(40)]
    payloads = make(*plain)
    payloads.keep_columns(KEYS)
    for number in range(40):
        change(draw, payloads, plain)
        payloads.read_ahead(1 + draw.below(9))
        model = Draw(number).filter()
        if number % 4 == 3:
            while payloads.read_ahead(5):
                pass
            with monkeypatch.context() as patched:
                patched.setattr("reelspace.search.compute.payload_rows.orjson.loads", lambda text: pytest.fail("a row was parsed"))
                payloads.mask(parse_filter(as_json(model)), rows_of([]))
        assert payloads.mask(parse_filter(as_json(model)), rows_of(list(range(len(plain))))).tolist() == expected(plain, model)


def test_columns_of_keys_that_are_kept_no_more_are_forgotten() -> None:
    payloads = make({"color": "red", "size": 1})
    payloads.keep_columns(["color", "size"])
    assert payloads.read_ahead()
    assert not payloads.read_ahead()
    payloads.keep_columns(["size"])
    assert payloads.indexed == ("size",)
    assert mask(payloads, RED) == [True]


def test_rows_keep_the_json_they_were_given() -> None:
    payloads = Payloads()
    payloads.append([b'{ "b": 1.50, "a": [1,\n2] }', b"{}"])
    assert payloads.json(0) == b'{ "b": 1.50, "a": [1,\n2] }'
    reopened = Payloads.from_table(payloads.to_table())
    reopened.append([b'{"c": 1e2}'])
    assert [reopened.json(row) for row in range(3)] == [b'{ "b": 1.50, "a": [1,\n2] }', b"{}", b'{"c": 1e2}']


def test_many_payloads_at_once_are_those_of_each_row() -> None:
    written = Payloads()
    written.append([b'{"a": 1}', b'{"a": 2}', b'{"a": 3}'])
    payloads = Payloads.from_table(written.to_table())
    payloads.append([b'{"a": 4}', b'{"a": 5}'])
    payloads.overwrite(1, b'{"b": 1}')
    payloads.overwrite(4, b'{"b": 2}')
    rows = [4, 0, 1, 3, 2, 1]
    assert payloads.jsons(rows) == [payloads.json(row) for row in rows]
    assert payloads.jsons([]) == []


@pytest.mark.parametrize("bad", [b"", b"[1]", b"null", b'{"a":', b'{"a":NaN}', b"\xff"])
def test_payload_that_is_no_object_is_refused_and_nothing_is_added(bad: bytes) -> None:
    payloads = make({"color": "red"})
    with pytest.raises(PayloadRefused, match="payload 1: expected a JSON object"):
        payloads.append([b"{}", bad])
    with pytest.raises(PayloadRefused, match="payload of row 0"):
        payloads.overwrite(0, bad)
    assert payloads.edition == make({}).edition
    assert mask(payloads, RED) == [True]


def test_payload_that_could_not_be_written_again_is_refused_at_once() -> None:
    payloads = make({})
    wide = b'{"a":[' + b",".join([b"{}"] * 1000) + b"]}"
    payloads.append([wide])
    deep = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"
    with pytest.raises(PayloadRefused, match="payload 0: expected JSON of at most 254"):
        payloads.append([deep])
    with pytest.raises(PayloadRefused, match="payload of row 0: expected JSON of at most 254"):
        payloads.set_keys(0, {"b": 1}, ".".join("a" * 300))
    with pytest.raises(PayloadRefused, match="payload of row 0"):
        payloads.set_keys(0, {"b": 2**64})
    assert [payloads.json(row) for row in range(2)] == [b"{}", wide]


def test_row_that_is_not_there_is_an_error() -> None:
    payloads = make({}, {})
    for row in (-1, 2):
        with pytest.raises(IndexError, match="below 2"):
            payloads.overwrite(row, b"{}")
        with pytest.raises(IndexError, match="below 2"):
            payloads.json(row)


def test_key_that_names_nothing_is_refused_when_a_filter_asks_for_it() -> None:
    with pytest.raises(KeyRefused):
        mask(make({}), Filter(must=(IsNull("a..b"),)))
    with pytest.raises(KeyRefused):
        make({}).keep_columns([""])


def test_row_that_changes_twice_counts_as_it_is_last() -> None:
    payloads = make({"color": "red"}, {"color": "red"})
    payloads.overwrite(0, b'{"color":"blue"}')
    payloads.overwrite(1, b'{"color":"blue"}')
    payloads.overwrite(1, b'{"color":"red"}')
    assert mask(payloads, RED) == [False, True]


def test_columns_that_nobody_declared_are_bounded_and_come_back() -> None:
    rows = PayloadRows(["color"])
    rows.append([b'{"color":"red"}', b"{}"])
    kept, dropped, color = rows.column("kept"), rows.column("dropped"), rows.column("color")
    for number in range(MAX_ASKED_COLUMNS - 1):
        rows.column(f"k{number}")
        assert rows.column("kept") is kept
    rows.append([b'{"dropped":1,"color":"red"}'])
    assert rows.column("dropped") is not dropped
    assert rows.column("dropped").mask(IsEmpty("dropped")).tolist() == [True, True, False]
    assert rows.column("color") is color
    assert color.mask(IsEmpty("color")).tolist() == [False, True, False]


def test_id_that_is_written_again_is_found_at_its_newest_row() -> None:
    payloads, ids = make({}, {}), [7, 8]
    cache = FilterCache(payloads, lambda wanted: rows_of([*ids])(wanted))
    where = encode_filter(Filter(must=(HasId((7,)),)))
    assert cache.allowed(where).mask_N().tolist() == [True, False]
    payloads.append([b"{}"])
    ids.append(7)
    assert cache.allowed(where).mask_N().tolist()[2]


def test_cache_counts_an_answer_once_however_often_it_is_brought_up_to_date() -> None:
    payloads, where = make({"color": "red"}), encode_filter(RED)
    cache = FilterCache(payloads, rows_of([]))
    for _ in range(50):
        payloads.append([b'{"color":"red"}'])
        cache.allowed(where)
    fresh = FilterCache(payloads, rows_of([]))
    fresh.allowed(where)
    assert cache.size_bytes == fresh.size_bytes > 2 * len(where)


def test_bits_are_those_that_faiss_reads() -> None:
    faiss = pytest.importorskip("faiss")
    payloads = make(*({"color": "red" if row % 3 == 0 else "blue"} for row in range(50)))
    allowed = FilterCache(payloads, rows_of([])).allowed(encode_filter(RED))
    index = faiss.IndexFlatIP(4)
    index.add(np.eye(4, dtype=np.float32)[np.arange(50) % 4])
    parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(allowed.bits))
    rows = index.search(np.ones((1, 4), dtype=np.float32), 50, params=parameters)[1][0]
    assert sorted(rows[rows >= 0].tolist()) == list(range(0, 50, 3))


def test_rows_of_a_table_become_payloads_without_its_empty_places() -> None:
    table = pa.table({"n": [1, None], "tags": [["a"], None], "at": pa.array([0, None], pa.timestamp("us", tz="UTC"))})
    assert payload_rows(table) == [b'{"n":1,"tags":["a"],"at":"1970-01-01T00:00:00Z"}', b"{}"]


@pytest.mark.parametrize("kind", ["integers", "texts", "lists"])
def test_equality_on_many_rows_is_that_of_each_row_also_after_more_came(kind: str) -> None:
    random = np.random.default_rng(5)
    numbers = random.integers(0, 50, 3 * MIN_ORDERED).tolist()
    values: list[Any] = {
        "integers": numbers,
        "texts": [f"t{number}" for number in numbers],
        "lists": [[number, number // 2] if number % 7 else [] for number in numbers],
    }[kind]
    wanted = (values[0], values[1], "none", 1000) if kind != "lists" else (3, 20, 1000)
    payloads = make()
    for end in (MIN_ORDERED, MIN_ORDERED + 100, 3 * MIN_ORDERED):
        start = len(mask(payloads, Filter()))
        payloads.append([orjson.dumps({"key": value}) for value in values[start:end]])
        expected = [bool(set(value if isinstance(value, list) else [value]) & set(wanted)) for value in values[:end]]
        assert mask(payloads, Filter(must=(Match("key", wanted),))) == expected
        assert mask(payloads, Filter(must_not=(Match("key", wanted),))) == [not held for held in expected]


def test_empty_shard_allows_nothing() -> None:
    assert mask(Payloads(), RED) == []
    assert mask(Payloads.from_table(Payloads(["color"]).to_table()), RED) == []


@pytest.mark.long
def test_match_on_half_a_million_rows_takes_under_10_ms_and_a_known_one_under_a_tenth() -> None:
    payloads, where = Payloads(["color"]), encode_filter(RED)
    payloads.append([b'{"color":"red","views":5}' if row % 20 == 0 else b'{"color":"blue","views":7}' for row in range(500_000)])
    payloads.keep_columns(["color"])
    cold_s = statistics.median(timeit.repeat(lambda: FilterCache(payloads, rows_of([])).allowed(where), number=1, repeat=9))
    cache = FilterCache(payloads, rows_of([]))
    assert cache.allowed(where).num_allowed == 25_000
    warm_s = statistics.median(timeit.repeat(lambda: cache.allowed(where), number=1, repeat=99))
    assert cold_s < 0.010
    assert warm_s < 0.000_1
