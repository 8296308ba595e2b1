"""Writes at a steady rate while others search, and the time until a search finds what was written."""

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from benchmarks.search_peers.system import K, Rows, Searcher, System

FOUND_WITHIN_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.002


@dataclass(slots=True)
class Writing:
    """What came of it: acknowledged rows in how many seconds, milliseconds to each acknowledgement and from it to the row's search."""

    num_rows: int = 0
    wall_s: float = 0.0
    acknowledged_ms: list[float] = field(default_factory=list)
    visible_ms: list[float] = field(default_factory=list)
    num_lost: int = 0
    """Rows that no search found within `FOUND_WITHIN_S`."""


def write_steadily(system: System, rows: Rows, *, rows_per_s: int, batch_rows: int, duration_s: float, wait: bool) -> Writing:
    """Insert rows, a batch at a time, no faster than the rate; a second client looks for one row of each batch."""
    done, acknowledged = Writing(), queue.SimpleQueue[tuple[Rows, float] | None]()
    watcher = threading.Thread(target=_watch, args=(system.searcher(), acknowledged, done))
    watcher.start()
    begun_s = time.perf_counter()
    for number, batch in enumerate(rows.batches(batch_rows)):
        time.sleep(max(0.0, begun_s + number * batch_rows / rows_per_s - time.perf_counter()))
        if time.perf_counter() - begun_s >= duration_s:
            break
        asked_s = time.perf_counter()
        system.insert(batch, wait=wait)
        now_s = time.perf_counter()
        done.acknowledged_ms.append(1e3 * (now_s - asked_s))
        done.num_rows += len(batch.ids_N)
        acknowledged.put((batch[-1:], now_s))
    # The last batch takes its share of time too: the rate is the one asked for, not a burst.
    time.sleep(max(0.0, begun_s + done.num_rows / rows_per_s - time.perf_counter()))
    done.wall_s = time.perf_counter() - begun_s
    acknowledged.put(None)
    watcher.join()
    return done


def count_stale(system: System, rows: Rows) -> int:
    """Insert row by row, each with `wait`; gives how many the very next search for the row did not find."""
    searcher = system.searcher()
    num_stale = 0
    for row in rows.batches(1):
        system.insert(row, wait=True)
        num_stale += not _finds(searcher, row)
    searcher.close()
    return num_stale


def _watch(searcher: Searcher, acknowledged: "queue.SimpleQueue[tuple[Rows, float] | None]", done: Writing) -> None:
    while (written := acknowledged.get()) is not None:
        row, since_s = written
        while not (found := _finds(searcher, row)) and time.perf_counter() - since_s < FOUND_WITHIN_S:
            time.sleep(_LOOK_EVERY_S)
        if found:
            done.visible_ms.append(1e3 * (time.perf_counter() - since_s))
        else:
            done.num_lost += 1
    searcher.close()


def _finds(searcher: Searcher, row: Rows) -> bool:
    return int(row.ids_N[0]) in searcher.search(searcher.prepare(row.vectors_ND[0], K, None))
