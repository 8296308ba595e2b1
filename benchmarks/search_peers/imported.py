"""Rows that come in by `reelspace search import` from a file, and servers and bare faiss over what it made."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.search_peers.absence import NotHere
from benchmarks.search_peers.child import Child
from benchmarks.search_peers.contender import Contender
from benchmarks.search_peers.processes import Server
from benchmarks.search_peers.reelspace import COLLECTION, serve_store
from benchmarks.search_peers.system import UNFILTERED, Floats
from benchmarks.search_peers.world import World

RECALL: Final = 0.96
"""A little more than the target: it is measured with stored rows, which are found more easily than queries."""
_TAIL_CHARACTERS: Final = 600


def save_rows(path: Path, vectors_ND: Floats) -> Path:
    """Write the file to import."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, vectors_ND)
    return path


def import_words(file: Path, store: str, num_shards: int) -> list[str]:
    """Give the words of the command behind `reelspace`."""
    return ["search", "import", str(file), "--dir", store, "--collection", COLLECTION, "--shards", str(num_shards), "--recall", str(RECALL)]


def import_rows(file: Path, store: str, num_shards: int = 1, variables: Mapping[str, str] | None = None) -> None:
    """Import a file into an empty store.

    Raises:
        NotHere: the command failed; with the end of what it said.
    """
    if "://" not in store:
        Path(store).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "reelspace.cli", *import_words(file, store, num_shards)]
    done = subprocess.run(command, env=os.environ | (variables or {}), capture_output=True, text=True)
    if done.returncode:
        raise NotHere(f"`reelspace search import` failed: {done.stderr.strip()[-_TAIL_CHARACTERS:]}")


def served(world: World, store: str, folder: Path, stack: ExitStack, options: Sequence[str] = (), name: str = "reelspace") -> Contender:
    """Serve a filled store, with its log in an empty folder, until the stack is left; gives it with its recall.

    Raises:
        NotHere: it does not start.
    """
    server = serve_store(store, folder, options)
    stack.callback(server.stop)
    child = client_of(server, "client", stack)
    contender = Contender(name, child, world, server)
    contender.tune((UNFILTERED,))
    return contender


def client_of(server: Server, name: str, stack: ExitStack) -> Child:
    """Start a client of one of our servers."""
    child = Child(Path(sys.executable), "reelspace", server.place, server.folder / f"{name}.log")
    stack.callback(child.close)
    return child


def bare_faiss(world: World, store: Path, folder: Path, stack: ExitStack) -> Contender:
    """Search the index of a filled directory without us, in a process of its own; gives it with its recall."""
    child = Child(Path(sys.executable), "sealed_faiss", {"directory": str(store)}, folder / "faiss.log")
    stack.callback(child.close)
    contender = Contender("faiss", child, world)
    contender.tune((UNFILTERED,))
    return contender


def searched(contender: Contender, clients: int, duration_s: float) -> dict[str, float]:
    """Search for a while; gives also the processor microseconds per query of what searches: the server, or faiss asked by one client."""
    figures = contender.load(UNFILTERED, clients if contender.server else 1, duration_s)
    return figures | {"cpu_us": 1e3 * figures["server_ms" if contender.server else "client_ms"]}
