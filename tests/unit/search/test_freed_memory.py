"""Heaps of a process that serves: few, and Arrow's among them."""

import subprocess
import sys


def test_arrow_takes_its_memory_from_the_heaps_that_are_given_back() -> None:
    lines = (
        "import pyarrow as pa",
        "from reelspace.search.compute.freed_memory import give_back, share_heaps",
        "share_heaps()",
        "give_back()",
        "print(pa.default_memory_pool().backend_name)",
    )
    told = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "system"
