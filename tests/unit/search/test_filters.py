"""Filters against the official client's own local evaluation, one row at a time."""

from uuid import UUID

import numpy as np
import orjson
import pytest
from qdrant_client.local.payload_filters import check_filter

from reelspace.search.access.filter_request import parse_filter
from reelspace.search.compute.filters import Filter, FilterRefused, HasId, Match, decode_filter, encode_filter
from reelspace.search.compute.payloads import Payloads

from .random_filters import Draw, as_json, rows_of


def allowed(payloads: Payloads, ids: list[int | str], where: Filter) -> list[bool]:
    return payloads.mask(where, rows_of(ids)).tolist()


def one_row(payload: object, where: object) -> bool:
    payloads = Payloads()
    payloads.append([orjson.dumps(payload)])
    return allowed(payloads, [1], parse_filter(where))[0]


def compare(seed: int, num_rows: int, num_filters: int) -> tuple[int, int]:
    draw = Draw(seed)
    plain = [draw.payload() for _ in range(num_rows)]
    ids = [draw.point_id(row) for row in range(num_rows)]
    payloads = Payloads()
    payloads.append([orjson.dumps(one) for one in plain])
    num_allowed = 0
    for _ in range(num_filters):
        model = draw.filter()
        expected = [check_filter(model, payload, point_id, {}) for payload, point_id in zip(plain, ids, strict=True)]
        assert allowed(payloads, ids, parse_filter(as_json(model))) == expected, model
        num_allowed += sum(expected)
    return num_allowed, num_rows * num_filters


@pytest.mark.parametrize("seed", range(4))
def test_random_filters_allow_what_the_official_client_allows(seed: int) -> None:
    num_allowed, num_cases = compare(seed, num_rows=80, num_filters=100)
    assert 0.2 < num_allowed / num_cases < 0.8


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_random_filters_allow_what_the_official_client_allows(seed: int) -> None:
    compare(seed, num_rows=200, num_filters=300)


@pytest.mark.parametrize("seed", range(3))
def test_filter_travels_as_bytes_and_comes_back_equal(seed: int) -> None:
    draw = Draw(seed)
    for _ in range(100):
        where = parse_filter(as_json(draw.filter()))
        assert decode_filter(encode_filter(where)) == where
    ids = Filter(must=(HasId((2**64 - 1, UUID(int=7))),))
    assert decode_filter(encode_filter(ids)) == ids


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'["match","a",["x"]]', b'["filter",[],[]]', b'["filter",[["odd","a"]],[],[],null]', b"7"]
)
def test_bytes_that_are_no_filter_are_refused(data: bytes) -> None:
    with pytest.raises(FilterRefused, match="expected the bytes of a filter"):
        decode_filter(data)


def test_whole_numbers_other_numbers_and_booleans_are_three_kinds() -> None:
    assert one_row({"a": 1}, {"must": [{"key": "a", "match": {"value": 1}}]})
    assert not one_row({"a": 1.0}, {"must": [{"key": "a", "match": {"value": 1}}]})
    assert not one_row({"a": True}, {"must": [{"key": "a", "match": {"value": 1}}]})
    assert not one_row({"a": 1}, {"must": [{"key": "a", "match": {"value": True}}]})
    assert one_row({"a": 1.0}, {"must": [{"key": "a", "range": {"gte": 1, "lte": 1}}]})
    assert not one_row({"a": True}, {"must": [{"key": "a", "range": {}}]})


def test_neighbours_beyond_float64_are_told_apart_by_a_range() -> None:
    beyond = {"must": [{"key": "a", "range": {"gt": float(2**53)}}]}
    assert one_row({"a": 2**53 + 1}, beyond)
    assert not one_row({"a": 2**53}, beyond)


@pytest.mark.parametrize("value", [2, 2.5, "2020-01-02T03:04:05.000001Z"])
def test_bounds_are_within_or_without_as_they_say(value: object) -> None:
    holds = {name: one_row({"a": value}, {"must": [{"key": "a", "range": {name: value}}]}) for name in ("gt", "gte", "lt", "lte")}
    assert holds == {"gt": False, "gte": True, "lt": False, "lte": True}


def test_largest_and_least_whole_numbers_match_themselves() -> None:
    for value in (2**63 - 1, -(2**63)):
        assert one_row({"a": value}, {"must": [{"key": "a", "match": {"value": value}}]})


def test_as_many_values_as_rows_are_not_taken_for_one_in_each() -> None:
    payloads = Payloads()
    payloads.append([b'{"a":[1,2]}', b"{}", b'{"a":3}'])
    assert allowed(payloads, [], Filter(must=(Match("a", (2,)),))) == [True, False, False]


def test_whole_number_beyond_64_bits_has_a_range_and_matches_nothing() -> None:
    huge = {"a": 2**64 - 1}
    assert one_row(huge, {"must": [{"key": "a", "range": {"gt": 1e18}}]})
    assert one_row(huge, {"must": [{"key": "a", "match": {"except": [5]}}]})
    assert not one_row(huge, {"must": [{"key": "a", "match": {"any": [2**63 - 1]}}]})


def test_null_and_missing_values_are_no_values_that_differ() -> None:
    differs = {"must": [{"key": "a", "match": {"except": ["x"]}}]}
    assert not one_row({"a": None}, differs)
    assert not one_row({}, differs)
    assert one_row({"a": {}}, differs)
    assert one_row({"a": ["x", 5]}, differs)
    assert not one_row({"a": ["x", None]}, differs)


def test_any_time_is_a_time_range_without_bounds_but_no_text_is() -> None:
    where = parse_filter({"must": [{"key": "a", "range": {"gte": "0001-01-01"}}]})
    payloads = Payloads()
    payloads.append([b'{"a":"2020-01-02"}', b'{"a":"soon"}', b'{"a":5}'])
    assert allowed(payloads, [1, 2, 3], where) == [True, False, False]


def test_unknown_key_allows_nothing_and_is_no_error() -> None:
    assert not one_row({"a": 1}, {"must": [{"key": "nothing.here[3]", "match": {"value": 1}}]})


def test_large_list_of_values_finds_each() -> None:
    payloads = Payloads()
    payloads.append([orjson.dumps({"number": row, "text": f"t{row}"}) for row in range(3000)])
    wanted = list(range(0, 60_000, 20))
    assert np.flatnonzero(allowed(payloads, [], Filter(must=(Match("number", tuple(wanted)),)))).tolist() == wanted[:150]
    texts = Filter(must=(Match("text", tuple(f"t{one}" for one in wanted)),))
    assert np.flatnonzero(allowed(payloads, [], texts)).tolist() == wanted[:150]
