"""Numbers are old when this process has seen them for long enough, and no other clock has a say."""

from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.storage.entries import Write
from reelspace.search.storage.log import RETRY_WINDOW_S, Log, truncate
from reelspace.search.storage.seen_numbers import SeenNumbers

from .builders import make_log, rows, upsert


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.s = 1e6

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return make_log(LocalStore(tmp_path))


def test_who_has_just_started_has_seen_nothing_for_long(log: Log, hand: Hand) -> None:
    seen = SeenNumbers(now_s=hand)
    assert seen.old(log) == 0
    seen.see(log, 1000)
    hand.s += RETRY_WINDOW_S - 1
    assert seen.old(log) == 0
    assert SeenNumbers(now_s=hand).old(log) == 0


def test_a_number_is_old_a_window_after_it_was_seen_first(log: Log, hand: Hand) -> None:
    seen = SeenNumbers(100.0, hand)
    found = []
    for number in (3, 3, 5, 9, 9, 9, 9, 9):
        seen.see(log, number)
        found.append(seen.old(log))
        hand.s += 25
    # Seen first at 0, 50 and 75 seconds.
    assert found == [0, 0, 0, 0, 3, 3, 5, 9]
    assert [seen.old(log), seen.old(log)] == [9, 9]


def test_each_log_is_seen_by_itself(tmp_path: Path, hand: Hand) -> None:
    first, second = (make_log(LocalStore(tmp_path), shard=shard) for shard in range(2))
    seen = SeenNumbers(100.0, hand)
    seen.see(first, 7)
    hand.s += 100
    seen.see(second, 8)
    assert (seen.old(first), seen.old(second)) == (7, 0)
    seen.keep([])
    assert seen.old(first) == 0


def test_a_log_that_begins_anew_is_seen_anew(log: Log, hand: Hand) -> None:
    seen = SeenNumbers(100.0, hand)
    seen.see(log, 700)
    hand.s += 99
    seen.see(log, 2)
    hand.s += 99
    assert seen.old(log) == 0
    hand.s += 1
    assert seen.old(log) == 2


def test_whoever_looks_often_remembers_little_and_takes_no_number_for_older_than_it_is(log: Log, hand: Hand) -> None:
    seen = SeenNumbers(100.0, hand)
    first_s = hand.s
    for number in range(1, 10_001):
        hand.s = first_s + number * 0.1
        seen.see(log, number)
        # Number n was seen first n / 10 seconds after the first; a window is a thousand numbers.
        assert max(0, number - 1000 - 70) <= seen.old(log) <= max(0, number - 999)
    assert len(seen._logs[log.collection, log.shard]) < 50


def test_what_nobody_sends_again_is_old_at_once(log: Log, hand: Hand) -> None:
    seen = SeenNumbers(100.0, hand)
    for number in (2, 6):
        seen.see(log, number)
        hand.s += 10
    seen.release(log, 4)
    seen.see(log, 6)
    assert seen.old(log) == 4
    hand.s += 90
    assert seen.old(log) == 6


def test_two_that_drop_do_no_harm_and_one_that_starts_later_drops_nothing(log: Log, hand: Hand) -> None:
    for number in range(1, 6):
        log.append(number, [Write(f"k{number}", 0, rows(upsert(number, 1.0)))])
    early, late = SeenNumbers(100.0, hand), SeenNumbers(100.0, hand)
    early.see(log, 3)
    hand.s += 50
    for one in (early, late):
        one.see(log, 5)
    hand.s += 50
    assert [truncate(log, late.old(log)), truncate(log, early.old(log)), truncate(log, late.old(log))] == [0, 3, 3]
    hand.s += 50
    assert [truncate(log, early.old(log)), truncate(log, late.old(log)), log.read(5)] == [5, 5, None]
