"""Filters as clients send them: understood in both forms alike, or refused by name."""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import orjson
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import grpc
from qdrant_client.conversions.conversion import RestToGrpc
from qdrant_client.http import models

from reelspace.search.access.filter_message import parse_filter_message
from reelspace.search.access.filter_request import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, parse_filter
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.compute.filters import Filter, HasId, Match, NumberRange, TimeRange, decode_filter, encode_filter

from .random_filters import Draw, as_json

GOOD = {"key": "a", "match": {"value": 1}}


def refusal(value: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        parse_filter(value)
    return caught.value


def field(**test: Any) -> dict[str, Any]:
    return {"must": [{"key": "a", **test}]}


def nested(depth: int) -> dict[str, Any]:
    where: dict[str, Any] = {"should": [GOOD]}
    for _ in range(depth - 1):
        where = {"should": [where]}
    return where


REFUSED: dict[str, tuple[Any, str]] = {
    "a list": ([], "filter:"),
    "misspelt clause": ({"musst": [GOOD]}, "filter.musst: unknown, the nearest is 'must'"),
    "condition is text": ({"must": ["a"]}, "filter.must[0]:"),
    "clause is a number": ({"should": 5}, "filter.should:"),
    "condition of unknown keys": ({"must": [{"kee": "a", "match": {"value": 1}}]}, "filter.must[0].kee: unknown, the nearest is 'key'"),
    "unknown test": (field(mach={"value": 1}), "filter.must[0].mach: unknown, the nearest is 'match'"),
    "no test": (field(), "filter.must[0]: expected one of match, range"),
    "two tests": (field(match={"value": 1}, range={"gt": 0}), "got match, range"),
    "key is a number": ({"must": [{"key": 5, "match": {"value": 1}}]}, "filter.must[0].key:"),
    "key names nothing": ({"must": [{"key": "a..b", "match": {"value": 1}}]}, "filter.must[0].key:"),
    "key is null": ({"must": [{"key": None, "match": {"value": 1}}]}, "filter.must[0].match: unknown"),
    "match of nothing": (field(match={}), "filter.must[0].match: expected one of value, any, except, got none"),
    "match of two": (field(match={"value": 1, "any": [1]}), "got value, any"),
    "match of a list": (field(match={"value": [1]}), "filter.must[0].match.value:"),
    "match of a fraction": (field(match={"value": 1.0}), "filter.must[0].match.value:"),
    "match of a huge number": (field(match={"value": 2**63}), "filter.must[0].match.value: expected a whole number of 64 bits"),
    "match of null": (field(match={"value": None}), "filter.must[0].match: expected one of"),
    "any of a text": (field(match={"any": "x"}), "filter.must[0].match.any: expected a list"),
    "any of two kinds": (field(match={"any": ["x", 1]}), "filter.must[0].match.any: expected only texts"),
    "any of a boolean": (field(match={"any": [1, True]}), "filter.must[0].match.any[1]:"),
    "except of null": (field(match={"except": ["x", None]}), "filter.must[0].match.except[1]:"),
    "lone surrogate": (field(match={"value": "\ud800"}), "filter.must[0].match.value: expected text"),
    "endless text": (field(match={"value": "x" * 65_537}), "filter.must[0].match.value: expected at most 65536 bytes"),
    "range of a boolean": (field(range={"gt": True}), "filter.must[0].range.gt:"),
    "range of two kinds": (field(range={"gt": 1, "lt": "2020-01-01"}), "filter.must[0].range.gt: expected a time"),
    "range of no time": (field(range={"gt": "soon"}), "filter.must[0].range.gt: expected a time"),
    "range without end": (field(range={"gt": math.inf}), "filter.must[0].range.gt: expected a finite number"),
    "range of no number": (field(range={"gt": math.nan}), "filter.must[0].range.gt: expected a finite number"),
    "range beyond float64": (field(range={"gt": 10**400}), "filter.must[0].range.gt: expected a finite number"),
    "misspelt bound": (field(range={"gtt": 1}), "filter.must[0].range.gtt: unknown, the nearest is 'gt'"),
    "negative count": (field(values_count={"gt": -1}), "filter.must[0].values_count.gt:"),
    "fractional count": (field(values_count={"gt": 1.5}), "filter.must[0].values_count.gt:"),
    "is_empty of text": (field(is_empty="yes"), "filter.must[0].is_empty: expected true or false"),
    "is_null without key": ({"must_not": [{"is_null": {}}]}, "filter.must_not[0].is_null.key:"),
    "is_empty and more": ({"must": [{"is_empty": {"key": "a"}, "is_null": {"key": "a"}}]}, "filter.must[0].is_null: unknown"),
    "ids are one": ({"must": [{"has_id": 5}]}, "filter.must[0].has_id: expected a list"),
    "id is negative": ({"must": [{"has_id": [1, -1]}]}, "filter.must[0].has_id[1]:"),
    "id is 2^64": ({"must": [{"has_id": [2**64]}]}, "filter.must[0].has_id[0]:"),
    "id is 1.0": ({"must": [{"has_id": [1.0]}]}, "filter.must[0].has_id[0]:"),
    "id is no UUID": ({"must": [{"has_id": ["5c56c793-69f3-4fbf-87e6-c4bf54c28c2"]}]}, "filter.must[0].has_id[0]:"),
    "min_should without count": ({"min_should": {"conditions": [GOOD]}}, "filter.min_should.min_count:"),
    "min_should of 0": (
        {"min_should": {"conditions": [GOOD], "min_count": 0}},
        "filter.min_should.min_count: expected a whole number of at least 1",
    ),
    "min_should of one": ({"min_should": {"conditions": GOOD, "min_count": 1}}, "filter.min_should.conditions: expected a list"),
    "too deep": (nested(MAX_DEPTH + 1), f"expected at most {MAX_DEPTH} filters inside each other"),
    "a thousand filters inside each other": (nested(1000), f"expected at most {MAX_DEPTH} filters inside each other"),
    "a thousand conditions": ({"should": [GOOD] * 1000}, f"filter.should[{MAX_CONDITIONS}]: expected at most {MAX_CONDITIONS} conditions"),
    "too many values": (
        field(match={"any": list(range(MAX_VALUES + 1))}),
        f"filter.must[0].match.any: expected at most {MAX_VALUES} values",
    ),
    "too many ids": ({"must": [{"has_id": [1] * MAX_VALUES}, {"has_id": [1]}]}, f"filter.must[1].has_id: expected at most {MAX_VALUES}"),
}

UNSERVED: dict[str, tuple[Any, str]] = {
    "geo_radius": (field(geo_radius={"center": {"lat": 1, "lon": 1}, "radius": 5}), "the condition geo_radius is not served here"),
    "geo_bounding_box": (field(geo_bounding_box={}), "the condition geo_bounding_box is not served here"),
    "geo_polygon": (field(geo_polygon={}), "the condition geo_polygon is not served here"),
    "text": (field(match={"text": "(a+)+$"}), "match text is not served here"),
    "text_any": (field(match={"text_any": "x"}), "match text_any is not served here"),
    "phrase": (field(match={"phrase": "x"}), "match phrase is not served here"),
    "prefix": (field(match={"prefix": "x"}), "match prefix is not served here"),
    "substring": (field(match={"substring": "x"}), "match substring is not served here"),
    "nested": ({"must": [{"nested": {"key": "a", "filter": {}}}]}, "the condition nested is not served here"),
    "has_vector": ({"must": [{"has_vector": "v"}]}, "the condition has_vector is not served here"),
    "slice": ({"must": [{"slice": {"total": 2, "index": 0}}]}, "the condition slice is not served here"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_filter_is_refused_naming_the_field(name: str) -> None:
    value, message = REFUSED[name]
    error = refusal(value)
    assert message in str(error)
    assert error.status == 400


@pytest.mark.parametrize("name", UNSERVED)
def test_condition_that_is_not_served_answers_501_by_name(name: str) -> None:
    value, message = UNSERVED[name]
    error = refusal(value)
    assert str(error).endswith(message)
    assert error.status == 501


def test_every_condition_that_the_client_can_send_is_served_or_named() -> None:
    tests = {name for name, (value, _) in UNSERVED.items() if "key" in value["must"][0] and "match" not in value["must"][0]}
    assert set(models.FieldCondition.model_fields) == tests | {"key", "match", "range", "values_count", "is_empty", "is_null"}
    matches = set(grpc.Match.DESCRIPTOR.fields_by_name)
    served = {"keyword", "integer", "boolean", "keywords", "integers", "except_integers", "except_keywords"}
    assert matches - served <= set(UNSERVED)
    conditions = set(grpc.Condition.DESCRIPTOR.fields_by_name)
    assert conditions - {"field", "is_empty", "has_id", "filter", "is_null"} <= set(UNSERVED)


def test_largest_filters_are_understood() -> None:
    assert isinstance(parse_filter(nested(MAX_DEPTH)), Filter)
    assert len(parse_filter({"should": [GOOD] * MAX_CONDITIONS}).should) == MAX_CONDITIONS
    values = parse_filter(field(match={"any": [f"t{one}" for one in range(MAX_VALUES)]})).must[0]
    assert isinstance(values, Match)
    assert len(values.values) == MAX_VALUES


def test_null_is_as_if_left_out_and_one_condition_as_a_list_of_one() -> None:
    said = {"must": {"key": "a", "match": {"value": 1}, "range": None, "is_empty": None}, "should": None, "min_should": None}
    assert parse_filter(said) == parse_filter({"must": [GOOD]})
    assert parse_filter({"must": [{}]}) == Filter(must=(Filter(),))


def test_ids_are_told_apart_and_uuids_are_one_however_written() -> None:
    text = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"
    forms = [text, text.upper(), text.replace("-", ""), f"{{{text}}}", f"urn:uuid:{text}"]
    where = parse_filter({"must": [{"has_id": [*forms, 5, 2**64 - 1, str(UUID(int=5))]}]})
    assert where.must == (HasId((UUID(text), 5, 2**64 - 1, UUID(int=5))),)


def test_kinds_of_range_are_told_apart() -> None:
    assert parse_filter(field(range={"gt": 1, "lte": 2.5})).must == (NumberRange("a", gt=1.0, lte=2.5),)
    hour = 3600 * 1_000_000
    assert parse_filter(field(range={"gte": "1970-01-01T02:00:00+01:00"})).must == (TimeRange("a", gte=hour),)
    assert parse_filter(field(range={})).must == (NumberRange("a"),)


@pytest.mark.parametrize("seed", range(3))
def test_filters_of_the_official_client_mean_the_same_over_http_and_grpc(seed: int) -> None:
    draw = Draw(seed)
    for _ in range(200):
        model = draw.filter()
        from_json = parse_filter(orjson.loads(orjson.dumps(as_json(model))))
        sent = grpc.Filter.FromString(RestToGrpc.convert_filter(model).SerializeToString())
        assert decode_filter(encode_filter(parse_filter_message(sent))) == from_json, model


def condition(**fields: Any) -> grpc.Filter:
    return grpc.Filter(must=[grpc.Condition(**fields)])


def on_field(**test: Any) -> grpc.Filter:
    return condition(field=grpc.FieldCondition(key="a", **test))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (condition(), "filter.must[0]: expected one kind to be set"),
        (on_field(), "filter.must[0]: expected one of match"),
        (on_field(match=grpc.Match()), "filter.must[0].match: expected one kind to be set"),
        (on_field(match=grpc.Match(keyword="x"), is_null=True), "got match, is_null"),
        (on_field(range=grpc.Range(gt=math.nan)), "filter.must[0].range.gt: expected a finite number"),
        (on_field(range=grpc.Range(), datetime_range=grpc.DatetimeRange()), "filter.must[0].datetime_range: expected one of"),
        (on_field(values_count=grpc.ValuesCount(gt=2**64 - 1)), "filter.must[0].values_count.gt:"),
        (condition(has_id=grpc.HasIdCondition(has_id=[grpc.PointId()])), "filter.must[0].has_id[0]: expected one kind"),
        (
            condition(has_id=grpc.HasIdCondition(has_id=[grpc.PointId(uuid="x")])),
            "filter.must[0].has_id[0]: expected a whole number or a UUID",
        ),
        (condition(is_empty=grpc.IsEmptyCondition()), "filter.must[0].is_empty.key: expected a key"),
        (grpc.Filter(min_should=grpc.MinShould()), "filter.min_should.min_count:"),
    ],
)
def test_bad_message_is_refused_naming_the_field_as_in_json(message: grpc.Filter, expected: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_filter_message(message)
    assert expected in str(caught.value)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("message", "feature"),
    [
        (on_field(geo_radius=grpc.GeoRadius()), "the condition geo_radius"),
        (on_field(match=grpc.Match(text="x")), "match text"),
        (on_field(match=grpc.Match(substring="x")), "match substring"),
        (condition(nested=grpc.NestedCondition(key="a")), "the condition nested"),
        (condition(has_vector=grpc.HasVectorCondition(has_vector="v")), "the condition has_vector"),
        (condition(slice=grpc.SliceCondition(total=2)), "the condition slice"),
    ],
)
def test_message_that_is_not_served_answers_501_by_name(message: grpc.Filter, feature: str) -> None:
    with pytest.raises(RequestRefused, match=f"{feature} is not served here") as caught:
        parse_filter_message(message)
    assert caught.value.status == 501


def test_time_that_no_calendar_has_is_refused() -> None:
    message = on_field(datetime_range=grpc.DatetimeRange())
    message.must[0].field.datetime_range.gt.seconds = 2**62
    with pytest.raises(RequestRefused, match="expected a time from the year 1 to 9999"):
        parse_filter_message(message)


def test_time_range_without_bounds_asks_for_any_time() -> None:
    where = parse_filter_message(on_field(datetime_range=grpc.DatetimeRange()))
    assert isinstance(where.must[0], TimeRange)


numbers = st.one_of(st.floats(), st.integers(-(2**70), 2**70))
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=6), st.sampled_from(["a", "2020-01-01"]))
NAMES = "must should must_not min_should conditions min_count key match value any except range gt lte has_id is_empty is_null"
names = st.sampled_from([*NAMES.split(), "values_count", "nested", "text", "nonsense"])
anything = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)), max_leaves=20
)


def answered(parse: Callable[[], Filter]) -> Filter | RequestRefused:
    try:
        return parse()
    except RequestRefused as error:
        return error


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(names, anything, max_size=3))
def test_whatever_comes_is_understood_or_refused(value: dict[str, Any]) -> None:
    answer = answered(lambda: parse_filter(value))
    if isinstance(answer, RequestRefused):
        assert answer.status in (400, 501)
        assert str(answer).startswith("filter")
    else:
        assert decode_filter(encode_filter(answer)) == answer


def test_messages_with_a_changed_byte_are_understood_or_refused() -> None:
    draw, num_parsed = Draw(11), 0
    for _ in range(1500):
        data = bytearray(RestToGrpc.convert_filter(draw.filter()).SerializeToString() or b"x")
        data[draw.below(len(data))] ^= 1 << draw.below(8)
        with suppress(DecodeError):
            message = grpc.Filter.FromString(bytes(data))
            answer = answered(partial(parse_filter_message, message))
            assert isinstance(answer, Filter) or answer.status in (400, 501)
            num_parsed += 1
    assert num_parsed > 300
