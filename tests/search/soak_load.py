"""Mixed load on one collection of a gateway, in threads that each ask one thing after the other; and what a process holds meanwhile."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson

NUM_IDS, SIZE = 4000, 16
BATCH = 20
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Held:
    """What a process holds at a moment: resident memory, that of it which no file backs, open files, threads."""

    at_s: float
    rss_mb: float
    anonymous_mb: float
    num_fds: int
    num_threads: int

    @classmethod
    def by(cls, pid: int) -> "Held":
        """Ask the kernel."""
        root = Path("/proc") / str(pid)
        lines = [line.split() for line in (root / "smaps_rollup").read_text().splitlines()[1:]]
        kilobytes = {line[0].rstrip(":"): int(line[1]) for line in lines}
        counts = len(list((root / "fd").iterdir())), len(list((root / "task").iterdir()))
        return cls(time.monotonic(), kilobytes["Rss"] / 1024, kilobytes["Anonymous"] / 1024, *counts)


def slope(times_s: Sequence[float], values: Sequence[float]) -> float:
    """Give the median of the slopes between every two moments (Theil 1950, Sen 1968), in units per hour."""
    x, y = np.asarray(times_s), np.asarray(values)
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first]))) * 3600


@dataclass
class Load:
    """Asks of all kinds, each in a thread at a rate of its own; `answers` counts them by kind and status."""

    url: str
    collection: str
    answers: "Counter[tuple[str, int]]" = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._lock = threading.Lock()
        kinds: list[tuple[str, float, Callable[[random.Random], tuple[str, str, object]]]] = [
            ("search", 40.0, self._search),
            ("filtered", 20.0, self._filtered),
            ("upsert", 10.0, self._upsert),
            ("delete", 1.0, self._delete),
            ("payload", 2.0, self._payload),
            ("scroll", 4.0, self._scroll),
            ("count", 2.0, self._count),
        ]
        self._threads = [threading.Thread(target=self._run, args=kind, daemon=True) for kind in kinds]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self, kind: str, rate: float, ask: Callable[[random.Random], tuple[str, str, object]]) -> None:
        draw = random.Random(kind)
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        while not self._ending.wait(1.0 / rate):
            method, path, body = ask(draw)
            connection.request(
                method, f"/collections/{self.collection}/points{path}", orjson.dumps(body), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            data = response.read()
            with self._lock:
                self.answers[kind, response.status] += 1
                if response.status != 200 and len(self.wrong) < 20:
                    self.wrong.append(f"{kind}: {data[:200]!r}")
        connection.close()

    def _vector(self, draw: random.Random) -> list[float]:
        return [draw.gauss(0, 1) for _ in range(SIZE)]

    def _search(self, draw: random.Random) -> tuple[str, str, object]:
        return "POST", "/query", {"query": self._vector(draw), "limit": 10, "with_payload": draw.random() < 0.5}

    def _filtered(self, draw: random.Random) -> tuple[str, str, object]:
        condition: Any = {"key": "kind", "match": {"value": draw.randrange(40)}}
        if draw.random() < 0.5:
            low = draw.randrange(1000)
            condition = {"key": "number", "range": {"gte": low, "lt": low + draw.randrange(1, 500)}}
        return "POST", "/query", {"query": self._vector(draw), "limit": 10, "filter": {"must": [condition]}}

    def _upsert(self, draw: random.Random) -> tuple[str, str, object]:
        ids = draw.sample(range(NUM_IDS), BATCH)
        return "PUT", "?wait=true", {"points": [{"id": id, "vector": self._vector(draw), "payload": _payload_of(draw)} for id in ids]}

    def _delete(self, draw: random.Random) -> tuple[str, str, object]:
        return "POST", "/delete?wait=true", {"points": draw.sample(range(NUM_IDS), BATCH)}

    def _payload(self, draw: random.Random) -> tuple[str, str, object]:
        return "POST", "/payload", {"payload": {"kind": draw.randrange(40)}, "points": draw.sample(range(NUM_IDS), BATCH)}

    def _scroll(self, draw: random.Random) -> tuple[str, str, object]:
        return "POST", "/scroll", {"limit": 100, "offset": draw.randrange(NUM_IDS), "with_vector": draw.random() < 0.3}

    def _count(self, draw: random.Random) -> tuple[str, str, object]:
        return "POST", "/count", {"filter": {"must": [{"key": "kind", "match": {"value": draw.randrange(40)}}]}}


def _payload_of(draw: random.Random) -> dict[str, object]:
    return {"kind": draw.randrange(40), "number": draw.randrange(1000), "text": "x" * draw.randrange(100)}
