"""A build that may take so much memory only: it fails alone, and what serves goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.publication import waiting
from reelspace.search.storage.layout import read_current

from .publishing import MADE, serving

MODULE = "reelspace.search.scheduling.rebuild_program"


@pytest.mark.parametrize(("memory_bytes", "succeeds"), [(40 << 20, False), (4 << 30, True)])
def test_a_build_beyond_its_memory_fails_and_changes_nothing(tmp_path: Path, memory_bytes: int, succeeds: bool) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)
    options = ["--store", store.url, "--collection", MADE.full_name, "--shard", "0", "--memory-bytes", str(memory_bytes)]
    ended = subprocess.run([sys.executable, "-m", MODULE, *options], capture_output=True, text=True, check=False)
    assert (ended.returncode == 0) == succeeds, ended.stderr
    pointer = read_current(store, MADE.full_name, MADE.num_shards)
    assert pointer.shards["0"].generation == (2 if succeeds else 1)
    assert waiting(store) == {}
