"""Names of collections, and the file that many may change at a time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reelspace.core.errors import ArtifactMissing, CorruptArtifact, StoreUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.search.storage.known import read_known
from reelspace.search.storage.names import NAMES_KEY, NameRefused, Names, NameTaken, NameUnknown, check_new_name
from reelspace.search.storage.replaced_file import read_or_default, replace_file

from .builders import OneTime, WatchedStore

ONE = Names().with_collection("things", "things@00000001")


def test_a_collection_a_name_and_an_alias_never_share_a_name() -> None:
    aliased = ONE.with_alias("alias", "things")
    for change in (
        lambda: ONE.with_collection("things", "things@00000002"),
        lambda: aliased.with_collection("alias", "alias@00000001"),
        lambda: aliased.with_alias("things", "others"),
        lambda: aliased.renamed_alias("alias", "things"),
    ):
        with pytest.raises(NameTaken):
            change()
    with pytest.raises(NameUnknown, match="`other` doesn't exist"):
        aliased.renamed_alias("other", "new")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-a", "a" * 65, "猫", "a@0123abcd", "a\0", "a\n"])
def test_a_name_that_cannot_be_part_of_a_key_is_refused_in_the_same_words_at_every_door(name: str) -> None:
    with pytest.raises(NameRefused, match=r"^name .*: expected up to 64 letters, digits, '\.', '_' or '-', a letter or digit first$"):
        check_new_name(name)


@pytest.mark.parametrize("name", ["a", "7", "a" * 64, "Kurz.video_2-b"])
def test_a_name_of_letters_digits_and_plain_signs_is_taken(name: str) -> None:
    check_new_name(name)


def test_forgetting_a_collection_forgets_its_aliases_and_only_while_the_name_means_it() -> None:
    two = ONE.with_collection("others", "others@00000001").with_alias("a", "things").with_alias("b", "others")
    left = two.without_collection("things", "things@00000001")
    assert (left.collections, left.aliases) == ({"others": "others@00000001"}, {"b": "others"})
    assert two.without_collection("things", "things@00000002") is two


def test_every_change_counts_and_one_done_twice_counts_once() -> None:
    once = ONE.with_alias("a", "things")
    assert (Names().version, ONE.version, once.version) == (0, 1, 2)
    assert once.with_alias("a", "things") is once
    assert ONE.with_collection("things", "things@00000001") is ONE
    assert ONE.without_alias("a") is ONE


def test_writers_at_a_time_lose_no_change(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        names = [f"things-{number}" for number in range(40)]
        list(pool.map(lambda name: replace_file(store, Names, NAMES_KEY, lambda known: known.with_collection(name, f"{name}@0")), names))
    found = read_or_default(store, Names, NAMES_KEY)
    assert sorted(found.collections) == sorted(names)
    assert found.version == 40


def test_a_change_whose_answer_was_lost_is_found_done(tmp_path: Path) -> None:
    class LossyStore(LocalStore):
        def put_if_match(self, key: str, data: bytes, etag: str) -> str:
            super().put_if_match(key, data, etag)
            raise StoreUnavailable("the answer was lost")

    replace_file(LocalStore(tmp_path), Names, NAMES_KEY, lambda _: ONE)
    with pytest.raises(StoreUnavailable):
        replace_file(LossyStore(tmp_path), Names, NAMES_KEY, lambda names: names.with_alias("a", "things"))
    again = replace_file(LossyStore(tmp_path), Names, NAMES_KEY, lambda names: names.with_alias("a", "things"))
    assert (again.aliases, again.version) == ({"a": "things"}, 2)


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(NAMES_KEY, b'{"version": 1, "collections": []}')
    for read in (lambda: read_or_default(store, Names, NAMES_KEY), lambda: replace_file(store, Names, NAMES_KEY, lambda names: names)):
        with pytest.raises(CorruptArtifact, match=NAMES_KEY):
            read()


def test_a_name_moves_to_another_collection_with_its_aliases_once_and_only_while_it_means_the_old_one() -> None:
    aliased = ONE.with_alias("alias", "things")
    moved = aliased.moved("things@00000001", "things@00000002")
    assert (moved.collections, moved.aliases) == ({"things": "things@00000002"}, {"alias": "things"})
    assert moved.moved("things@00000001", "things@00000002") is moved
    with pytest.raises(NameUnknown, match="no name means the collection things@00000009 any more"):
        aliased.moved("things@00000009", "things@00000002")
    with pytest.raises(NameUnknown):
        aliased.without_collection("things", "things@00000001").moved("things@00000001", "things@00000002")


def test_a_store_that_does_not_find_the_names_it_has_makes_no_collection_unknown(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path)
    assert read_known(store).names == Names()
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("videos", "videos@1"))

    def lie() -> None:
        raise ArtifactMissing("NoSuchKey")

    store.before = OneTime("get", NAMES_KEY, lie)
    with pytest.raises(StoreUnavailable, match="says that it is there"):
        read_known(store)
    assert read_known(store).full_names() == ["videos@1"]
