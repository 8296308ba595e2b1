"""The import of a file of rows beside bare faiss that builds the same index, each in a process of its own, and serving what came of it."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from typing import Final

import orjson

from benchmarks.record import ROOT
from benchmarks.search_peers.absence import NotHere
from benchmarks.search_peers.comparison import Comparison
from benchmarks.search_peers.contender import Figures
from benchmarks.search_peers.imported import client_of, save_rows
from benchmarks.search_peers.processes import MIB
from benchmarks.search_peers.readings import Reading
from benchmarks.search_peers.reelspace import serve_store
from benchmarks.search_peers.system import UNFILTERED
from benchmarks.search_peers.world import World

IMPORT: Final = "import"
WAYS: Final = ("reelspace", "faiss")
_TAIL_CHARACTERS: Final = 600


def measure_imports(comparison: Comparison, world: World) -> None:
    """Import in turns; what our last import made is served and asked a query."""
    folder = comparison.new_folder(IMPORT, world.name)
    file = save_rows(folder / "rows.npy", world.rows.vectors_ND)
    seconds = 0.0
    with comparison.noting_absence((IMPORT, world.name), IMPORT):
        for turn in range(comparison.plan.rounds):
            for way in WAYS:
                rmtree(folder / way, ignore_errors=True)
                figures = _import(way, file, folder / way)
                figures["peak_per_raw"] = figures["peak_mib"] * MIB / world.raw_bytes
                comparison.add(Reading(world.name, IMPORT, way, turn, figures))
                seconds = figures["seconds"] if way == WAYS[0] else seconds
        figures = {"seconds": seconds + _seconds_until_served(world, folder / WAYS[0], folder)}
        comparison.add(Reading(world.name, f"{IMPORT} served", WAYS[0], 0, figures))


def _import(way: str, file: Path, directory: Path) -> Figures:
    command = [sys.executable, "-m", "benchmarks.search_peers.import_child", way, str(file), str(directory)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if done.returncode:
        raise NotHere(f"an import by {way} failed: {done.stderr.strip()[-_TAIL_CHARACTERS:]}")
    found = orjson.loads(done.stdout.splitlines()[-1])
    return {"seconds": found["seconds"], "cpu_s": found["cpu_s"], "peak_mib": found["peak_bytes"] / MIB}


def _seconds_until_served(world: World, data: Path, folder: Path) -> float:
    begun_s = time.perf_counter()
    with ExitStack() as stack:
        server = serve_store(str(data), folder, ())
        stack.callback(server.stop)
        child = client_of(server, "client", stack)
        child.ask("queries", {"queries": world.queries_QD[:1]})
        child.answers(UNFILTERED, 1)
        return time.perf_counter() - begun_s
