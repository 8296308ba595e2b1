"""Writer processes that come to an end of their own choosing or another's, and what a log must hold after it."""

import os
import random
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelspace.core.local_store import LocalStore
from reelspace.search.storage.ids import Id
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.rows import Rows
from reelspace.search.storage.writer import LogWriter

from .builders import WatchedStore, delete, expected, make_log, points_of, rows, upsert

NUM_IDS = 50
GROUP = 3
POINTS = ("before put", "before link", "after link", "after put", "before floor", "after floor", "before telling", "after telling")


def values_of(key: str) -> dict[Id, float | None]:
    """What a request writes, as a function of its key; None deletes."""
    draw = random.Random(key)
    return {id: draw.choice([None, draw.uniform(1, 9), draw.uniform(1, 9)]) for id in draw.sample(range(NUM_IDS), draw.randint(1, 4))}


def rows_of_key(key: str) -> Rows:
    return rows(*(delete(id) if value is None else upsert(id, value) for id, value in values_of(key).items()))


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Doom:
    """Kills its own process when it has come to a point of the write path for the n-th time."""

    point: str
    turns: int

    def come_to(self, point: str) -> None:
        if point == self.point:
            self.turns -= 1
            if self.turns == 0:
                kill()

    def watch(self, store: WatchedStore) -> None:
        points = {"put_if_absent": "put", "get": "floor"}

        def at(moment: str) -> Callable[[str, str], None]:
            return lambda method, key: self.come_to(f"{moment} {points[method]}") if method != "get" or key.endswith("floor.json") else None

        store.before, store.after = at("before"), at("after")
        link = os.link

        def watched(*paths: Any) -> None:
            self.come_to("before link")
            link(*paths)
            self.come_to("after link")

        os.link = watched  # in the child only


def write_until_killed(root: Path, name: str, doom: Doom, told: int) -> None:
    store = WatchedStore(root)
    doom.watch(store)
    with LogWriter(make_log(store)) as writer:
        for turn in range(10_000):
            keys = [f"{name}-{turn}-{number}" for number in range(GROUP)]
            futures = [writer.submit(key, rows_of_key(key)) for key in keys]
            for key, future in zip(keys, futures, strict=True):
                number = future.result()
                doom.come_to("before telling")
                os.write(told, f"{key} {number}\n".encode())
                doom.come_to("after telling")


def start(root: Path, name: str, doom: Doom) -> tuple[int, int]:
    reading, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            write_until_killed(root, name, doom, telling)
        except BaseException:  # noqa: BLE001, what the parent sees is that it ended
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(telling)
    return pid, reading


def acknowledged_by(pid: int, reading: int) -> Iterator[tuple[str, int]]:
    with os.fdopen(reading) as file:
        for line in file.read().splitlines():
            key, _, number = line.rpartition(" ")
            yield key, int(number)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself"


def check(root: Path, acknowledged: dict[str, int]) -> None:
    """Compare the log with what its keys say, by a dict."""
    log = make_log(LocalStore(root))
    found: dict[str, int] = {}
    oracle: dict[Id, float] = {}
    for entry in read_from(log, 0):
        for write in entry.writes:
            assert write.request_key not in found, "duplicate"
            assert write.rows.digest == rows_of_key(write.request_key).digest, "altered or phantom"
            found[write.request_key] = entry.number
            for id, value in values_of(write.request_key).items():
                if value is None:
                    oracle.pop(id, None)
                else:
                    oracle[id] = value
    assert {key: found.get(key) for key in acknowledged} == acknowledged, "missing"
    assert points_of(log) == expected(oracle)
