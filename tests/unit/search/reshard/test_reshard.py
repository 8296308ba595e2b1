"""A collection gets another number of shards: the same rows, the same requests known, and nothing else."""

from contextlib import closing
from pathlib import Path

import pytest

from reelspace.core.errors import UserError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute.build import IndexSettings
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.scheduling.reshard import cancel
from reelspace.search.scheduling.reshard_state import ReshardRefused, change_reshard
from reelspace.search.scheduling.retire import RetireRefused, retire
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import SPACE_POINTER, SpacePointer, json_bytes, read_collection, shard_model
from reelspace.search.storage.log import Log
from reelspace.search.storage.moves import MOVES_KEY, Moves, read_former_shards, read_moved_from
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default, replace_file
from reelspace.search.storage.seen_numbers import SeenNumbers
from reelspace.search.storage.writer import LogMoved

from .worlds import changes_of, expected, make, meant, resharded, served, write

KEYS = [f"k{number}#1" for number in range(80)]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize(("before", "after"), [(2, 4), (1, 3), (4, 2), (2, 3), (3, 1), (2, 5)])
def test_a_collection_has_the_same_rows_in_another_number_of_shards(store: LocalStore, before: int, after: int) -> None:
    old = make(store, before)
    write(store, old, *KEYS)
    rebuild_shard(store, old, 0, IndexSettings(), store.root / "scratch")
    write(store, old, "late#1")
    done = resharded(store, after)
    new = meant(store)
    assert (done.old, done.new, new.num_shards) == (old.full_name, new.full_name, after)
    assert new.full_name != old.full_name
    assert served(store, new) == served(store, old) == expected([*KEYS, "late#1"])
    write(store, new, "later#1")
    assert served(store, new) == expected([*KEYS, "late#1", "later#1"])


def test_resharding_again_and_again_keeps_the_rows_and_knows_every_request(store: LocalStore) -> None:
    make(store, 2)
    keys: list[str] = []
    for num_shards in (3, 6, 4, 1, 2):
        fresh = [f"{num_shards}-{number}#1" for number in range(20)]
        write(store, meant(store), *fresh)
        keys += fresh
        resharded(store, num_shards)
        # Sent again, none takes effect again, whichever collection it was written to.
        write(store, meant(store), *reversed(keys))
        assert served(store, meant(store)) == expected(keys)


def test_the_name_its_aliases_and_the_old_full_name_mean_the_new_collection(store: LocalStore) -> None:
    old = make(store, 2)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_alias("alias", "things"))
    resharded(store, 3)
    known, new = read_known(store), meant(store)
    assert {known.full_name(name) for name in ("things", "alias", old.full_name)} == {new.full_name}
    resharded(store, 4)
    assert read_known(store).full_name(old.full_name) == meant(store).full_name


def test_what_is_as_wanted_stays_as_it_is(store: LocalStore) -> None:
    old = make(store, 2)
    done = resharded(store, 2)
    assert (done.old, done.new) == (None, old.full_name)
    assert not store.exists(MOVES_KEY)
    first = resharded(store, 3)
    assert resharded(store, 3) == type(first)(old.full_name, first.new, 3, 0.0)


def test_another_number_is_refused_by_name_while_one_is_under_way(store: LocalStore) -> None:
    old = make(store, 2)
    change_reshard(store, old.full_name, lambda one: one.begun(4, "things@0000000f"))
    with pytest.raises(ReshardRefused, match=f"{old.full_name}: it is being resharded to 4 shards"):
        resharded(store, 3)
    assert resharded(store, 4).num_shards == 4


def test_the_promoted_collection_and_unknown_ones_are_refused_with_what_to_do(store: LocalStore) -> None:
    make(store, 2)
    pointer = SpacePointer(space_id="0" * 16, encoders={}, collection="videos@00000000", alias="videos", generation=1, previous=None)
    store.put(SPACE_POINTER, json_bytes(pointer))
    for name in ("videos", "videos@00000000"):
        with pytest.raises(ReshardRefused, match="build_index with the number of shards you want"):
            resharded(store, 4, name)
    with pytest.raises(ReshardRefused, match=r"'nothing' does not exist.*those that clients made are things"):
        resharded(store, 4, "nothing")


def test_the_old_collection_stays_until_it_is_retired(store: LocalStore) -> None:
    old = make(store, 2)
    write(store, old, *KEYS)
    with pytest.raises(RetireRefused, match="is what things means"):
        retire(store, old.full_name)
    resharded(store, 4)
    new = meant(store)
    with pytest.raises(RetireRefused, match="is what things means"):
        retire(store, new.full_name)
    with pytest.raises(RetireRefused, match=f"may be retired are {old.full_name}"):
        retire(store, "things")
    assert served(store, read_collection(store, old.full_name)) == expected(KEYS)
    assert retire(store, old.full_name) == new.full_name
    assert not list(store.list(f"collections/{old.full_name}/")) + list(store.list("repository/" + shard_model(old.full_name, 0)[:-1]))
    assert read_or_default(store, Moves, MOVES_KEY).moves == {}
    with pytest.raises(RetireRefused, match="may be retired are none"):
        retire(store, old.full_name)
    assert served(store, new) == expected(KEYS)


def test_retiring_one_in_the_middle_keeps_the_way_from_the_first_to_the_last(store: LocalStore) -> None:
    first = make(store, 2)
    resharded(store, 3)
    middle = meant(store)
    resharded(store, 4)
    retire(store, middle.full_name)
    assert read_or_default(store, Moves, MOVES_KEY).moves == {first.full_name: meant(store).full_name}
    retire(store, first.full_name)


def test_what_is_given_up_leaves_no_trace_and_what_has_ended_logs_is_not_given_up(store: LocalStore) -> None:
    old = make(store, 2)
    write(store, old, *KEYS)
    before = set(store.list(""))
    to = "things@0000000f"
    assert cancel(store, "things") is None
    change_reshard(store, old.full_name, lambda one: one.begun(4, to))
    for _ in range(2):  # by a process that is killed before it has removed anything, too
        store.put(f"collections/{to}/anything.json", b"{}")
        assert cancel(store, "things") == to
        assert {key for key in store.list("") if not key.endswith("reshard.json")} == before
    change_reshard(store, old.full_name, lambda one: one.begun(4, to).copied(to, [0, 0]).sealed(to))
    with pytest.raises(ReshardRefused, match="run the command again"):
        cancel(store, "things")


def test_a_log_that_ended_refuses_whatever_is_not_in_it_by_the_name_of_the_new_collection(store: LocalStore) -> None:
    old = make(store, 2)
    with closing(LogWriters(store, old)) as early:
        for future in early.submit("before#1", changes_of("before#1")).values():
            future.result()
        resharded(store, 4)
        for writers in (early, late := LogWriters(store, old)):
            known = writers.submit("before#1", changes_of("before#1"))
            assert [future.result() for future in known.values()]
            for number in range(3):
                for future in writers.submit(f"after{number}#1", changes_of("k1#1")).values():
                    with pytest.raises(LogMoved, match=f"moves into {meant(store).full_name}") as caught:
                        future.result()
                    assert isinstance(caught.value, UserError)
                    assert caught.value.to == meant(store).full_name
        late.close()
    assert served(store, old) == served(store, meant(store)) == expected(["before#1"])


def test_no_builder_drops_what_is_still_to_be_brought_over_nor_the_mark_at_the_end(store: LocalStore) -> None:
    old = make(store, 2)
    write(store, old, *KEYS)
    change_reshard(store, old.full_name, lambda one: one.begun(4, "things@0000000f").copied("things@0000000f", [5, 0]))

    def drop() -> list[int]:
        floors = []
        for shard in range(2):
            for _ in range(2):
                rebuild_shard(store, old, shard, IndexSettings(), store.root / "scratch")
            drop_old(store, old, shard, SeenNumbers(0.0))
            floors.append(Log(store, old.full_name, shard, old.fields).floor())
        return floors

    assert drop() == [5, 0]
    cancel(store, "things")
    resharded(store, 4)
    drop()
    with closing(LogWriters(store, old)) as writers, pytest.raises(LogMoved):
        [future.result() for future in writers.submit("after#1", changes_of("k1#1")).values()]


def test_the_new_logs_begin_with_the_keys_of_requests_that_may_be_sent_again(store: LocalStore) -> None:
    old = make(store, 2)
    write(store, old, "a#1")
    for shard in range(2):
        rebuild_shard(store, old, shard, IndexSettings(), store.root / "scratch")
    write(store, old, "b#1")
    resharded(store, 4)
    new = meant(store)
    write(store, new, "c#1")
    # Sent again, a and b would undo what c has done.
    write(store, new, "a#1", "b#1")
    assert served(store, new) == expected(["a#1", "b#1", "c#1"])
    assert read_former_shards(store, new).counts == ()
    assert read_moved_from(store, new.full_name).collection == old.full_name
