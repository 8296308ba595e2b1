"""Our vector search beside qdrant-edge, hnswlib, faiss, pgvector and Weaviate: same vectors, equal recall, taking turns.

`python benchmarks/search.py` installs the peers into a cache directory (a virtual environment, and Weaviate built from source: minutes),
builds every system, tunes each to recall@10 of 0.95, and measures in rounds in which all take turns; ratios are taken within a round.
It prints all figures and the bars, and exits with 1 when a bar is missed. A whole run takes most of an hour on two cores.

Sections: `embedded` libraries, `server`s, `live` writes to them, `store`: writes with a slow S3 store, `batch`es and what a network costs
beyond faiss, `shards`: one, two and four, `import` of a file, `growth` of the rows. Each section of each data set goes into
benchmarks/results/search.json as soon as it is measured, whether it runs alone (`--only growth`) or with others; what was there of the
others stays. `--quick` is the same on 20,000 rows, to try the frame: its ratios say nothing, and nothing is recorded.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.record import RESULTS
from benchmarks.search_peers.bar_list import OURS, bars_of
from benchmarks.search_peers.bars import Verdict, judge, table_of_bars
from benchmarks.search_peers.batch import BATCH, measure_batches
from benchmarks.search_peers.comparison import Comparison
from benchmarks.search_peers.environment import DEFAULT_FOLDER, PeerEnvironment
from benchmarks.search_peers.growth import GROWTH, measure_growth, plot_growth
from benchmarks.search_peers.importing import IMPORT, measure_imports
from benchmarks.search_peers.libraries import EMBEDDED, compare_libraries
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.readings import table
from benchmarks.search_peers.results import record_unit
from benchmarks.search_peers.roster import LIBRARIES, SERVERS, Entry
from benchmarks.search_peers.servers import LIVE, SERVER, compare_servers
from benchmarks.search_peers.shard_counts import SHARDS, measure_shards
from benchmarks.search_peers.slow_store import STORE, measure_slow_store
from benchmarks.search_peers.world import SIFT, World, generated, sift

SECTIONS = (EMBEDDED, SERVER, LIVE, STORE, BATCH, SHARDS, IMPORT, GROWTH)
SMALL, LARGE, TINY = "200k", "500k", "20k"
OF_ONE_SIZE = (EMBEDDED, SERVER, LIVE, STORE, BATCH, SHARDS, IMPORT)
SECTIONS_OF = {TINY: OF_ONE_SIZE, SMALL: OF_ONE_SIZE, LARGE: (SERVER, IMPORT), SIFT: (EMBEDDED, SERVER), GROWTH: (GROWTH,)}
"""Most is compared at one size; bars hold for generated data, the real ones are small."""
OURS_ALONE: dict[str, Callable[[Comparison, World], None]] = {
    STORE: measure_slow_store,
    BATCH: measure_batches,
    SHARDS: measure_shards,
    IMPORT: measure_imports,
}
NAMES = tuple(dict.fromkeys(entry.name for entry in (*LIBRARIES, *SERVERS)))
NUM_QUERIES, NUM_QUICK_QUERIES = 500, 200
AT_ONE_SIZE = ("reelspace-2",)
"""What more processes change shows at the small size."""
SHORT_S, SHORT_ROUNDS = 0.7, 2
QUICK = Plan(
    duration_s=0.5, filtered_s=0.5, rounds=2, connections_s=0.2, write_rounds=1, write_s=2.0, num_stale=20, growth=(20_000, 40_000)
)


@dataclass(slots=True)
class Run:
    """What was asked for, and the verdicts so far."""

    comparison: Comparison
    plan: Plan
    sections: Iterable[str]
    systems: Iterable[str]
    num_queries: int
    is_recorded: bool
    judged: list[Verdict] = field(default_factory=list)
    begun_s: float = field(default_factory=time.monotonic)

    def data_set(self, name: str) -> None:
        """Run the sections that this data set has; the real one gets less time, for no bar is judged by it."""
        short = replace(self.plan, duration_s=SHORT_S, filtered_s=SHORT_S, rounds=SHORT_ROUNDS)
        self.comparison.plan = short if name == SIFT else self.plan
        wanted = [section for section in SECTIONS_OF[name] if section in self.sections]
        if wanted == [GROWTH]:
            measure_growth(self.comparison, self.num_queries)
            self.done(name, GROWTH)
        elif wanted and (world := self._world(name)):
            self._sections(world, wanted)

    def done(self, data: str, section: str) -> None:
        """Print, judge and record what was found, with the seconds since the section before."""
        comparison, unit = self.comparison, (section, data)
        seconds, self.begun_s = time.monotonic() - self.begun_s, time.monotonic()
        print(f"{section}, {data}: {seconds:.0f} s", file=sys.stderr, flush=True)
        readings = comparison.of_unit(unit)
        print(table(readings), end="\n\n")
        for system, settings in comparison.tuned.get(unit, {}).items():
            print(f"tuned, {section}, {data}, {system}: {settings}")
        for system, why in comparison.not_here.get(unit, {}).items():
            print(f"not here: {section}, {data}, {system}: {why}")
        judged = [judge(bar, data, readings) for bar in bars_of(unit, comparison.plan)] if OURS in self.systems else []
        self.judged += judged
        if judged:
            print(table_of_bars(judged), end="\n\n", flush=True)
        if self.is_recorded:
            record_unit(comparison, unit, judged, seconds)
            if section == GROWTH:
                plot_growth(readings, comparison.plan.growth, RESULTS / "search_growth.svg")

    def _sections(self, world: World, wanted: list[str]) -> None:
        comparison = self.comparison
        if EMBEDDED in wanted:
            compare_libraries(comparison, self._chosen(LIBRARIES, world), world)
            self.done(world.name, EMBEDDED)
        if served := [section for section in (SERVER, LIVE) if section in wanted]:
            compare_servers(comparison, self._chosen(SERVERS, world), world, served, lambda section: self.done(world.name, section))
        for section, measure in OURS_ALONE.items():
            if section in wanted:
                measure(comparison, world)
                self.done(world.name, section)

    def _world(self, name: str) -> World | None:
        """Make a data set; None for the real one where it is not there."""
        return sift() if name == SIFT else generated(int(name.removesuffix("k")) * 1000, self.num_queries, self.plan.num_new)

    def _chosen(self, entries: Iterable[Entry], world: World) -> list[Entry]:
        left_out = AT_ONE_SIZE if world.name in (LARGE, SIFT) else ()
        return [entry for entry in entries if entry.name in self.systems and entry.name not in left_out]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 rows and short rounds")
    parser.add_argument("--only", type=_words, default=SECTIONS, help=f"of {','.join(SECTIONS)}")
    parser.add_argument("--systems", type=_words, default=NAMES, help=f"of {','.join(NAMES)}; only all of them are recorded")
    parser.add_argument("--data", type=_words, default=None, help=f"of {','.join(SECTIONS_OF)}")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help=f"where the peers are installed (default {DEFAULT_FOLDER})")
    asked = parser.parse_args()
    for option, given, known in (
        ("only", asked.only, SECTIONS),
        ("systems", asked.systems, NAMES),
        ("data", asked.data or (), SECTIONS_OF),
    ):
        if unknown := set(given) - set(known):
            parser.error(f"--{option}: {', '.join(sorted(unknown))} is not of {', '.join(known)}")
    return asked


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def main() -> int:
    """Compare, print and record; 1 when a bar is missed."""
    asked = arguments()
    # Whoever ends the run ends its servers too: they are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan, num_queries = (QUICK, NUM_QUICK_QUERIES) if asked.quick else (Plan(), NUM_QUERIES)
    is_recorded = not asked.quick and set(asked.systems) == set(NAMES)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        # PostgreSQL runs as another user, who must get to his folder.
        Path(scratch).chmod(0o755)
        run = Run(Comparison(plan, PeerEnvironment(asked.peers), Path(scratch)), plan, asked.only, asked.systems, num_queries, is_recorded)
        for name in asked.data or ((TINY, GROWTH) if asked.quick else (SMALL, LARGE, GROWTH, SIFT)):
            run.data_set(name)
    return int(any(verdict.held is False for verdict in run.judged))


if __name__ == "__main__":
    sys.exit(main())
