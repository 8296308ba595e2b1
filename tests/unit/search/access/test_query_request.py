from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.search.access.query_request import MAX_LIMIT, parse_groups, parse_query, parse_searches
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import PointTarget, QueryRequest, RecommendTarget, Selection, TextTarget, VectorTarget
from reelspace.search.compute.filters import Filter, Match, decode_filter
from reelspace.search.storage.rows import MAX_SQUARED_LENGTH, MIN_SQUARED_LENGTH, VectorField

FIELDS = {"": VectorField(4, "cosine"), "taste": VectorField(2, "dot")}
GOOD = [0.5, -0.5, 0.5, -0.5]
WORDS = {"text": "猫 cat", "model": "text_encoder"}
numbers = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(-(2**80), 2**80))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
keys = st.sampled_from(
    ["query", "limit", "with_payload", "with_vector", "filter", "allow_partial", "offset", "params", "using", "nonsense"]
)


def parsed(value: object) -> QueryRequest | RequestRefused:
    try:
        return parse_query(value, FIELDS)
    except RequestRefused as error:
        return error


def target(query: object) -> object:
    return parse_query({"query": query}, FIELDS).target


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(keys, json_values, max_size=5))
def test_whatever_comes_is_understood_or_refused(value: dict[str, object]) -> None:
    answer = parsed(value)
    if isinstance(answer, RequestRefused):
        assert answer.status in (400, 501)
    else:
        assert 1 <= answer.limit + answer.offset <= MAX_LIMIT


@settings(deadline=None, max_examples=200)
@given(st.lists(numbers, min_size=4, max_size=4))
def test_every_accepted_vector_is_finite_and_neither_too_long_nor_without_direction(value: list[float]) -> None:
    answer = parsed({"query": value})
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.array([float(one) for one in value]).astype(np.float32)
        squared = float((cast.astype(np.float64) ** 2).sum())
    fits = MIN_SQUARED_LENGTH <= squared <= MAX_SQUARED_LENGTH
    assert fits == (not isinstance(answer, RequestRefused))
    if isinstance(answer, RequestRefused):
        assert str(answer).startswith("query")
    else:
        assert isinstance(answer.target, VectorTarget)
        assert answer.target.vector_D.tolist() == cast.tolist()


def test_a_zero_vector_has_an_inner_product_and_no_cosine() -> None:
    assert parse_query({"query": [0, 0], "using": "taste"}, FIELDS).using == "taste"
    with pytest.raises(RequestRefused, match="query: expected a vector that is not all zeros"):
        parse_query({"query": [0, 0, 0, 0]}, FIELDS)


def test_the_kinds_of_query_are_told_apart() -> None:
    uuid = UUID("5c56c793-69f3-4fbf-87e6-c4bf54c28c26")
    for query, wanted in ((7, PointTarget(7)), (2**64 - 1, PointTarget(2**64 - 1)), (str(uuid), PointTarget(uuid))):
        assert target(query) == target({"nearest": query}) == wanted
    assert target(WORDS) == target({"nearest": WORDS}) == TextTarget("猫 cat", "text_encoder")
    examples = target({"recommend": {"positive": [7, GOOD, WORDS], "negative": [str(uuid)], "strategy": "average_vector"}})
    assert isinstance(examples, RecommendTarget)
    assert [type(one) for one in examples.positive] == [PointTarget, VectorTarget, TextTarget]
    assert examples.negative == (PointTarget(uuid),)


def test_keys_that_are_null_or_say_the_default_are_as_if_left_out() -> None:
    said = {"limit": None, "offset": 0, "with_vector": False, "params": None, "using": "", "score_threshold": None, "shard_key": None}
    assert parse_query({"query": 7, "filter": {"must_not": [], "must": None}} | said, FIELDS) == parse_query({"query": 7}, FIELDS)


def test_filter_and_selection_reach_the_shards_form() -> None:
    where = {"must": [{"key": "kind", "match": {"value": "video"}}]}
    request = parse_query({"query": 7, "filter": where, "with_payload": ["a.b", "c[]"], "with_vector": ["taste", "taste"]}, FIELDS)
    assert decode_filter(request.where) == Filter(must=(Match("kind", ("video",)),))
    assert request.selection == Selection(True, (("a", "b"), ("c", None)), (), ("taste",))
    every = parse_query({"query": 7, "with_payload": {"exclude": ["a"]}, "with_vectors": True}, FIELDS).selection
    assert every == Selection(True, None, (("a",),), ("", "taste"))
    assert parse_query({"query": 7, "with_payload": []}, FIELDS).selection == Selection(True, ())


REFUSED = {
    "a list": ([], "body"),
    "no query": ({"limit": 3}, "query"),
    "unknown vector": ({"query": GOOD, "using": "smell"}, "using"),
    "vector of the other": ({"query": GOOD, "using": "taste"}, "query"),
    "limit and offset": ({"query": GOOD, "limit": 2000, "offset": 49}, "offset"),
    "offset -1": ({"query": GOOD, "offset": -1}, "offset"),
    "threshold text": ({"query": GOOD, "score_threshold": "0.5"}, "score_threshold"),
    "threshold true": ({"query": GOOD, "score_threshold": True}, "score_threshold"),
    "payload text": ({"query": GOOD, "with_payload": "kind"}, "with_payload"),
    "payload key": ({"query": GOOD, "with_payload": ["a..b"]}, "with_payload[0]"),
    "payload both": ({"query": GOOD, "with_payload": {"include": ["a"], "exclude": ["b"]}}, "with_payload"),
    "payload misspelt": ({"query": GOOD, "with_payload": {"includes": ["a"]}}, "the nearest is 'include'"),
    "vectors unknown": ({"query": GOOD, "with_vector": ["smell"]}, "with_vector[0]"),
    "vectors twice": ({"query": GOOD, "with_vector": True, "with_vectors": True}, "with_vectors"),
    "no positive": ({"query": {"recommend": {"negative": [1]}}}, "query.recommend.positive"),
    "bad example": ({"query": {"recommend": {"positive": [1, [1]]}}}, "query.recommend.positive[1]"),
    "no strategy": ({"query": {"recommend": {"positive": [1], "strategy": ["x"]}}}, "query.recommend.strategy"),
    "words without model": ({"query": {"text": "x"}}, "query.model"),
    "empty nearest": ({"query": {"nearest": None}}, "query.nearest"),
    "param misspelt": ({"query": GOOD, "params": {"hnsw_e": 1}}, "params.hnsw_e"),
    "bad filter": ({"query": GOOD, "filter": {"must": [{"key": "a"}]}}, "filter.must[0]"),
}

UNSERVED = {
    "prefetch": ({"prefetch": [], "query": GOOD}, "prefetch"),
    "exact": ({"query": GOOD, "params": {"exact": True}}, "params.exact"),
    "hnsw_ef": ({"query": GOOD, "params": {"hnsw_ef": 0}}, "params.hnsw_ef"),
    "lookup": ({"query": GOOD, "lookup_from": {"collection": "x"}}, "lookup_from"),
    "shard_key": ({"query": GOOD, "shard_key": "x"}, "shard_key"),
    "fusion": ({"query": {"fusion": "rrf"}}, "query.fusion"),
    "mmr": ({"query": {"nearest": GOOD, "mmr": {}}}, "query.mmr"),
    "sparse": ({"query": {"indices": [1], "values": [1]}}, "query.indices"),
    "best_score": ({"query": {"recommend": {"positive": [1], "strategy": "best_score"}}}, "best_score"),
    "multivector": ({"query": [GOOD, GOOD]}, "several vectors in one"),
    "document options": ({"query": WORDS | {"options": {"a": 1}}}, "query.options"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_query_is_refused_naming_the_field(name: str) -> None:
    value, field = REFUSED[name]
    with pytest.raises(RequestRefused) as caught:
        parse_query(value, FIELDS)
    assert caught.value.status == 400
    assert field in str(caught.value)


@pytest.mark.parametrize("name", UNSERVED)
def test_what_is_not_served_is_refused_by_name(name: str) -> None:
    value, field = UNSERVED[name]
    with pytest.raises(RequestRefused) as caught:
        parse_query(value, FIELDS)
    assert caught.value.status == 501
    assert field in str(caught.value)


def test_bad_query_of_a_batch_is_named_by_its_place() -> None:
    for value, field in (({"query": 7, "limit": 0}, "limit"), ({"query": [1]}, "query"), ({"query": 7, "nonsense": 1}, "nonsense")):
        with pytest.raises(RequestRefused, match=rf"^searches\[1\]\.{field}"):
            parse_searches({"searches": [{"query": 7}, value]}, FIELDS)


def test_groups_hold_no_more_hits_than_a_query() -> None:
    request = parse_groups({"query": GOOD, "group_by": "a.b", "limit": 4, "group_size": 512}, FIELDS)
    assert (request.group_by, request.query.limit, request.group_size) == ("a.b", 4, 512)
    assert parse_groups({"query": GOOD, "group_by": "a"}, FIELDS).group_size == 3
    for value, field in (({"group_size": 513, "limit": 4}, "group_size"), ({"group_by": ""}, "group_by"), ({"offset": 1}, "offset")):
        with pytest.raises(RequestRefused, match=rf"^{field}"):
            parse_groups({"query": GOOD, "group_by": "a"} | value, FIELDS)


def test_json_numbers_beyond_double_precision_never_pass_the_reader() -> None:
    for text in (b"[1e999]", b"[NaN]", b"[Infinity]", b"[-Infinity]"):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text)
