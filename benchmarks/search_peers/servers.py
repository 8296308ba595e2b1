"""Measures servers over their networks: searched, and then written to while they are searched."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from operator import methodcaller
from typing import Final

from benchmarks.search_peers.child import Child, arrays_of
from benchmarks.search_peers.comparison import Comparison
from benchmarks.search_peers.contender import Contender, Figures
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.processes import MIB, disk_bytes, memory_bytes
from benchmarks.search_peers.readings import Reading
from benchmarks.search_peers.roster import Entry
from benchmarks.search_peers.system import FILTERS, UNFILTERED
from benchmarks.search_peers.world import World

SERVER, LIVE = "server", "live"
CLIENTS: Final = (1, 16, 64)
FILTERED_CLIENTS: Final = (1, 16)


@dataclass(frozen=True, slots=True)
class Written:
    """A server that is searched by one client and written to by another."""

    contender: Contender
    writer: Child


def compare_servers(
    comparison: Comparison, entries: Iterable[Entry], world: World, sections: Sequence[str], done: Callable[[str], None]
) -> None:
    """Fill, tune and measure all servers for one of the sections `server` and `live`, or both; `done` is told of each."""
    with ExitStack() as stack:
        started: list[Written] = []
        others = []
        keys = ("", *FILTERS) if SERVER in sections else ("",)
        for entry in entries:
            with comparison.noting_absence((sections[0], world.name), entry.name):
                one = _filled(comparison, entry, world, stack)
                one.contender.tune(keys)
                if SERVER in sections:
                    one.contender.choose_connections(comparison.plan.connections_s)
                    others += [_other_client(comparison, one.contender, entry, name, stack) for name in entry.clients]
                comparison.note_tuned(sections, one.contender)
                started.append(one)
        if SERVER in sections:
            _search(comparison, [one.contender for one in started], others)
            done(SERVER)
        if LIVE in sections:
            write_in_turns(comparison, started, LIVE)
            done(LIVE)


def write_in_turns(comparison: Comparison, started: Sequence[Written], section: str) -> None:
    """Search each server alone and while rows are written to it, and count stale rows."""
    plan, writers = comparison.plan, {one.contender.name: one.writer for one in started}
    contenders = [one.contender for one in started]
    for one in started:
        one.writer.ask("knob", knob=one.contender.tuned[UNFILTERED].knob)
    size = plan.rows_per_round
    quiet = f"{section} quiet", comparison.load(UNFILTERED, 1)
    for turn in range(plan.write_rounds):
        write = partial(_load_while_writing, writers, slice(turn * size, (turn + 1) * size), plan)
        comparison.take_turns(contenders, [quiet, (f"{section} writing", write)], 1, turn)
    comparison.take_turns(contenders, [(f"{section} stale", partial(_stale, writers, plan.num_stale))], 1)


def _filled(comparison: Comparison, entry: Entry, world: World, stack: ExitStack) -> Written:
    folder = comparison.new_folder("servers", world.name, entry.name)
    server = entry.serve(folder, comparison.environment)
    stack.callback(server.stop)
    writer, reader = (entry.start_client(folder, comparison.environment, server) for _ in range(2))
    for child in (writer, reader):
        stack.callback(child.close)
    facts = writer.ask("build", arrays_of(world.rows))[0]
    memory = memory_bytes(server.process.pid)
    figures = {"seconds": facts["seconds"], "disk_mib": disk_bytes(folder / "data") / MIB, "memory_mib": memory / MIB}
    comparison.add(Reading(world.name, f"{SERVER} build", entry.name, 0, figures | {"memory_per_raw": memory / world.raw_bytes}))
    return Written(Contender(entry.name, reader, world, server), writer)


def _other_client(comparison: Comparison, contender: Contender, entry: Entry, client: str, stack: ExitStack) -> Contender:
    assert contender.server is not None
    child = entry.start_client(contender.server.folder, comparison.environment, contender.server, client)
    stack.callback(child.close)
    child.ask("queries", {"queries": contender.world.queries_QD})
    return replace(contender, name=f"{entry.name} {client}", child=child)


def _search(comparison: Comparison, contenders: Sequence[Contender], others: Sequence[Contender]) -> None:
    unfiltered = [(f"{SERVER} c={clients}", comparison.load(UNFILTERED, clients)) for clients in CLIENTS]
    filtered = [
        (f"{SERVER} {key} c={clients}", methodcaller("load", key, clients, comparison.plan.filtered_s))
        for key in FILTERS
        for clients in FILTERED_CLIENTS
    ]
    comparison.take_turns([*contenders, *others], unfiltered, comparison.plan.rounds)
    comparison.take_turns(contenders, filtered, comparison.plan.rounds)


def _load_while_writing(writers: Mapping[str, Child], part: slice, plan: Plan, contender: Contender) -> Figures:
    return contender.load_while_writing(writers[contender.name], part, plan)


def _stale(writers: Mapping[str, Child], num: int, contender: Contender) -> Figures:
    return contender.stale(writers[contender.name], num)
