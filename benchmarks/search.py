"""Our vector search beside qdrant-edge, hnswlib, faiss, pgvector and Weaviate: same vectors, equal recall, taking turns.

`python benchmarks/search.py` installs the peers into a cache directory (a virtual environment, and Weaviate built from source: minutes),
builds every system, tunes each to recall@10 of 0.95, and measures in rounds in which all take turns; ratios are taken within a round.
It prints all figures and the bars, writes benchmarks/results/search.json, and exits with 1 when a bar is missed. A whole run takes more
than an hour on two cores; `--quick` is the same on 20,000 rows, to try the frame: its ratios say nothing.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.record import write_result
from benchmarks.search_peers.bars import (
    OURS,
    Verdict,
    described,
    embedded_bars,
    import_bars,
    judge,
    live_bars,
    server_bars,
    table_of_bars,
)
from benchmarks.search_peers.comparison import Comparison
from benchmarks.search_peers.environment import DEFAULT_FOLDER, PeerEnvironment
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.readings import summaries, table
from benchmarks.search_peers.roster import LIBRARIES, SERVERS, Entry
from benchmarks.search_peers.tuning import RECALL_TARGET
from benchmarks.search_peers.world import SEED, SIFT, World, generated, sift

EMBEDDED, SERVER, LIVE = SECTIONS = ("embedded", "server", "live")
SMALL, LARGE, TINY = "200k", "500k", "20k"
SECTIONS_OF = {TINY: SECTIONS, SMALL: SECTIONS, LARGE: (SERVER,), SIFT: (EMBEDDED, SERVER)}
"""Conditions, libraries and writes are compared at one size; bars hold for generated data, the real ones are small."""
NUM_QUERIES, NUM_QUICK_QUERIES = 1000, 200
QUICK = Plan(duration_s=0.5, rounds=2, write_rounds=1, write_s=2.0, num_stale=20)


def worlds(names: Iterable[str], plan: Plan, num_queries: int) -> Iterable[World]:
    """Make the data sets one after the other; the real one only where it is there."""
    for name in names:
        world = sift() if name == SIFT else generated(int(name.removesuffix("k")) * 1000, num_queries, plan.num_new)
        if world:
            yield world


def compare(comparison: Comparison, world: World, sections: Iterable[str], systems: Iterable[str]) -> None:
    """Run the sections that this data set has."""

    def chosen(entries: Iterable[Entry]) -> list[Entry]:
        return [entry for entry in entries if entry.name in systems]

    wanted = [section for section in SECTIONS_OF[world.name] if section in sections]
    if EMBEDDED in wanted:
        comparison.libraries(chosen(LIBRARIES), world)
    if SERVER in wanted or LIVE in wanted:
        comparison.servers(chosen(SERVERS), world, search=SERVER in wanted, write=LIVE in wanted)


def verdicts(comparison: Comparison, names: Iterable[str], sections: Iterable[str]) -> list[Verdict]:
    """Judge every bar of what was measured."""
    of_section = {EMBEDDED: embedded_bars(), SERVER: server_bars(), LIVE: live_bars(comparison.plan.rows_per_s)}
    found = []
    for name in names:
        bars = [bar for section in SECTIONS_OF[name] if section in sections and name != SIFT for bar in of_section[section]]
        bars += import_bars() if name == LARGE and SERVER in sections else []
        found += [judge(bar, name, comparison.readings) for bar in bars]
    return found


def record(comparison: Comparison, judged: list[Verdict]) -> None:
    """Write the result of a whole run."""
    peers = {entry.name: list(entry.requirements) for entry in (*LIBRARIES, *SERVERS) if not entry.is_ours}
    values = {
        "unit": "figures of each system as median, smallest and largest of the rounds; bars as ratios within a round",
        "recall_target": RECALL_TARGET,
        "plan": asdict(comparison.plan),
        "bars": [described(verdict) for verdict in judged],
        "figures": summaries(comparison.readings),
        "tuned": comparison.tuned,
        "peers": peers,
        "not_here": comparison.not_here,
    }
    write_result("search", values, seed=SEED, packages=("faiss-cpu", "qdrant-client", "nvidia-pytriton", "numpy"))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(entry.name for entry in (*LIBRARIES, *SERVERS)))
    parser.add_argument("--quick", action="store_true", help="20,000 rows and short rounds")
    parser.add_argument("--only", type=_words, default=SECTIONS, help=f"of {','.join(SECTIONS)}")
    parser.add_argument("--systems", type=_words, default=names, help=f"of {','.join(names)}")
    parser.add_argument("--data", type=_words, default=None, help=f"of {','.join(SECTIONS_OF)}")
    parser.add_argument("--peers", type=Path, default=DEFAULT_FOLDER, help=f"where the peers are installed (default {DEFAULT_FOLDER})")
    return parser.parse_args()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def main() -> int:
    """Compare, print and record; 1 when a bar is missed."""
    asked = arguments()
    plan = QUICK if asked.quick else Plan()
    data = asked.data or ((TINY,) if asked.quick else (SMALL, LARGE, SIFT))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        # PostgreSQL runs as another user, who must get to his folder.
        Path(scratch).chmod(0o755)
        comparison = Comparison(plan, PeerEnvironment(asked.peers), Path(scratch))
        for world in worlds(data, plan, NUM_QUICK_QUERIES if asked.quick else NUM_QUERIES):
            compare(comparison, world, asked.only, asked.systems)
    print(table(comparison.readings), end="\n\n")
    for what, systems in comparison.tuned.items():
        print(f"tuned, {what}:", *(f"{name}: {settings}" for name, settings in systems.items()), sep="\n  ", end="\n\n")
    judged = verdicts(comparison, data, asked.only) if OURS in asked.systems else []
    if judged:
        print(table_of_bars(judged), end="\n\n")
    for what, why in comparison.not_here.items():
        print(f"not here: {what}: {why}")
    if len(sys.argv) == 1:
        record(comparison, judged)
    return int(any(verdict.held is False for verdict in judged))


if __name__ == "__main__":
    sys.exit(main())
