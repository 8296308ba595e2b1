"""Writers that are killed: what was acknowledged is there, once and as it was written, and nothing else."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.storage.writer import LogWriter

from .builders import keys_of, make_log
from .doomed import GROUP, POINTS, Doom, acknowledged_by, check, rows_of_key, start

ROUNDS_PER_LOG = 20


def round_of_kills(root: Path, name: str, draw: random.Random) -> dict[str, int]:
    """Let two writers race and kill both: one at a named point, the other at a random moment."""
    point = draw.choice(POINTS)
    doomed = start(root, f"{name}-doomed", Doom(point, draw.randint(1, 6)))
    other = start(root, f"{name}-random", Doom("none", 0))
    time.sleep(draw.uniform(0.0, 0.12))
    os.kill(other[0], signal.SIGKILL)
    acknowledged = dict(acknowledged_by(*other))
    return acknowledged | dict(acknowledged_by(*doomed))


def retry(root: Path, name: str) -> None:
    """Send every request again that the killed writers may have begun."""
    log = make_log(LocalStore(root))
    before = keys_of(log)
    keys = [f"{name}-{who}-{turn}-{number}" for who in ("doomed", "random") for turn in range(3) for number in range(GROUP)]
    with LogWriter(log) as writer:
        for future in [writer.submit(key, rows_of_key(key)) for key in keys]:
            future.result()
    after = keys_of(log)
    assert sorted(after) == sorted({*before, *keys})


def run(tmp_path: Path, num_rounds: int, seed: int) -> None:
    print(f"seed {seed}")
    num_acknowledged = 0
    for first in range(0, num_rounds, ROUNDS_PER_LOG):
        root = tmp_path / str(first)
        acknowledged: dict[str, int] = {}
        for number in range(first, min(first + ROUNDS_PER_LOG, num_rounds)):
            draw = random.Random(f"{seed}-{number}")
            acknowledged |= round_of_kills(root, str(number), draw)
            check(root, acknowledged)
            retry(root, str(number))
        num_acknowledged += len(acknowledged)
    assert num_acknowledged > num_rounds


def test_killed_writers_lose_duplicate_invent_and_alter_nothing(tmp_path: Path) -> None:
    run(tmp_path, 10, seed=random.randrange(10**9))  # two writers are killed in each round


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_200_kills_lose_duplicate_invent_and_alter_nothing(tmp_path: Path) -> None:
    run(tmp_path, 100, seed=random.randrange(10**9))


@pytest.mark.parametrize("point", POINTS)
def test_a_writer_killed_at_a_named_point_leaves_a_log_that_another_goes_on_with(tmp_path: Path, point: str) -> None:
    for turns in (1, 4):
        name = f"{point}-{turns}"
        acknowledged = dict(acknowledged_by(*start(tmp_path, name, Doom(point, turns))))
        check(tmp_path, acknowledged)
        log = make_log(LocalStore(tmp_path))
        keys = [f"{name}-{turn}-{number}" for turn in range(5) for number in range(GROUP)]
        with LogWriter(log) as writer:
            for key in keys:
                acknowledged[key] = writer.append(key, rows_of_key(key))
        check(tmp_path, acknowledged)
