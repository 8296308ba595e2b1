"""The process in which a system's library or client runs: in its own environment, with its own processor time, timed from within.

`python -m benchmarks.search_peers.worker MODULE PLACE` reads messages from standard input and answers each. MODULE is a module beside
this one with `connect(place) -> System`; PLACE is a JSON object that only that module reads.
"""

import asyncio
import gc
import importlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import cycle
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.search_peers.load import Load, run_load, run_tasks
from benchmarks.search_peers.processes import forget_peak, memory_bytes, peak_bytes
from benchmarks.search_peers.system import (
    FILTERS,
    UNFILTERED,
    BatchedSystem,
    Floats,
    K,
    Rows,
    Searcher,
    SharedSearcher,
    System,
    where_of,
)
from benchmarks.search_peers.wire import read_message, write_message
from benchmarks.search_peers.writing import count_stale, write_steadily

Arrays = Mapping[str, NDArray[Any]]
Answer = tuple[dict[str, Any], Arrays]
NUM_WARMING = 50


class Worker:
    """One system with its searchers, and a method for each message."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._searchers: list[Searcher] = []
        self._queries_QD: Floats = np.empty((0, 0), np.float32)
        self._requests: dict[str, list[Any]] = {}
        self._loop = asyncio.Runner()
        self._shared: list[SharedSearcher] = []

    def ladders(self, arrays: Arrays, *, key: str) -> Answer:
        """Give the settings to try."""
        return {"ladders": self._system.ladders(key)}, {}

    def build(self, arrays: Arrays) -> Answer:
        """Store rows; gives seconds, and bytes by which this process grew, at the end and at the most."""
        rows = rows_of(arrays)
        gc.collect()
        forget_peak()
        before, resident = memory_bytes(os.getpid()), peak_bytes()
        begun_s = time.perf_counter()
        self._system.build(rows)
        seconds = time.perf_counter() - begun_s
        gc.collect()
        return {"seconds": seconds, "grown_bytes": memory_bytes(os.getpid()) - before, "peak_bytes": peak_bytes() - resident}, {}

    def queries(self, arrays: Arrays) -> Answer:
        """Keep the queries that later messages count through."""
        self._queries_QD, self._requests = arrays["queries"], {}
        return {}, {}

    def knob(self, arrays: Arrays, *, knob: Mapping[str, int | str]) -> Answer:
        """Search from now on with this setting; clients connect anew."""
        self._hang_up()
        self._system.set_knob(knob)
        return {}, {}

    def answers(self, arrays: Arrays, *, key: str, num: int) -> Answer:
        """Give the ids found for the first queries, rows filled up with -1."""
        (searcher,) = self._connected(1)
        ids_QK = np.full((num, K), -1, np.int64)
        for ids_K, request in zip(ids_QK, self._prepared(key)[:num], strict=True):
            found = searcher.search(request)
            ids_K[: len(found)] = found
        return {}, {"ids": ids_QK}

    def shares(self, arrays: Arrays) -> Answer:
        """Say whether many clients share connections."""
        return {"shares": bool(self._connected_shared(1))}, {}

    def connect(self, arrays: Arrays, *, key: str, clients: int, connections: int) -> Answer:
        """Get clients and requests ready, and ask once under each condition, so that the next message is only the load."""
        prepared = self._prepared(key)
        if clients > 1 and (shared := self._connected_shared(connections)):
            for one, request in zip(cycle(shared), prepared[: FILTERS.get(key, clients)], strict=False):
                self._loop.run(one.search(request))
            return {}, {}
        searchers = self._connected(clients)
        for request in prepared[: FILTERS.get(key, 1)]:
            searchers[0].search(request)
        for searcher in searchers[1:]:
            searcher.search(prepared[0])
        return {}, {}

    def load(self, arrays: Arrays, *, key: str, clients: int, connections: int, duration_s: float) -> Answer:
        """Search for a while."""
        prepared = self._prepared(key)
        if clients > 1 and (shared := self._connected_shared(connections)):
            load = self._loop.run(run_tasks(shared, prepared, clients, duration_s))
        else:
            load = run_load(self._connected(clients), prepared, duration_s)
        return _of_load(load)

    def load_batches(self, arrays: Arrays, *, size: int, clients: int, duration_s: float) -> Answer:
        """Search for a while, as many queries in a request as `size` says; one request goes ahead of the load."""
        searchers = [self._batched().batches() for _ in range(clients)]
        starts = range(0, len(self._queries_QD) - size + 1, size)
        prepared = [searchers[0].prepare(self._queries_QD[start : start + size], K) for start in starts]
        for one in searchers:
            one.search(prepared[0])
        load = run_load(searchers, prepared, duration_s)
        for one in searchers:
            one.close()
        return _of_load(load)

    def scored(self, arrays: Arrays, *, num: int) -> Answer:
        """Give ids and scores found for the first queries, of which each has K hits."""
        found = [self._batched().scored(query_D, K) for query_D in self._queries_QD[:num]]
        return {}, {"ids": np.array([ids for ids, _ in found]), "scores": np.array([scores for _, scores in found])}

    def cold(self, arrays: Arrays, *, key: str) -> Answer:
        """Open anew, and give the seconds of the first query under each value of the key."""
        self._hang_up()
        self._system.reopen()
        (searcher,) = self._connected(1)
        for request in self._prepared(UNFILTERED)[:NUM_WARMING]:
            searcher.search(request)
        seconds, num_short = [], 0
        for request in self._prepared(key)[: FILTERS[key]]:
            begun_s = time.perf_counter()
            ids = searcher.search(request)
            seconds.append(time.perf_counter() - begun_s)
            num_short += len(ids) < K
        return {"num_short": num_short}, {"seconds": np.array(seconds)}

    def write(self, arrays: Arrays, **pace: Any) -> Answer:
        """Insert rows at a steady rate, given by the keywords of `write_steadily`."""
        done = write_steadily(self._system, rows_of(arrays), **pace)
        return asdict(done), {}

    def stale(self, arrays: Arrays) -> Answer:
        """Insert rows one by one, each followed by a search for it."""
        return {"num_stale": count_stale(self._system, rows_of(arrays))}, {}

    def close(self, arrays: Arrays) -> Answer:
        """Let go of everything."""
        self._hang_up()
        self._system.close()
        self._loop.close()
        return {}, {}

    def _prepared(self, key: str) -> list[Any]:
        if key not in self._requests:
            (searcher,) = self._connected(1)
            self._requests[key] = [searcher.prepare(query_D, K, where_of(key, number)) for number, query_D in enumerate(self._queries_QD)]
        return self._requests[key]

    def _connected(self, num: int) -> list[Searcher]:
        while len(self._searchers) < num:
            self._searchers.append(self._system.searcher())
        return self._searchers[:num]

    def _connected_shared(self, num: int) -> list[SharedSearcher]:
        async def connect() -> SharedSearcher | None:
            return self._system.shared()

        while len(self._shared) < num and (one := self._loop.run(connect())):
            self._shared.append(one)
        return self._shared[:num]

    def _batched(self) -> BatchedSystem:
        assert isinstance(self._system, BatchedSystem), "only some systems are asked for batches and scores"
        return self._system

    def _hang_up(self) -> None:
        for shared in self._shared:
            self._loop.run(shared.close())
        self._shared = []
        for searcher in self._searchers:
            searcher.close()
        self._searchers = []


def _of_load(load: Load) -> Answer:
    return {"wall_s": load.wall_s, "client_cpu_s": load.client_cpu_s, "num_short": load.num_short}, {"seconds": load.seconds_Q}


def rows_of(arrays: Arrays) -> Rows:
    """Put the rows of a message together."""
    return Rows(arrays["ids"], arrays["vectors"], {key: arrays[key] for key in FILTERS})


def serve(worker: Worker, source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer messages until one says `close`."""
    operation = ""
    while operation != "close":
        header, arrays = read_message(source)
        operation = header.pop("do")
        answer, answered = getattr(worker, operation)(arrays, **header)
        write_message(sink, answer, answered)


def main() -> None:
    """Run the worker; what libraries print goes to standard error, since standard output carries the answers."""
    module, place = sys.argv[1:]
    with os.fdopen(os.dup(1), "wb") as sink:
        os.dup2(2, 1)
        system: System = importlib.import_module(f"benchmarks.search_peers.{module}").connect(orjson.loads(place))
        serve(Worker(system), sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
