"""Which filters have their rows' vectors gathered."""

import numpy as np
import pytest

from reelspace.search.compute import kept_rows
from reelspace.search.compute.kept_rows import PATIENCE, Kept, KeptRows, Key
from reelspace.search.compute.scoring import Compared

STATE = (0, 0, 0)
NUM_ROWS, DIMENSION = 100, 8
SIZE_BYTES = NUM_ROWS * (DIMENSION * 4 + 8)


def gathered() -> Kept:
    vectors_AD = np.zeros((NUM_ROWS, DIMENSION), dtype=np.float32)
    return Kept(STATE, np.zeros(NUM_ROWS, dtype=np.int64), Compared.of(vectors_AD, "dot"))


def ask(kept: KeptRows, key: Key) -> bool:
    """Ask as a shard does, and tell whether the vectors were there."""
    known = kept.asked(key)
    if known is not None and known.compared is not None:
        return True
    kept.put(key, gathered() if known is not None and kept.make_room(SIZE_BYTES) else Kept(STATE))
    return False


def keys(num: int) -> list[Key]:
    return [(bytes([number]), "") for number in range(num)]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> KeptRows:
    monkeypatch.setattr(kept_rows, "MAX_KEPT_BYTES", 12 * SIZE_BYTES)
    return KeptRows()


def test_filters_that_take_turns_do_not_drop_what_the_next_one_needs(kept: KeptRows) -> None:
    for _ in range(2):
        assert not any(ask(kept, key) for key in keys(20))
    for _ in range(30):
        assert sum(ask(kept, key) for key in keys(20)) >= 11
    assert kept.size_bytes <= 12 * SIZE_BYTES


def test_filters_that_are_asked_for_no_more_give_way(kept: KeptRows) -> None:
    old, new = keys(24)[:12], keys(24)[12:]
    for _ in range(3):
        for key in old:
            ask(kept, key)
    for _ in range(2 + PATIENCE // len(new)):
        for key in new:
            ask(kept, key)
    assert all(ask(kept, key) for key in new)
    assert kept.size_bytes <= 12 * SIZE_BYTES


def test_what_is_larger_than_all_room_is_never_gathered(kept: KeptRows) -> None:
    assert not kept.make_room(12 * SIZE_BYTES + 1)
    assert kept.make_room(12 * SIZE_BYTES)


def test_filters_beyond_the_most_that_are_known_are_forgotten_oldest_first(kept: KeptRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "MAX_KEPT", 3)
    for key in keys(4):
        kept.put(key, Kept(STATE))
    assert [kept.asked(key) is not None for key in keys(4)] == [False, True, True, True]
    assert kept.size_bytes == 0
