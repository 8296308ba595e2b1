"""The ledger adds up, and stops a step that reads rubbish."""

import json
from pathlib import Path

import pytest

from reelspace.core.errors import InternalError, UserError
from reelspace.core.quarantine import Ledger


def test_what_came_in_went_out_or_lies_in_quarantine(tmp_path: Path) -> None:
    ledger = Ledger(max_bad_ratio=0.5)
    ledger.accept(1)
    ledger.reject(2, "no_frames", "the file holds\nno frames", sha256="ab", byte_range=(3, 9))
    ledger.accept(3)
    ledger.reject("x-4", "timeout", "10 s")
    ledger.finish(num_in=4)
    ledger.write(tmp_path)
    assert json.loads((tmp_path / "ledger.json").read_text()) == {
        "in": 4,
        "out": 2,
        "quarantined": 2,
        "reasons": {"no_frames": 1, "timeout": 1},
    }
    assert json.loads((tmp_path / "quarantine/2.json").read_text()) == {
        "id": "2",
        "reason": "no_frames",
        "detail": "the file holds no frames",
        "sha256": "ab",
        "byte_range": [3, 9],
    }
    assert sorted(path.name for path in (tmp_path / "quarantine").iterdir()) == ["2.json", "x-4.json"]


def test_the_bytes_do_not_depend_on_the_order(tmp_path: Path) -> None:
    for name, numbers in (("forward", range(9)), ("backward", reversed(range(9)))):
        ledger = Ledger(max_bad_ratio=1.0)
        for number in numbers:
            if number % 3:
                ledger.accept(number)
            else:
                ledger.reject(number, f"reason-{number % 2}", "detail")
        ledger.finish()
        ledger.write(tmp_path / name)
    files = {name: {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.json")} for name in ("forward", "backward")}
    assert files["forward"] == files["backward"]


def test_books_that_do_not_add_up_are_our_bug() -> None:
    ledger = Ledger(max_bad_ratio=1.0)
    ledger.accept(1)
    with pytest.raises(InternalError, match="2 items came in, but 1 went out and 0 are in quarantine"):
        ledger.finish(num_in=2)
    for count in (ledger.accept, lambda item: ledger.reject(item, "r", "d")):
        with pytest.raises(InternalError, match="twice"):
            count(1)


def test_a_share_above_the_limit_stops_with_the_reasons() -> None:
    ledger = Ledger(max_bad_ratio=0.25)
    for number in range(3):
        ledger.accept(number)
    ledger.reject(3, "broken", "")
    ledger.finish(num_in=4)
    ledger.reject(4, "broken", "")
    with pytest.raises(UserError, match=r"2 of 5 items are bad \(broken 2\).*0\.25.*max_bad_ratio"):
        ledger.finish(num_in=5)


def test_too_many_in_a_row_stop_at_once() -> None:
    ledger = Ledger(max_bad_ratio=1.0, max_consecutive=3)
    for number in (0, 1):
        ledger.reject(number, "broken", "")
    ledger.accept(2)
    for number in (3, 4):
        ledger.reject(number, "broken", "")
    with pytest.raises(UserError, match="3 items in a row are bad, the last is 5"):
        ledger.reject(5, "broken", "no such file")


def test_nothing_in_is_nothing_out() -> None:
    Ledger(max_bad_ratio=0.0).finish(num_in=0)


@pytest.mark.parametrize("item_id", ["", "../x", "a/b", ".hidden", "a\nb", "x" * 300])
def test_an_id_that_cannot_name_a_file_is_our_bug(item_id: str) -> None:
    with pytest.raises(InternalError, match="cannot name a file"):
        Ledger(max_bad_ratio=1.0).reject(item_id, "r", "d")
