from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from reelspace.search.storage.rows import Change, Op, RowRefused, VectorField, Vectors, checked, rows_of

from .builders import FIELDS, delete, rows, upsert, vector

GOOD = upsert(7, 1.0, {"title": "cat"})


def with_vector(value: Any, name: str = "") -> Change:
    return replace(GOOD, vectors={name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_vector([1.0, float("nan"), 0.0, 0.0]), "finite"),
        (with_vector([1.0, float("inf"), 0.0, 0.0]), "finite"),
        (with_vector([float("-inf"), 1.0, 0.0, 0.0]), "finite"),
        (with_vector([1e39, 0.0, 0.0, 0.0]), "finite"),
        (with_vector([float("1e999"), 0.0, 0.0, 0.0]), "finite"),
        (with_vector([2e19, 0.0, 0.0, 0.0]), "overflows float32"),
        (with_vector([1e19, 1e19, 0.0, 0.0]), "overflows float32"),
        (with_vector([0.0, 0.0, 0.0, 0.0]), "length is zero"),
        (with_vector([1e-30, 0.0, 0.0, 0.0]), "length is zero"),
        (with_vector([1.0, 2.0, 3.0]), r"expected 4 numbers, got the shape \[3\]"),
        (with_vector([]), r"got the shape \[0\]"),
        (with_vector([[1.0, 2.0, 3.0, 4.0]]), r"got the shape \[1, 4\]"),
        (with_vector([1.0, None, 3.0, 4.0]), "got something else"),
        (with_vector([1.0, "2.0", 3.0, 4.0]), "got something else"),
        (with_vector([True, True, True, True]), "got something else"),
        (with_vector([1.0, [2.0], 3.0, 4.0]), "got something else"),
        (with_vector([1j, 0.0, 0.0, 0.0]), "got something else"),
        (with_vector(vector(1.0), "colour"), "the collection has '', 'sound'"),
        (replace(GOOD, vectors={}), "expected vectors exactly where the op is UPSERT"),
        (replace(delete(7), vectors={"": vector(1.0)}), "expected vectors exactly where the op is UPSERT"),
        (replace(delete(7), payload={}), "expected no payload"),
        (replace(GOOD, payload=["a"]), "expected a JSON object"),
        (replace(GOOD, payload={"a": object()}), "is not JSON"),
        (replace(GOOD, payload={1: "a"}), "is not JSON"),
        (Change(Op.MERGE_PAYLOAD, 7), "expected a JSON object, got b'none'"),
        (Change(Op.REPLACE_PAYLOAD, 7, payload=["a"]), "expected a JSON object"),
        (Change(Op.DROP_PAYLOAD, 7, payload={"a": 1}), "expected a JSON array of keys"),
        (Change(Op.DROP_PAYLOAD, 7, payload=[1]), "expected a JSON array of keys"),  # type: ignore[list-item]
        (Change(Op.DROP_PAYLOAD, 7, payload=["a["]), "expected a JSON array of keys"),
        (Change(Op.MERGE_PAYLOAD_AT, 7, payload={"key": "a"}), 'expected a JSON object of a "key"'),
        (Change(Op.MERGE_PAYLOAD_AT, 7, payload={"key": "", "payload": {}}), 'expected a JSON object of a "key"'),
        (replace(GOOD, id=-1), "expected an integer of 0 to"),
        (replace(GOOD, id=2**64), "expected an integer of 0 to"),
        (replace(GOOD, id=True), "expected an integer of 0 to"),
        (replace(GOOD, id="7"), "expected an integer of 0 to"),
    ],
)
def test_what_cannot_be_indexed_or_told_apart_is_refused_by_place_and_id(change: Change, message: str) -> None:
    with pytest.raises(RowRefused, match=message) as refused:
        rows_of([upsert(1, 1.0), change, upsert(2, 1.0)], FIELDS)
    assert "row 1" in str(refused.value) or "colour" in str(refused.value)


def test_a_vector_at_the_limit_is_taken_and_two_of_them_have_a_finite_distance() -> None:
    edge = np.full(4, np.sqrt(float(np.finfo(np.float32).max) / 16.01), dtype=np.float32)
    taken = rows_of([Change(Op.UPSERT, 1, {"": edge}), Change(Op.UPSERT, 2, {"": -edge})], FIELDS).vectors[""].vectors_MD
    assert np.isfinite(np.sum((taken[0] - taken[1]) ** 2, dtype=np.float32))


def test_a_zero_vector_is_taken_where_length_does_not_matter() -> None:
    change = Change(Op.UPSERT, 1, {"": vector(1.0), "sound": [0.0, 0.0, 0.0]})
    assert not rows_of([change], FIELDS).vectors["sound"].vectors_MD.any()


def test_a_write_without_rows_is_refused() -> None:
    with pytest.raises(RowRefused, match="one or more rows"):
        rows_of([], FIELDS)


def test_rows_keep_their_order_and_their_numbers() -> None:
    uuid = UUID(int=9)
    given = rows(upsert(3, 1.5, {"a": 1}), delete(uuid), Change(Op.UPSERT, 3, {"sound": [1, 2, 3]}))
    assert given.ops_N.tolist() == [Op.UPSERT, Op.DELETE, Op.UPSERT]
    assert given.ids == (3, uuid, 3)
    assert given.payloads == (b'{"a":1}', None, None)
    assert given.vectors[""].rows_M.tolist() == [0]
    assert given.vectors["sound"].rows_M.tolist() == [0, 2]
    assert given.vectors["sound"].vectors_MD.tolist() == [[1.5, 2.5, 3.5], [1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: Vectors(one.rows_M, one.vectors_MD.astype(np.float64)),
        lambda one: Vectors(one.rows_M, one.vectors_MD[:, :3]),
        lambda one: Vectors(one.rows_M, one.vectors_MD[:1]),
        lambda one: Vectors(one.rows_M[::-1], one.vectors_MD),
        lambda one: Vectors(one.rows_M * 0, one.vectors_MD),
        lambda one: Vectors(one.rows_M + 1, one.vectors_MD),
        lambda one: Vectors(one.rows_M - 1, one.vectors_MD),
        lambda one: Vectors(one.rows_M, one.vectors_MD * np.float32("nan")),
    ],
)
def test_columns_that_do_not_fit_are_refused(spoil: Callable[[Vectors], Vectors]) -> None:
    good = rows(upsert(1, 1.0), upsert(2, 2.0))
    checked(good, FIELDS)
    with pytest.raises(RowRefused):
        checked(replace(good, vectors={"": spoil(good.vectors[""])}), FIELDS)
    for short in ({"ids": good.ids[:1]}, {"payloads": good.payloads[:1]}, {"ops_N": good.ops_N[:1]}, {"ops_N": good.ops_N + 5}):
        with pytest.raises(RowRefused):
            checked(replace(good, **short), FIELDS)  # type: ignore[arg-type]


def test_digest_tells_any_two_different_writes_apart_and_equal_ones_not() -> None:
    different = [
        rows(upsert(1, 1.0)),
        rows(upsert(1, 2.0)),
        rows(upsert(2, 1.0)),
        rows(upsert(UUID(int=1), 1.0)),
        rows(upsert(1, 1.0, {})),
        rows(upsert(1, 1.0, {"a": 1})),
        rows(Change(Op.UPSERT, 1, {"": vector(1.0)})),
        rows(delete(1)),
        rows(delete(1), delete(2)),
        rows(delete(2), delete(1)),
        rows(Change(Op.MERGE_PAYLOAD, 1, payload={"a": 1})),
        rows(Change(Op.REPLACE_PAYLOAD, 1, payload={"a": 1})),
    ]
    assert len({one.digest for one in different}) == len(different)
    empty = Vectors(np.empty(0, dtype=np.int64), np.empty((0, 3), dtype=np.float32))
    again = rows(Change(Op.UPSERT, 1, {"": vector(1.0)}))
    assert replace(again, vectors={**again.vectors, "sound": empty}).digest == again.digest == different[6].digest


def test_every_metric_refuses_what_is_not_finite() -> None:
    for metric in ("cosine", "dot", "euclid"):
        fields = {"": VectorField(2, metric)}
        for bad in ([float("nan"), 1.0], [1e30, 1.0]):
            with pytest.raises(RowRefused):
                rows_of([Change(Op.UPSERT, 1, {"": bad})], fields)


def test_payloads_and_edits_that_could_not_be_written_again_as_json_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}
    edit = {"key": ".".join(["b"] * 40), "payload": deep}
    assert rows(upsert(1, 1.0, deep), Change(Op.MERGE_PAYLOAD_AT, 1, payload=edit))
    for key in (".".join(["b"] * 80), "b" + "[0]" * 80):
        with pytest.raises(RowRefused, match=r"row 0 \(id 1\): payload of MERGE_PAYLOAD_AT"):
            rows(Change(Op.MERGE_PAYLOAD_AT, 1, payload=edit | {"key": key}))
    one = rows(upsert(1, 1.0, deep))
    by_another = replace(one, payloads=(b'{"a":' * 300 + b"{}" + b"}" * 300,))
    with pytest.raises(RowRefused, match=r"row 0 \(id 1\): payload of UPSERT"):
        checked(by_another, FIELDS)
