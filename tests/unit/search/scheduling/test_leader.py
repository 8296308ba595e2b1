"""Who leads: one at a time, until its touches end, whatever clocks say."""

from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.leader import Leader


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_the_first_leads_while_it_touches_the_lock_and_the_other_when_it_does_no_more(store: LocalStore) -> None:
    clocks = Clock(), Clock()
    clocks[1].now_s = -5000.0  # clocks of two machines have nothing to do with each other
    first, second = (Leader(store, 9.0, clock) for clock in clocks)
    assert (first.lead(), second.lead()) == (1, None)
    for _ in range(20):
        for clock in clocks:
            clock.now_s += 3.1
        assert (first.lead(), second.lead()) == (1, None)
    for second_leads in (None, None, 2):
        clocks[1].now_s += 3.0
        assert second.lead() == second_leads
    clocks[0].now_s += 3.1
    assert first.lead() is None


def test_who_leaves_is_followed_at_once_and_counts_as_another_when_it_comes_back(store: LocalStore) -> None:
    first, second = Leader(store), Leader(store)
    assert first.lead() == 1
    first.leave()
    assert second.lead() == 2
    first.leave()
    assert (second.lead(), first.lead()) == (2, None)


def test_of_two_that_reach_for_a_free_lock_one_leads(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Leader(store), Leader(store)
    put, led = store.put_if_absent, []

    def late(key: str, data: bytes) -> object:
        if not led:
            led.append(None)
            led.append(second.lead())
        return put(key, data)

    monkeypatch.setattr(store, "put_if_absent", late)
    assert (first.lead(), led[1]) == (None, 1)
