"""Generating onto a disk that is really full: a small tmpfs in a mount namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import sys
from pathlib import Path
from reelspace.core.program import run_main
from reelspace.demo.generate import generate
from reelspace.demo.presets import world_preset
sys.exit(run_main(lambda: generate(world_preset("demo", num_works=60), Path(sys.argv[1]) / "world")))
"""
SCRIPT = """
mount -t tmpfs -o size={size} tmpfs {disk} || exit 99
{python} -c '{child}' {disk}
code=$?
ls -A {disk} > {listing}
exit $code
"""


@pytest.mark.parametrize("size", ["200k", "2m"])
def test_a_full_disk_ends_with_code_75_and_leaves_nothing(tmp_path: Path, size: str) -> None:
    disk, listing = tmp_path / "disk", tmp_path / "listing.txt"
    disk.mkdir()
    script = SCRIPT.format(size=size, disk=disk, python=sys.executable, child=CHILD, listing=listing)
    found = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    if found.returncode == 99 or "unshare" in found.stderr:
        pytest.skip(f"needs the right to mount a tmpfs: {found.stderr.strip()}")
    assert found.returncode == 75, found.stderr
    assert "Traceback" not in found.stderr
    assert "No space left" in found.stderr.splitlines()[-1]
    assert listing.read_text() == ""
