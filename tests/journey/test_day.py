"""A day of the generated platform, with trainings of a few steps: the whole way, not its worth (that is `benchmarks/daily_update.py`)."""

import json
from pathlib import Path

import pytest

from reelspace.demo import daily


@pytest.mark.journey
@pytest.mark.timeout(600)
def test_a_days_works_are_found_in_what_was_serving_and_its_encoders_take_over(tmp_path: Path) -> None:
    report = daily.run_daily(tmp_path / "out", seed=3, size="smoke", num_works=120)
    assert report == daily.DayReport(**json.loads((tmp_path / "out" / "day.json").read_text()))
    assert report.new_works > 0
    assert report.new_works_found == report.new_works
    assert report.new_labels >= 2
    assert report.samples_known > 0
    pointer = json.loads((tmp_path / "out" / "store" / "spaces" / "current.json").read_text())
    assert pointer["encoders"]["text_encoder"] == 2
    assert pointer["generation"] == 1
