"""The closed loop of clients: each asks its next query as soon as it has an answer."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_peers.system import BatchSearcher, K, Searcher, SharedSearcher

Share = tuple[list[float], int]


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it: seconds of each query, seconds of the whole, processor seconds of the clients, answers of fewer than `K` ids."""

    seconds_Q: NDArray[np.float64]
    wall_s: float
    client_cpu_s: float
    num_short: int


def run_load(searchers: Sequence[Searcher | BatchSearcher], requests: Sequence[Any], duration_s: float) -> Load:
    """Search for a while, one thread per searcher; the searchers start at different requests, and begin again behind the last."""
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    end_s = begun_s + duration_s
    starts = [number * len(requests) // len(searchers) for number in range(len(searchers))]
    if len(searchers) == 1:
        shares = [_ask(searchers[0], requests, 0, end_s)]
    else:
        with ThreadPoolExecutor(len(searchers)) as pool:
            running = [pool.submit(_ask, one, requests, start, end_s) for one, start in zip(searchers, starts, strict=True)]
            shares = [one.result() for one in running]
    return _load(shares, begun_s, cpu_s)


async def run_tasks(searchers: Sequence[SharedSearcher], requests: Sequence[Any], clients: int, duration_s: float) -> Load:
    """Search for a while like `run_load`, one task per client; the clients take turns at the searchers."""
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    starts = [number * len(requests) // clients for number in range(clients)]
    tasks = zip(cycle(searchers), starts, strict=False)
    shares = await asyncio.gather(*(_ask_shared(one, requests, start, begun_s + duration_s) for one, start in tasks))
    return _load(shares, begun_s, cpu_s)


def _load(shares: Sequence[Share], begun_s: float, cpu_s: float) -> Load:
    wall_s = time.perf_counter() - begun_s
    seconds_Q = np.concatenate([np.array(seconds) for seconds, _ in shares])
    return Load(seconds_Q, wall_s, time.process_time() - cpu_s, sum(num_short for _, num_short in shares))


async def _ask_shared(searcher: SharedSearcher, requests: Sequence[Any], start: int, end_s: float) -> Share:
    search, clock = searcher.search, time.perf_counter
    seconds, num_short = [], 0
    for request in islice(cycle(requests), start, None):
        begun_s = clock()
        if begun_s >= end_s:
            break
        ids = await search(request)
        seconds.append(clock() - begun_s)
        num_short += len(ids) < K
    return seconds, num_short


def _ask(searcher: Searcher | BatchSearcher, requests: Sequence[Any], start: int, end_s: float) -> Share:
    search, clock = searcher.search, time.perf_counter
    seconds, num_short = [], 0
    for request in islice(cycle(requests), start, None):
        begun_s = clock()
        if begun_s >= end_s:
            break
        ids = search(request)
        seconds.append(clock() - begun_s)
        num_short += len(ids) < K
    return seconds, num_short
