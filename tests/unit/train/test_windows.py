"""Windows say which works train; held-out works are the same for ever."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from reelspace.core.errors import ReelspaceError
from reelspace.core.settings import read
from reelspace.train.settings import TrainSettings
from reelspace.train.windows import Window, inside_N, trains_N, windows_of

START = datetime(2025, 1, 1, tzinfo=UTC)
CREATED_N = [START + timedelta(days=number) for number in range(1000)]
IDS_N = np.arange(1000)
REPLAY = {"teacher": "a" * 64, "seen": [{"until": "2025-01-11T00:00:00Z"}], "new": {"since": "2025-02-01T00:00:00Z", "held_out": 0.25}}


def days(first: int | None, end: int | None, held_out: float = 0.0) -> Window:
    since, until = (None if day is None else START + timedelta(days=day) for day in (first, end))
    return Window(since=since, until=until, held_out=held_out)


def test_a_window_has_its_first_moment_and_not_its_last() -> None:
    assert np.flatnonzero(inside_N(days(3, 6), CREATED_N)).tolist() == [3, 4, 5]
    assert inside_N(days(None, None), CREATED_N).all()


def test_works_of_any_window_train_and_a_share_of_each_is_held_out() -> None:
    assert np.flatnonzero(trains_N([days(None, 2), days(5, 7)], CREATED_N, IDS_N)).tolist() == [0, 1, 5, 6]
    quarter, half = (trains_N([days(None, None, share)], CREATED_N, IDS_N) for share in (0.25, 0.5))
    assert quarter.sum() == pytest.approx(750, abs=50)
    assert half.sum() == pytest.approx(500, abs=60)
    # Who is held out at a quarter is so at a half, whatever other works there are.
    assert not (half & ~quarter).any()
    alone = trains_N([days(None, None, 0.25)], CREATED_N[500:], IDS_N[500:])
    assert alone.tolist() == quarter[500:].tolist()


def test_what_a_model_trained_on_is_read_from_its_settings() -> None:
    plain = read(TrainSettings, {"train_until": "2025-01-11T00:00:00Z"}).model_dump(mode="json")
    assert windows_of(plain) == (days(None, 10),)
    went_on = read(TrainSettings, {"replay": REPLAY}).model_dump(mode="json")
    assert windows_of(went_on) == (days(None, 10), days(31, None, 0.25))
    assert windows_of({}) is None
    assert windows_of({**plain, "encoder_role": "teacher"}) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train_until": "2025-03-01T00:00:00Z"}, "windows say which works train"),
        ({"order": "shuffled"}, "windows say which works train"),
        ({"warm_start": {"picture": "vit"}}, "training starts from the teacher"),
        ({"replay": {**REPLAY, "seen": []}}, "replay.seen"),
        ({"replay": {**REPLAY, "new": {"since": "2025-02-01T00:00:00Z", "until": "2025-02-01T00:00:00Z"}}}, "after since"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ReelspaceError, match=says):
        read(TrainSettings, {"replay": REPLAY, **change})
