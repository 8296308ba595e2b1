"""Which collection goes on as which, as gateways read it."""

from pathlib import Path

from reelspace.core.local_store import LocalStore
from reelspace.search.storage.known import read_known
from reelspace.search.storage.moves import MOVES_KEY, MovedFrom, Moves, change_moves, is_being_opened, tell_opening
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file

A, B, C = "things@0000000a", "things@0000000b", "things@0000000c"


def test_moves_are_read_again_only_when_the_names_have_changed(tmp_path: Path) -> None:
    class Counting(LocalStore):
        num_reads = 0

        def get(self, key: str) -> bytes:
            self.num_reads += key == MOVES_KEY
            return super().get(key)

    store = Counting(tmp_path)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", A))
    known = read_known(store)
    for _ in range(3):
        known = read_known(store, known)
    assert (known.moves, store.num_reads) == ({}, 1)
    change_moves(LocalStore(tmp_path), lambda moves: moves.with_move(A, B))
    for _ in range(3):
        known = read_known(store, known)
    assert (known.moves, store.num_reads) == ({A: B}, 2)


def test_a_collection_is_wanted_from_when_it_is_announced_and_until_its_name_is_deleted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", A))
    change_moves(store, lambda moves: moves.with_move(A, B))
    known = read_known(store)
    assert [known.wants(name) for name in (A, B, C)] == [True, True, False]
    assert [known.full_name(name) for name in ("things", A, B)] == [A, A, None]
    replace_file(store, Names, NAMES_KEY, lambda names: names.moved(A, B))
    known = read_known(store)
    assert [known.wants(name) for name in (A, B)] == [False, True]
    assert [known.full_name(name) for name in ("things", A, B)] == [B, B, B]
    assert (known.moved_from(B), known.moved_from(A)) == (A, None)
    replace_file(store, Names, NAMES_KEY, lambda names: names.without_collection("things", B))
    known = read_known(store)
    assert [known.wants(name) for name in (A, B)] == [False, False]
    assert [known.full_name(name) for name in ("things", A, B)] == [None, None, None]


def test_a_retired_collection_hands_on_what_has_moved_into_it() -> None:
    moves = Moves().with_move(A, B).with_move(B, C)
    assert moves.retired(B).moves == {A: C}
    assert moves.retired(A).moves == {B: C}
    assert moves.without(B).moves == {A: B}
    assert moves.retired(C) == moves


def test_what_was_brought_over_is_told_once() -> None:
    told = MovedFrom(collection=A).brought((3, 4))
    assert told.brought((9, 9)).last == (3, 4)


def test_a_collection_is_being_opened_until_every_gateway_that_began_has_it_open(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert not is_being_opened(store, B)
    for gateway, is_open in (("one", False), ("other", False), ("one", True)):
        tell_opening(store, B, gateway, is_open=is_open)
        assert is_being_opened(store, B)
    tell_opening(store, B, "other", is_open=True)
    assert not is_being_opened(store, B)
