"""Objects with a key twice are refused, and no other JSON is."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.search.access.http_request import parse_json
from reelspace.search.access.refusal import RequestRefused

KEYS = st.sampled_from(["a", "b", 'c":', "d:", '"', "\\", " "])
LEAVES = st.none() | st.integers(-9, 9) | st.sampled_from(["", 'x":', ":", '" :', "\\"])


class Pairs(list[tuple[str, Any]]):
    """An object as it is written, keys twice and all."""


VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=3).map(Pairs))


def written(value: Any, colon: str) -> str:
    if isinstance(value, Pairs):
        return "{" + ",".join(json.dumps(key) + colon + written(one, colon) for key, one in value) + "}"
    return "[" + ",".join(written(one, colon) for one in value) + "]" if isinstance(value, list) else json.dumps(value)


def has_twice(value: Any) -> bool:
    if isinstance(value, Pairs):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(has_twice(one) for _, one in value)
    return isinstance(value, list) and any(map(has_twice, value))


@settings(max_examples=300, deadline=None)
@given(VALUES, st.sampled_from([":", " : ", "\n:", ": "]))
def test_a_body_is_refused_exactly_when_an_object_has_a_key_twice(value: Any, colon: str) -> None:
    body = written(value, colon).encode()
    if has_twice(value):
        with pytest.raises(RequestRefused, match="comes twice in one object"):
            parse_json(body)
    else:
        assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize("body", [b'{"a":1,"a" :2}', b'{"q":[1,{"b":1,"b":2}]}', b'[{"a":"\\":","a":0}]', b'{"\\u0061":1,"a":2}'])
def test_ways_to_hide_a_key_that_comes_twice(body: bytes) -> None:
    with pytest.raises(RequestRefused, match=r"the key '[ab]' comes twice"):
        parse_json(body)


def test_numbers_and_depths_that_only_one_of_two_parsers_takes_are_no_failure() -> None:
    begun = b'{"t":":","a" : '
    assert parse_json(begun + b"9" * 5 + b"}")["a"] == 99_999
    with pytest.raises(RequestRefused, match="inside each other"):
        parse_json(begun + b"[" * 1010 + b"]" * 1010 + b"}")
    with pytest.raises(RequestRefused):
        parse_json(begun + b"9" * 5000 + b"}")
