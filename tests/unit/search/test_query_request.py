import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.search.access.query_request import (
    MAX_LIMIT,
    PointTarget,
    QueryRequest,
    TextTarget,
    VectorTarget,
    parse_query,
)
from reelspace.search.access.refusal import RequestRefused

DIMENSION = 4
GOOD = [0.5, -0.5, 0.5, -0.5]
numbers = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(-(2**80), 2**80))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
keys = st.sampled_from(["query", "limit", "with_payload", "filter", "allow_partial", "offset", "params", "nonsense"])


def parsed(value: object) -> QueryRequest | RequestRefused:
    try:
        return parse_query(value, DIMENSION)
    except RequestRefused as error:
        return error


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(keys, json_values, max_size=5))
def test_whatever_comes_is_understood_or_refused(value: dict[str, object]) -> None:
    answer = parsed(value)
    if isinstance(answer, RequestRefused):
        assert answer.status in (400, 501)
    else:
        assert 1 <= answer.limit <= MAX_LIMIT


@settings(deadline=None, max_examples=500)
@given(st.lists(numbers, min_size=DIMENSION, max_size=DIMENSION))
def test_every_accepted_vector_is_finite_and_of_length_one(value: list[float]) -> None:
    answer = parsed({"query": value})
    with np.errstate(over="ignore"):
        cast = np.array([float(one) for one in value]).astype(np.float32)
    if isinstance(answer, RequestRefused):
        assert not np.isfinite(cast).all() or not cast.any()
        assert str(answer).startswith("query")
        return
    assert isinstance(answer.target, VectorTarget)
    assert np.isfinite(answer.target.vector_D).all()
    assert abs(float(np.linalg.norm(answer.target.vector_D.astype(np.float64))) - 1) < 1e-6


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 1e30, 3e38])
def test_vector_of_any_size_keeps_its_direction(scale: float) -> None:
    target = parse_query({"query": [scale * one for one in GOOD]}, DIMENSION).target
    assert isinstance(target, VectorTarget)
    np.testing.assert_allclose(target.vector_D, GOOD, rtol=0.2 if scale < 1e-40 else 1e-6)


def test_the_three_kinds_of_query_are_told_apart() -> None:
    assert parse_query({"query": 7}, DIMENSION).target == PointTarget(7)
    assert parse_query({"query": {"nearest": 7}}, DIMENSION).target == PointTarget(7)
    words = {"text": "猫 cat", "model": "text_encoder"}
    assert parse_query({"query": words}, DIMENSION).target == TextTarget("猫 cat")
    assert parse_query({"query": {"nearest": words}}, DIMENSION).target == TextTarget("猫 cat")


def test_keys_that_are_null_or_say_the_default_are_as_if_left_out() -> None:
    plain = parse_query({"query": 7}, DIMENSION)
    said = {"query": 7, "limit": None, "offset": 0, "with_vector": False, "params": None, "filter": {"must_not": [], "must": None}}
    assert parse_query(said, DIMENSION) == plain


def test_excluded_ids_are_gathered_once_each_from_every_form() -> None:
    conditions = [{"has_id": [3, 1]}, {"has_id": [1, 2]}]
    assert parse_query({"query": 7, "filter": {"must_not": conditions}}, DIMENSION).excluded == (3, 1, 2)
    assert parse_query({"query": 7, "filter": {"must_not": conditions[0]}}, DIMENSION).excluded == (3, 1)


def test_json_numbers_beyond_double_precision_never_pass_the_reader() -> None:
    for text in (b"[1e999]", b"[NaN]", b"[Infinity]", b"[-Infinity]"):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text)
