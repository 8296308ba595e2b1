"""Request keys of collections that were resharded, and the parts into which they let a request fall."""

from itertools import pairwise
from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.search.storage.former_shards import FormerShards
from reelspace.search.storage.ids import Id, shard_of
from reelspace.search.storage.rows import Change, Op, rows_of
from reelspace.search.storage.split_rows import split_rows

from .builders import FIELDS, upsert

IDS: list[Id] = [*range(200), *(UUID(int=number) for number in range(50))]
counts = st.lists(st.integers(1, 12), min_size=1, max_size=5)
changes = st.one_of(
    st.builds(upsert, st.sampled_from(IDS), st.floats(1, 9, width=32)),
    st.builds(lambda id: Change(Op.UPSERT, id, {"sound": [1.0, 2.0, 3.0]}), st.sampled_from(IDS)),
    st.builds(lambda id: Change(Op.DELETE, id), st.sampled_from(IDS)),
)


def chain(numbers: list[int]) -> list[FormerShards]:
    """Give a collection and what it is resharded into, one after the other."""
    found = [FormerShards((), numbers[0])]
    for number in numbers[1:]:
        found.append(found[-1].resharded(number))
    return found


def test_former_numbers_that_divide_the_new_one_need_no_part() -> None:
    assert chain([2, 4, 8])[-1].counts == ()
    assert chain([2, 3])[-1].counts == (2,)
    assert chain([4, 2, 3])[-1].counts == (4,)
    assert chain([2, 3, 4])[-1].counts == (3,)
    assert chain([2, 3, 6])[-1].counts == ()
    assert chain([4, 2, 4])[-1].counts == ()


@settings(max_examples=200, deadline=None)
@given(counts)
def test_parts_that_are_one_after_a_resharding_were_one_before(numbers: list[int]) -> None:
    for before, after in pairwise(chain(numbers)):
        old_of_new: dict[object, object] = {}
        for id in IDS:
            new, old = after.place(id), before.place(id)
            assert new.shard == shard_of(id, after.num_shards)
            assert old_of_new.setdefault(new, old) == old


@settings(max_examples=100, deadline=None)
@given(counts, st.lists(changes, min_size=1, max_size=12), st.sampled_from(["k#1", "a@b#12", "x#1:0123456789abcdef"]))
def test_what_is_brought_over_is_what_a_client_that_sends_it_again_would_write(numbers: list[int], request: list[Change], key: str) -> None:
    """The same keys in the same shards, with rows of the same content in the same order."""
    first, *later = chain(numbers)
    parts = split_rows(rows_of(request, FIELDS), first.place)
    written = {(place.shard, first.key(key, place.former)): rows for place, rows in parts.items()}
    before = first
    for after in later:
        brought = {}
        for (_, old_key), rows in written.items():
            for place, part in split_rows(rows, after.place).items():
                at = place.shard, after.key(before.request_key(old_key), place.former)
                assert at not in brought
                brought[at] = part
        sent: dict[tuple[int, str], list[Change]] = {}
        for change in request:
            place = after.place(change.id)
            sent.setdefault((place.shard, after.key(key, place.former)), []).append(change)
        assert {at: rows.digest for at, rows in brought.items()} == {at: rows_of(part, FIELDS).digest for at, part in sent.items()}
        written, before = brought, after


def test_parts_have_their_rows_in_order_with_all_that_is_theirs() -> None:
    rows = rows_of([upsert(5, 1.0, {"a": 1}), Change(Op.UPSERT, 4, {"sound": [1, 2, 3]}), Change(Op.DELETE, 5), upsert(6, 2.0)], FIELDS)
    parts = split_rows(rows, lambda id: id == 5)
    assert [(part.ids, part.ops_N.tolist(), part.payloads) for part in (parts[True], parts[False])] == [
        ((5, 5), [1, 2], (b'{"a":1}', None)),
        ((4, 6), [1, 1], (None, None)),
    ]
    assert {name: column.rows_M.tolist() for name, column in parts[False].vectors.items()} == {"": [1], "sound": [0, 1]}
    assert np.array_equal(parts[False].vectors["sound"].vectors_MD, np.array([[1, 2, 3], [2, 3, 4]], dtype=np.float32))
    assert split_rows(rows, lambda _: 7)[7] is rows
