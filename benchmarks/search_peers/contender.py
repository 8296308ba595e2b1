"""One system while it is measured: its worker, its server, what it was tuned to."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_peers.child import Answer, Child, arrays_of
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.processes import Server, cpu_s
from benchmarks.search_peers.system import UNFILTERED, Ints, Knob
from benchmarks.search_peers.tuning import Tuned, fastest
from benchmarks.search_peers.world import World
from reelspace.search.measure import recall_at_k

Figures = dict[str, float]
CONNECTIONS: Final = (1, 4)
NUM_CHOICES: Final = 3
MANY_CLIENTS: Final = 64


@dataclass(slots=True)
class Contender:
    """A system with the world loaded."""

    name: str
    child: Child
    world: World
    server: Server | None = None
    tuned: dict[str, Tuned] = field(default_factory=dict)
    connections: int = 1
    """What many clients share, where they share any."""

    def tune(self, keys: Sequence[str]) -> None:
        """Find the setting for searches under a condition on each of these keys ("" for none)."""
        self.child.ask("queries", {"queries": self.world.queries_QD})
        for key in keys:
            exact_QK = self.world.exact[key]
            self.tuned[key] = fastest(self.child.ladders(key), len(exact_QK), partial(self._recall, key), time.perf_counter)

    def choose_connections(self, duration_s: float) -> None:
        """Take the number of connections over which many clients get the most answers; threads have one each."""
        if not self.child.ask("shares")[0]["shares"]:
            return
        rates: dict[int, list[float]] = {}
        for self.connections in CONNECTIONS * NUM_CHOICES:
            rates.setdefault(self.connections, []).append(self.load(UNFILTERED, MANY_CLIENTS, duration_s)["qps"])
        self.connections = max(rates, key=lambda num: max(rates[num]))

    def load(self, key: str, clients: int, duration_s: float) -> Figures:
        """Search for a while; gives rate, latencies, processor milliseconds per query of clients and server, recall."""
        self.get_ready(key, clients)
        before_s = self._server_s()
        header, arrays = self._load(key, clients, duration_s)
        figures = load_figures(header, arrays["seconds"])
        if self.server:
            figures["server_ms"] = 1e3 * (self._server_s() - before_s) / len(arrays["seconds"])
        return figures | {"recall": self.tuned[key].recall}

    def load_batches(self, size: int, clients: int, duration_s: float) -> Figures:
        """Search for a while with requests of `size` queries; gives vectors per second and the processor microseconds of each.

        They are those of the server, or of the library where there is none.
        """
        before_s = self._server_s()
        header, arrays = self.child.ask("load_batches", size=size, clients=clients, duration_s=duration_s)
        num = size * len(arrays["seconds"])
        # One request of each client goes ahead of the clock of the worker, but not of the server.
        cpu_us = (self._server_s() - before_s) / (num + size * clients) if self.server else header["client_cpu_s"] / num
        latencies = {"p50_ms": 1e3 * float(np.median(arrays["seconds"])), "num_short": header["num_short"]}
        return {"vectors_per_s": num / header["wall_s"], "cpu_us": 1e6 * cpu_us, **latencies}

    def get_ready(self, key: str, clients: int) -> None:
        """Set what was tuned, connect, and ask once under each condition."""
        self.child.ask("knob", knob=self.tuned[key].knob)
        self.child.ask("connect", key=key, clients=clients, connections=self.connections)

    def cold(self, key: str) -> Figures:
        """Open anew and ask once under each condition; the rate is that of the median query."""
        self.child.ask("knob", knob=self.tuned[key].knob)
        header, arrays = self.child.ask("cold", key=key)
        median_s = float(np.median(arrays["seconds"]))
        return {"qps": 1 / median_s, "p50_ms": 1e3 * median_s, "recall": self.tuned[key].recall, "num_short": header["num_short"]}

    def load_while_writing(self, writer: Child, part: slice, plan: Plan) -> Figures:
        """Search with one client while another process inserts new rows."""
        self.get_ready(UNFILTERED, 1)
        pace = {"rows_per_s": plan.rows_per_s, "batch_rows": plan.batch_rows, "duration_s": plan.write_s, "wait": False}
        writer.send("write", arrays_of(self.world.new[part]), **pace)
        header, arrays = self._load(UNFILTERED, 1, plan.write_s)
        written = writer.receive()[0]
        figures = load_figures(header, arrays["seconds"]) | {"rows_per_s": written["num_rows"] / written["wall_s"]}
        for name in ("acknowledged", "visible"):
            if written[f"{name}_ms"]:
                figures[f"{name}_p99_ms"] = float(np.percentile(written[f"{name}_ms"], 99))
        return figures | {"num_lost": written["num_lost"]}

    def stale(self, writer: Child, num: int) -> Figures:
        """Insert rows one by one, each followed by a search for it."""
        rows = self.world.new[-num:]
        return {"num_stale": writer.ask("stale", arrays_of(rows))[0]["num_stale"], "num_inserted": len(rows.ids_N)}

    def _load(self, key: str, clients: int, duration_s: float) -> Answer:
        return self.child.ask("load", key=key, clients=clients, connections=self.connections, duration_s=duration_s)

    def _server_s(self) -> float:
        return cpu_s(self.server.process.pid) if self.server else 0.0

    def _recall(self, key: str, knob: Knob, num: int) -> float:
        self.child.ask("knob", knob=knob)
        found_QK: Ints = self.child.answers(key, num)
        return recall_at_k(found_QK.tolist(), self.world.exact[key][:num])


def load_figures(header: Mapping[str, float], seconds_Q: NDArray[np.float64]) -> Figures:
    """Give the figures of one load."""
    p50_s, p99_s = np.percentile(seconds_Q, (50, 99))
    return {
        "qps": len(seconds_Q) / header["wall_s"],
        "p50_ms": 1e3 * float(p50_s),
        "p99_ms": 1e3 * float(p99_s),
        "client_ms": 1e3 * header["client_cpu_s"] / len(seconds_Q),
        "num_short": header["num_short"],
    }
