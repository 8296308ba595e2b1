from uuid import UUID

from reelspace.search.storage.entries import Write
from reelspace.search.storage.ids import Id
from reelspace.search.storage.points import Point, apply_writes
from reelspace.search.storage.rows import Change, Op

from .builders import delete, expected, plain, rows, upsert, vector


def after(*changes: Change) -> dict[Id, object]:
    """Apply changes as one write each, and as one write of all: both must mean the same."""
    apart: dict[Id, Point] = {}
    together: dict[Id, Point] = {}
    apply_writes(apart, [Write("k", 0, rows(change)) for change in changes])
    apply_writes(together, [Write("k", 0, rows(*changes))])
    assert plain(apart) == plain(together)
    return dict(plain(apart))


def test_an_upsert_replaces_vectors_and_payload_whole() -> None:
    assert after(upsert(1, 1.0, {"a": 1}), upsert(1, 2.0)) == expected({1: 2.0})
    assert after(upsert(1, 1.0), Change(Op.UPSERT, 1, {"sound": vector(3.0, 3)})) == {1: ({"sound": vector(3.0, 3)}, {})}


def test_a_delete_removes_only_its_own_id() -> None:
    assert after(upsert(5, 1.0), upsert(UUID(int=5), 2.0), delete(5), delete(6)) == expected({UUID(int=5): 2.0})
    assert after(upsert(5, 1.0), delete(5), upsert(5, 3.0)) == expected({5: 3.0})


def test_payloads_are_merged_replaced_and_dropped() -> None:
    start = upsert(1, 1.0, {"a": 1, "b": {"c": 2}})
    vectors = expected({1: 1.0})[1][0]
    cases = [
        (Change(Op.MERGE_PAYLOAD, 1, payload={"b": 3, "a": None, "d": None}), {"b": 3}),
        (Change(Op.MERGE_PAYLOAD_AT, 1, payload={"key": "b", "payload": {"c": None, "e": 5}}), {"a": 1, "b": {"e": 5}}),
        (Change(Op.MERGE_PAYLOAD_AT, 1, payload={"key": "f.g", "payload": {"h": 6}}), {"a": 1, "b": {"c": 2}, "f": {"g": {"h": 6}}}),
        (Change(Op.REPLACE_PAYLOAD, 1, payload={"d": 4}), {"d": 4}),
        (Change(Op.DROP_PAYLOAD, 1, payload=["a", "x"]), {"b": {"c": 2}}),
        (Change(Op.DROP_PAYLOAD, 1, payload=["b.c", "a.b"]), {"a": 1, "b": {}}),
    ]
    for change, payload in cases:
        assert after(start, change) == {1: (vectors, payload)}


def test_a_payload_for_a_row_that_is_not_there_changes_nothing() -> None:
    assert after(upsert(1, 1.0), Change(Op.MERGE_PAYLOAD, 2, payload={"a": 1}), Change(Op.DROP_PAYLOAD, 2, payload=["a"])) == expected(
        {1: 1.0}
    )
