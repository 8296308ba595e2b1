"""Where shards are: every shard in one group that stays, groups about equal, and moves that come to an end."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.core.errors import UserError
from reelspace.core.local_store import LocalStore
from reelspace.search.storage.placement import Placement, add_group, declare_groups, parse_groups, place, read_placement, remove_group

MODELS = [f"shard-things.00112233-{number}" for number in range(12)]


def settled(placement: Placement, models: set[str]) -> Placement:
    """Move until all are well placed; as many moves as shards must do."""
    for _ in range(len(models) + 1):
        move = placement.next_move(models)
        if move is None:
            return placement.without_gone(models)
        placement = placement.moved(*move)
    raise AssertionError("moves do not end")


def check(placement: Placement, models: set[str]) -> None:
    sizes = [len(placement.shards_of(group)) for group in placement.groups]
    assert set(placement.shards) == models
    assert set(placement.shards.values()) <= set(placement.staying())
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(0, len(MODELS))), min_size=1, max_size=12))
def test_whatever_groups_come_and_go_shards_end_evenly_on_those_that_stay(history: list[tuple[str, bool, int]]) -> None:
    placement = Placement().with_group("a", ("a:1",))
    for group, comes, num in history:
        try:
            placement = placement.with_group(group, (f"{group}:1",)) if comes else placement.leaving(group)
        except UserError:
            continue
        models = set(MODELS[:num])
        placement = placement.placed(models)
        assert all(placement.addresses(model) for model in models)
        placement = settled(placement, models)
        check(placement, models)
        assert not any(one.leaves for one in placement.groups.values())


def test_a_shard_stays_where_it_is_while_groups_are_about_equal() -> None:
    placement = Placement().with_group("a", ("a:1",)).with_group("b", ("b:1",)).placed(MODELS[:5])
    assert placement.next_move(set(MODELS[:5])) is None
    more = placement.with_group("c", ("c:1",))
    moves = 0
    while move := more.next_move(set(MODELS[:5])):
        more, moves = more.moved(*move), moves + 1
    assert moves == 1


def test_groups_lie_in_the_store_and_the_last_one_stays(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert place(store, MODELS) == Placement()
    with pytest.raises(UserError, match="expected one of none"):
        remove_group(store, "a")
    add_group(store, "a", ("a:1", "a:2"))
    with pytest.raises(UserError, match="group 'a' is the last one: add another first"):
        remove_group(store, "a")
    assert place(store, MODELS).addresses(MODELS[3]) == ("a:1", "a:2")
    add_group(store, "b", ("b:1",))
    remove_group(store, "a")
    remove_group(store, "a")
    placement = settled(read_placement(store), set(MODELS))
    assert (placement.staying(), set(placement.shards.values())) == (["b"], {"b"})


def test_declared_groups_are_all_that_stay(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    declare_groups(store, {"a": ("a:1",), "b": ("b:1", "b:2")})
    place(store, MODELS[:4])
    again = declare_groups(store, {"a": ("a:1",), "b": ("b:1", "b:2")})
    assert again.version == read_placement(store).version
    assert again.staying() == ["a", "b"]
    changed = declare_groups(store, {"b": ("b:1", "b:3"), "c": ("c:1",)})
    assert changed.staying() == ["b", "c"]
    assert changed.groups["a"].leaves
    assert changed.groups["b"].addresses == ("b:1", "b:3")
    assert not declare_groups(store, {"a": ("a:1",), "b": ("b:1",), "c": ("c:1",)}).groups["a"].leaves


@pytest.mark.parametrize("texts", [["a"], ["=a:1"], ["a="], ["a=b"], ["a=b:1,"], ["a=b:1;c:2"], ["-a=b:1"], ["a=b:1", "a=c:1"]])
def test_groups_of_another_form_are_refused(texts: list[str]) -> None:
    with pytest.raises(UserError, match="group"):
        parse_groups(texts)


def test_groups_are_read_with_all_their_servers() -> None:
    assert parse_groups(["a=x.y:1", "b-2=x:1,z:22"]) == {"a": ("x.y:1",), "b-2": ("x:1", "z:22")}
