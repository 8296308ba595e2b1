"""A training beside a store that refuses its checkpoints: it goes on, and says at its end what that costs."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.steps.training_steps import FILES, LIMIT_S, PRETRAIN, Place
from tests.unit.steps.faulty_s3 import FaultyS3

ARGUMENTS = ("pretrain", "shards", "labels", "teacher")
SETTINGS = PRETRAIN.model_dump(mode="json")


@pytest.fixture
def faulty(s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    found = FaultyS3(s3_endpoint)
    with found.serving() as endpoint:
        monkeypatch.setenv("REELSPACE_S3_ENDPOINT", endpoint)
        yield found


def test_a_training_whose_checkpoints_the_store_refuses_goes_on_tells_it_once_and_finishes(faulty: FaultyS3, s3_url: str, tmp_path: Path):
    place = Place.make(tmp_path, s3_url)
    faulty.refuse_writes("403")
    code, told = place.run(*ARGUMENTS, settings={**SETTINGS, "steps": 30})
    assert code == 0, told
    assert told.count('"checkpoint_not_stored"') == 1
    assert sum(method == "PUT" and "/state/" in path for method, path in faulty.requests) > 1
    assert set(place.artifact("teacher").names()) >= FILES


def test_a_training_stopped_while_the_store_refuses_its_checkpoints_exits_75_and_says_what_is_lost(
    faulty: FaultyS3, s3_url: str, tmp_path: Path
):
    place = Place.make(tmp_path, s3_url)
    faulty.refuse_writes("403")
    stopped = place.start(*ARGUMENTS, settings={**SETTINGS, "steps": 2000})
    deadline_s = time.monotonic() + LIMIT_S
    while not any(method == "PUT" and "/state/" in path for method, path in faulty.requests):
        assert stopped.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    stopped.terminate()
    _, told = stopped.communicate(timeout=LIMIT_S)
    assert stopped.returncode == 75, told
    last = told.splitlines()[-1]
    assert re.match(r"error: stopped by SIGTERM after step \d+ of 2000; .*could not be.*AccessDenied", last), told
    assert "Traceback" not in told
