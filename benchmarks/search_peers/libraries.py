"""Measures libraries, each in a process of its own with one client thread."""

from collections.abc import Iterable
from contextlib import ExitStack
from operator import methodcaller
from typing import Final

from benchmarks.search_peers.child import arrays_of
from benchmarks.search_peers.comparison import Case, Comparison
from benchmarks.search_peers.contender import Contender
from benchmarks.search_peers.processes import MIB, disk_bytes
from benchmarks.search_peers.readings import Reading
from benchmarks.search_peers.roster import Entry
from benchmarks.search_peers.system import FILTERS, UNFILTERED
from benchmarks.search_peers.world import World

EMBEDDED: Final = "embedded"


def compare_libraries(comparison: Comparison, entries: Iterable[Entry], world: World) -> None:
    """Build, tune and search all libraries."""
    with ExitStack() as stack:
        contenders = []
        for entry in entries:
            with comparison.noting_absence((EMBEDDED, world.name), entry.name):
                contenders.append(_built(comparison, entry, world, stack))
        cases: list[Case] = [(EMBEDDED, comparison.load(UNFILTERED, 1))]
        for key in FILTERS:
            cases += [(f"{EMBEDDED} {key} cold", methodcaller("cold", key)), (f"{EMBEDDED} {key} warm", comparison.load(key, 1))]
        comparison.take_turns(contenders, cases, comparison.plan.rounds)


def _built(comparison: Comparison, entry: Entry, world: World, stack: ExitStack) -> Contender:
    folder = comparison.new_folder("libraries", world.name, entry.name)
    child = entry.start_client(folder, comparison.environment, None)
    stack.callback(child.close)
    facts = child.ask("build", arrays_of(world.rows))[0]
    grown = {"grown_mib": facts["grown_bytes"] / MIB, "peak_mib": facts["peak_bytes"] / MIB}
    figures = {"seconds": facts["seconds"], "disk_mib": disk_bytes(folder) / MIB, **grown}
    figures["peak_per_raw"] = facts["peak_bytes"] / world.raw_bytes
    comparison.add(Reading(world.name, f"{EMBEDDED} build", entry.name, 0, figures))
    contender = Contender(entry.name, child, world)
    contender.tune(("", *FILTERS))
    comparison.note_tuned((EMBEDDED,), contender)
    return contender
