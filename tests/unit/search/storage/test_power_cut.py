"""Power cuts: the backing file of a mounted ext4 is copied while a writer is stopped in mid-air; the copy is what a disk would hold.

See tests/search/loop_disk.py; tests/search/test_power_cut.py does so with gateways and builders.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from reelspace.core.errors import CorruptArtifact
from tests.search.loop_disk import empty_disk, mounted

from .doomed import Doom, acknowledged_by, check, start

NUM_CUTS = 20
NUM_CONTROL_CUTS = 3


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An ext4 in a file."""
    return empty_disk(tmp_path)


def cut(disk: Path, folder: Path, after_s: float) -> tuple[Path, dict[str, int]]:
    """Write to a fresh disk, stop at a moment, copy what the disk has; gives the copy and what was acknowledged by then."""
    folder.mkdir()
    image, copy = Path(shutil.copyfile(disk, folder / "image")), folder / "copy"
    with mounted(image, folder / "mounted") as place:
        pid, reading = start(place / "store", "k", Doom("none", 0))
        time.sleep(after_s)
        os.kill(pid, signal.SIGSTOP)
        shutil.copyfile(image, copy)
        os.kill(pid, signal.SIGKILL)
        acknowledged = dict(acknowledged_by(pid, reading))
    image.unlink()
    return copy, acknowledged


@pytest.mark.long
def test_what_was_acknowledged_before_a_power_cut_is_on_the_disk(disk: Path, tmp_path: Path) -> None:
    num_acknowledged = 0
    for number in range(NUM_CUTS):
        copy, acknowledged = cut(disk, tmp_path / str(number), random.uniform(0.05, 0.6))
        with mounted(copy, tmp_path / "after") as place:
            check(place / "store", acknowledged)
        copy.unlink()
        num_acknowledged += len(acknowledged)
    assert num_acknowledged > 10 * NUM_CUTS


@pytest.mark.long
def test_without_syncing_the_same_cuts_lose_what_was_acknowledged(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_lost = 0
    for number in range(NUM_CONTROL_CUTS):
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", lambda _descriptor: None)
            copy, acknowledged = cut(disk, tmp_path / str(number), 0.5)
        assert acknowledged
        with mounted(copy, tmp_path / "after") as place:
            try:
                check(place / "store", acknowledged)
            except (AssertionError, CorruptArtifact):
                num_lost += 1
    assert num_lost == NUM_CONTROL_CUTS
