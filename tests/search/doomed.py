"""Gateways, writers and builders that come to a sudden end, forked from one process that has loaded everything.

`python doomed.py` reads a JSON object per line: what to fork. It answers with the process id; a fork writes to the file `told`.
The store of a fork kills its process at a named point; the product knows nothing of that.
"""

import ctypes
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import TemporaryError
from reelspace.core.local_store import LocalStore
from reelspace.gateway.app import create_app
from reelspace.gateway.server import serve
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute.build import IndexSettings
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.storage.layout import Collection, VectorSettings, read_collection
from reelspace.search.storage.rows import Change, Op
from reelspace.search.storage.seen_numbers import SeenNumbers

MADE = Collection(name="things", space_id="0" * 16, vectors={"": VectorSettings(dimension=8, metric="euclid")}, num_shards=2)
IVF = IndexSettings(flat_below=1, recall_target=0.9, num_recall_queries=16)
NUM_IDS = 40
KEPT_S = 4.0
"""Seconds that objects of the log are kept here, where nobody tries a request again after minutes."""
WRITING = ("before put", "after put", "before floor")
BUILDING = ("building", "published", "flipped")
LOADING = ("loading",)
PR_SET_PDEATHSIG = 1


class DoomedStore(LocalStore):
    """Kills its process when it comes to a point for the n-th time."""

    def __init__(self, root: Path, doom: str) -> None:
        super().__init__(root)
        self._point, _, turns = doom.partition(":")
        self._turns = int(turns or 0)
        self._has_put = threading.local()

    def get(self, key: str) -> bytes:
        if key.endswith("floor.json") and getattr(self._has_put, "now", False):
            self._has_put.now = False
            self._come_to("before floor")
        if "/generations/" in key:
            self._come_to("loading")
        return super().get(key)

    def put_if_absent(self, key: str, data: bytes) -> str:
        if not key.endswith(".arrow"):
            return super().put_if_absent(key, data)
        self._come_to("before put")
        etag = super().put_if_absent(key, data)
        self._has_put.now = True
        self._come_to("after put")
        return etag

    def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
        self._come_to("building")
        super().put_file(key, path, sha256)

    def put(self, key: str, data: bytes) -> str:
        etag = super().put(key, data)
        if key.endswith("manifest.json"):
            self._come_to("published")
        return etag

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        found = super().put_if_match(key, data, etag)
        if key.endswith("current.json"):
            self._come_to("flipped")
        return found

    def _come_to(self, point: str) -> None:
        if point == self._point:
            self._turns -= 1
            if self._turns == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def row_of(id: int, turn: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """What an owner's turn writes to a row, as a function of both."""
    return np.random.default_rng([id, turn]).standard_normal(8).astype(np.float32), {"turn": turn, "even": turn % 2 == 0}


def rows_of_turn(first_id: int, turn: int) -> dict[int, int | None]:
    """What an owner of ids does in a turn: the turn that each row is of then, None for a deletion."""
    draw = random.Random(f"{first_id}-{turn}")
    ids = draw.sample(range(first_id, first_id + NUM_IDS), draw.randint(1, 6))
    return {id: draw.choice([None, turn, turn]) for id in ids}


def gateway(store: DoomedStore, what: dict[str, Any]) -> None:
    settings = GatewaySettings(store=store.url, backend="local", port=0, share_ports=what.get("share_ports", False))
    serve(create_app(settings, store, connector(settings, store)), settings)


def writer(store: DoomedStore, what: dict[str, Any]) -> None:
    """Write to the log without a gateway, turn by turn."""
    with closing(LogWriters(store, read_collection(store, what["collection"]))) as writers:
        for turn in range(what["turn"], 10**9):
            tell(f"begin {turn}")
            changes = [
                Change(Op.DELETE, id) if of is None else Change(Op.UPSERT, id, {"": row_of(id, of)[0]}, row_of(id, of)[1])
                for id, of in rows_of_turn(what["first_id"], turn).items()
            ]
            for future in writers.submit(f"{what['first_id']}-{turn}", changes).values():
                future.result()
            tell(f"done {turn}")


def builder(store: DoomedStore, what: dict[str, Any]) -> None:
    """Build one generation after the other and drop what is old."""
    made, seen = read_collection(store, what["collection"]), SeenNumbers(KEPT_S)
    with TemporaryDirectory() as scratch:
        while True:
            for shard in range(made.num_shards):
                try:
                    rebuild_shard(store, made, shard, IVF, Path(scratch))
                except TemporaryError as error:
                    tell(f"again {error}")
                drop_old(store, made, shard, seen)
            time.sleep(0.05)


ROLES: dict[str, Callable[[DoomedStore, dict[str, Any]], None]] = {"gateway": gateway, "writer": writer, "builder": builder}


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def forked(what: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        told = os.open(what["told"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(told, 1)
        os.dup2(told, 2)
        if what.get("without_sync"):
            os.fsync = lambda _descriptor: None
        ROLES[what["role"]](DoomedStore(Path(what["root"]), what["doom"]), what)
    except BaseException:  # noqa: BLE001, what the parent sees is what is told
        traceback.print_exc()
    finally:
        os._exit(1)


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Let forks vanish when they end."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


if __name__ == "__main__":
    with signals_ignored():
        for line in sys.stdin:
            print(forked(json.loads(line)), flush=True)
