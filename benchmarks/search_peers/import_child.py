"""The process whose time and memory an import is measured by.

`python -m benchmarks.search_peers.import_child WAY FILE DIRECTORY` prints one JSON object. `reelspace` runs the command
`reelspace search import`; `faiss` trains an index of the same kind with as many lists, learned from as many rows, by as many threads,
adds the rows of the file and writes the index.
"""

import importlib
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import orjson

from benchmarks.search_peers.imported import import_words
from benchmarks.search_peers.processes import forget_peak, peak_bytes
from reelspace.cli.main import app
from reelspace.search.compute.build import POINTS_PER_CENTROID
from reelspace.search.compute.lists import num_lists

SEED: Final = 1
LOADED: Final = ("shared_directory", "tables.formats", "tools.columns", "tools.gateway", "tools.import_rows")
"""Modules that the command imports when it runs: they are no part of its growth."""


def import_by_command(file: Path, directory: Path) -> None:
    """Run the command as the shell would."""
    directory.mkdir()
    app(import_words(file, str(directory), 1), standalone_mode=False)


def build_by_faiss(file: Path, directory: Path) -> None:
    """Read, train, add and write."""
    directory.mkdir()
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    vectors_ND = np.load(file)
    lists = num_lists(len(vectors_ND))
    index: Any = faiss.index_factory(vectors_ND.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = POINTS_PER_CENTROID
    learned = np.sort(np.random.default_rng(SEED).permutation(len(vectors_ND))[: POINTS_PER_CENTROID * lists])
    index.train(vectors_ND[learned])
    index.add(vectors_ND)
    faiss.write_index(index, str(directory / "index.faiss"))


WAYS: Final = {"reelspace": import_by_command, "faiss": build_by_faiss}


def main() -> None:
    """Import and tell seconds, processor seconds, and bytes by which the process grew at the most, mapped files included."""
    way, file, directory = sys.argv[1:]
    for name in LOADED:
        importlib.import_module(f"reelspace.search.{name}")
    forget_peak()
    resident, begun_s, cpu_s = peak_bytes(), time.perf_counter(), _cpu_s()
    WAYS[way](Path(file), Path(directory))
    seconds, spent_s = time.perf_counter() - begun_s, _cpu_s() - cpu_s
    print(orjson.dumps({"seconds": seconds, "cpu_s": spent_s, "peak_bytes": peak_bytes() - resident}).decode())


def _cpu_s() -> float:
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


if __name__ == "__main__":
    main()
