"""A disk of its own for tests of power cuts: an ext4 in a file, which is copied as it is at a moment. Needs root, for mounting.

Unsynced files and unsynced names are not in the copy, synced ones are.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SIZE_BYTES = 48 << 20


def empty_disk(folder: Path) -> Path:
    """Make the file of an ext4; the test is skipped where no such file may be mounted."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4")
    image = folder / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, _folder(folder / "trial")], check=False).returncode:
        pytest.skip("no loop device may be mounted here")
    subprocess.run(["umount", folder / "trial"], check=True)
    return image


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """Mount a file for a while."""
    # The journal is written when somebody syncs, not by the clock.
    subprocess.run(["mount", "-o", "loop,commit=600", image, _folder(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path
