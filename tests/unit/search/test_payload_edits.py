"""Keys and edits of payloads against the official client's local mode."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client.local.json_path_parser import JsonPathItem, parse_json_path
from qdrant_client.local.payload_value_extractor import exclude_payload, include_payload, value_by_key
from qdrant_client.local.payload_value_setter import delete_value_by_key, merge_payload, set_value_by_key

from reelspace.search.storage.payload_edits import excluded, included, merged, without
from reelspace.search.storage.payload_path import MAX_KEY_CHARS, KeyRefused, PathPart, parse_key, values_at

from .random_filters import KEYS, Draw


def other_path(key: str) -> tuple[PathPart, ...] | None:
    try:
        return tuple(plain(item) for item in parse_json_path(key))
    except ValueError:
        return None


def plain(item: JsonPathItem) -> PathPart:
    part: PathPart = item.key if item.item_type == "key" else item.index
    return part


def own_path(key: str) -> tuple[PathPart, ...] | None:
    try:
        return parse_key(key)
    except KeyRefused:
        return None


@settings(deadline=None, max_examples=1000)
@given(st.text(st.sampled_from('ab_-é猫0123.[]" '), max_size=10))
def test_keys_are_read_as_the_official_client_reads_them(key: str) -> None:
    assert own_path(key) == other_path(key)


@pytest.mark.parametrize("key", ["", "a.", ".a", "a..b", "a[", "a]", "a[-1]", "a[1", '"a', "a b", f"a[{2**64}]", "a[" + "1" * 900 + "]"])
def test_key_that_names_nothing_is_refused(key: str) -> None:
    with pytest.raises(KeyRefused, match="expected a key"):
        parse_key(key)


def test_endless_key_is_refused() -> None:
    assert len(parse_key("a" * MAX_KEY_CHARS)[0] or "") == MAX_KEY_CHARS
    with pytest.raises(KeyRefused, match="at most 1024 characters"):
        parse_key("a" * (MAX_KEY_CHARS + 1))


def test_values_at_random_keys_are_those_of_the_official_client() -> None:
    draw = Draw(5)
    for _ in range(2000):
        payload, key = draw.payload(), draw.one_of(KEYS)
        assert values_at(payload, parse_key(key)) == (value_by_key(payload, key, flat=False) or [])


def test_set_keys_and_deleted_keys_are_those_of_the_official_client() -> None:
    draw = Draw(6)
    for _ in range(3000):
        payload, values, key = draw.payload(), draw.payload(1), draw.one_of(KEYS)
        before = deepcopy(payload)
        assert merged(payload, values) == merge_payload(deepcopy(payload), values)
        expected: dict[str, Any] = deepcopy(payload)
        set_value_by_key(expected, parse_json_path(key), deepcopy(values))
        assert merged(payload, values, parse_key(key)) == expected, (payload, key)
        keys = draw.some_of(KEYS)
        expected = deepcopy(payload)
        for one in keys:
            delete_value_by_key(expected, parse_json_path(one))
        assert without(payload, [parse_key(one) for one in keys]) == expected, (payload, keys)
        assert payload == before


def test_chosen_fields_are_those_of_the_official_client() -> None:
    draw = Draw(7)
    for _ in range(3000):
        payload, keys = draw.payload(), draw.some_of(KEYS)
        paths = [parse_key(key) for key in keys]
        assert included(payload, paths) == include_payload(payload, keys), (payload, keys)
        assert excluded(payload, paths) == exclude_payload(payload, keys), (payload, keys)
