"""A disk that is really full: a small tmpfs in a mount namespace of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reelspace.core.store import open_store

CHILD = """
import sys
from reelspace.core.settings import Settings
from reelspace.core.program import run_main
from reelspace.core.steps import run_step

def body(run):
    (run.output("numbers") / "large.bin").write_bytes(bytes(range(256)) * (int(sys.argv[2]) // 256))
    return {}

def main():
    run_step("fill", "reelspace.core.steps", settings=Settings(), inputs={}, outputs={"numbers": sys.argv[1]}, body=body)

sys.exit(run_main(main))
"""

SCRIPT = """
mount -t tmpfs -o size={size} tmpfs {store} || exit 99
REELSPACE_STORE={store} REELSPACE_RUN_ID=run {python} -c '{child}' {output} {num_bytes}
code=$?
cp -r {store} {copy}
exit $code
"""


def in_small_store(tmp_path: Path, size: str, num_bytes: int) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "store").mkdir()
    script = SCRIPT.format(
        size=size,
        store=tmp_path / "store",
        python=sys.executable,
        child=CHILD,
        output=tmp_path / "numbers",
        num_bytes=num_bytes,
        copy=tmp_path / "copy",
    )
    found = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    if found.returncode == 99 or "unshare" in found.stderr:
        pytest.skip(f"needs the right to mount a tmpfs: {found.stderr.strip()}")
    return found


@pytest.mark.parametrize(
    "num_bytes",
    [pytest.param(8_000_000, id="in the body"), pytest.param(2_500_000, id="while the artifact is written")],
)
def test_a_full_disk_ends_a_step_with_75_and_nothing_half_written(tmp_path: Path, num_bytes: int) -> None:
    found = in_small_store(tmp_path, "4m", num_bytes)
    assert found.returncode == 75
    assert "the disk is full" in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "numbers").exists()
    store = open_store(str(tmp_path / "copy"))
    assert [key for key in store.list("") if key.endswith(("manifest.json", "outputs.json", "_FAILED"))] == []
    assert [json.loads(store.get(key))["exit_code"] for key in store.list("runs/") if key.endswith("exit.json")] == [75]
    assert list((tmp_path / "copy/.reelspace/temporary").iterdir()) == []


def test_the_same_step_fits_a_larger_disk(tmp_path: Path) -> None:
    found = in_small_store(tmp_path, "20m", 2_500_000)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "numbers").exists()
