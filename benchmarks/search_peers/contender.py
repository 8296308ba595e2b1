"""One system while it is measured: its worker, its server, what it was tuned to."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_peers.child import Child, arrays_of
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.processes import Server, cpu_s
from benchmarks.search_peers.system import UNFILTERED, Ints, Knob
from benchmarks.search_peers.tuning import Tuned, fastest
from benchmarks.search_peers.world import World
from reelspace.search.measure import recall_at_k

Figures = dict[str, float]


@dataclass(slots=True)
class Contender:
    """A system with the world loaded."""

    name: str
    child: Child
    world: World
    server: Server | None = None
    tuned: dict[str, Tuned] = field(default_factory=dict)

    def tune(self, keys: Sequence[str]) -> None:
        """Find the setting for searches under a condition on each of these keys ("" for none)."""
        self.child.ask("queries", {"queries": self.world.queries_QD})
        for key in keys:
            exact_QK = self.world.exact[key]
            self.tuned[key] = fastest(self.child.ladders(key), len(exact_QK), partial(self._recall, key), time.perf_counter)

    def load(self, key: str, clients: int, duration_s: float) -> Figures:
        """Search for a while; gives rate, latencies, processor milliseconds per query of clients and server, recall."""
        self.get_ready(key, clients)
        before_s = cpu_s(self.server.process.pid) if self.server else 0.0
        header, arrays = self.child.ask("load", key=key, clients=clients, duration_s=duration_s)
        figures = load_figures(header, arrays["seconds"])
        if self.server:
            figures["server_ms"] = 1e3 * (cpu_s(self.server.process.pid) - before_s) / len(arrays["seconds"])
        return figures | {"recall": self.tuned[key].recall}

    def get_ready(self, key: str, clients: int) -> None:
        """Set what was tuned, connect, and ask once under each condition."""
        self.child.ask("knob", knob=self.tuned[key].knob)
        self.child.ask("connect", key=key, clients=clients)

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
        header, arrays = self.child.ask("load", key=UNFILTERED, clients=1, duration_s=plan.write_s)
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
