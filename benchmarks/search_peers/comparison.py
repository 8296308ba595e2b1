"""Runs systems side by side on one world: build, tune, then rounds in which they take turns."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any, Final

from benchmarks.search_peers.absence import NotHere
from benchmarks.search_peers.child import Child, arrays_of
from benchmarks.search_peers.contender import Contender, Figures
from benchmarks.search_peers.environment import PeerEnvironment
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.processes import disk_bytes, memory_bytes
from benchmarks.search_peers.readings import Reading
from benchmarks.search_peers.roster import Entry
from benchmarks.search_peers.system import FILTERS, UNFILTERED
from benchmarks.search_peers.world import World

CLIENTS: Final = (1, 16, 64)
FILTERED_CLIENTS: Final = (1, 16)
MIB: Final = 1 << 20
Case = tuple[str, Callable[[Contender], Figures]]


@dataclass(slots=True)
class Comparison:
    """What is measured: readings, the settings found by tuning, and who is not here and why."""

    plan: Plan
    environment: PeerEnvironment
    folder: Path
    readings: list[Reading] = field(default_factory=list)
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_here: dict[str, str] = field(default_factory=dict)

    def libraries(self, entries: Iterable[Entry], world: World) -> None:
        """Measure the libraries with one client thread."""
        with ExitStack() as stack:
            contenders = []
            for entry in entries:
                with self._noting_absence(f"{entry.name} embedded, {world.name}"):
                    contenders.append(self._library(entry, world, stack))
            cases = [("embedded", self._load(UNFILTERED, 1))]
            for key in FILTERS:
                cases += [(f"embedded {key} cold", methodcaller("cold", key)), (f"embedded {key} warm", self._load(key, 1))]
            self._take_turns(contenders, cases, self.plan.rounds)

    def servers(self, entries: Iterable[Entry], world: World, *, search: bool, write: bool) -> None:
        """Measure the servers, searched and then written to."""
        with ExitStack() as stack:
            started: list[tuple[Contender, Child]] = []
            others = []
            for entry in entries:
                with self._noting_absence(f"{entry.name} server, {world.name}"):
                    contender, writer = self._server(entry, world, stack)
                    contender.tune(("", *FILTERS) if search else ("",))
                    self._note_tuned(contender)
                    started.append((contender, writer))
                    others += [self._other_client(contender, entry, name, stack) for name in entry.clients if search]
            if search:
                self._search_servers([contender for contender, _ in started], others)
            if write and len(world.new.ids_N):
                self._write_servers(started)

    def _library(self, entry: Entry, world: World, stack: ExitStack) -> Contender:
        folder = self._new_folder("libraries", world, entry)
        child = entry.start_client(folder, self.environment, None)
        stack.callback(child.close)
        facts = child.ask("build", arrays_of(world.rows))[0]
        grown = {"grown_mib": facts["grown_bytes"] / MIB, "peak_mib": facts["peak_bytes"] / MIB}
        build = {"seconds": facts["seconds"], "disk_mib": disk_bytes(folder) / MIB, **grown}
        self._add(Reading(world.name, "embedded build", entry.name, 0, build | {"peak_per_raw": facts["peak_bytes"] / world.raw_bytes}))
        contender = Contender(entry.name, child, world)
        contender.tune(("", *FILTERS))
        self._note_tuned(contender)
        return contender

    def _server(self, entry: Entry, world: World, stack: ExitStack) -> tuple[Contender, Child]:
        folder = self._new_folder("servers", world, entry)
        server = entry.serve(folder, self.environment)
        stack.callback(server.stop)
        writer, reader = (entry.start_client(folder, self.environment, server) for _ in range(2))
        for child in (writer, reader):
            stack.callback(child.close)
        facts = writer.ask("build", arrays_of(world.rows))[0]
        memory = memory_bytes(server.process.pid)
        build = {"seconds": facts["seconds"], "disk_mib": disk_bytes(folder / "data") / MIB, "memory_mib": memory / MIB}
        self._add(Reading(world.name, "server build", entry.name, 0, build | {"memory_per_raw": memory / world.raw_bytes}))
        return Contender(entry.name, reader, world, server), writer

    def _other_client(self, contender: Contender, entry: Entry, client: str, stack: ExitStack) -> Contender:
        assert contender.server is not None
        child = entry.start_client(contender.server.folder, self.environment, contender.server, client)
        stack.callback(child.close)
        child.ask("queries", {"queries": contender.world.queries_QD})
        return Contender(f"{entry.name} {client}", child, contender.world, contender.server, contender.tuned)

    def _search_servers(self, contenders: Sequence[Contender], others: Sequence[Contender]) -> None:
        unfiltered = [(f"server c={clients}", self._load(UNFILTERED, clients)) for clients in CLIENTS]
        filtered = [(f"server {key} c={clients}", self._load(key, clients)) for key in FILTERS for clients in FILTERED_CLIENTS]
        self._take_turns([*contenders, *others], unfiltered, self.plan.rounds)
        self._take_turns(contenders, filtered, self.plan.rounds)

    def _write_servers(self, started: Sequence[tuple[Contender, Child]]) -> None:
        writers = {contender.name: writer for contender, writer in started}
        contenders = [contender for contender, _ in started]
        for contender, writer in started:
            writer.ask("knob", knob=contender.tuned[UNFILTERED].knob)
        size = self.plan.rows_per_round
        for turn in range(self.plan.write_rounds):
            write = partial(_load_while_writing, writers, slice(turn * size, (turn + 1) * size), self.plan)
            self._take_turns(contenders, [("live quiet", self._load(UNFILTERED, 1)), ("live writing", write)], 1, turn)
        self._take_turns(contenders, [("live stale", partial(_stale, writers, self.plan.num_stale))], 1)

    def _take_turns(self, contenders: Iterable[Contender], cases: Sequence[Case], rounds: int, first: int = 0) -> None:
        present = list(contenders)
        for turn in range(first, first + rounds):
            for case, measure in cases:
                for one in list(present):
                    present.remove(one)
                    with self._noting_absence(f"{one.name}, {case}, {one.world.name}"):
                        self._add(Reading(one.world.name, case, one.name, turn, measure(one)))
                        present.append(one)

    def _load(self, key: str, clients: int) -> Callable[[Contender], Figures]:
        return methodcaller("load", key, clients, self.plan.duration_s)

    def _add(self, reading: Reading) -> None:
        self.readings.append(reading)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in reading.figures.items())
        print(f"{reading.data}, {reading.case}, round {reading.round}, {reading.system}: {figures}", file=sys.stderr, flush=True)

    def _note_tuned(self, contender: Contender) -> None:
        settings = {key or "unfiltered": {"knob": dict(one.knob), "recall": one.recall} for key, one in contender.tuned.items()}
        kind = "server" if contender.server else "embedded"
        self.tuned.setdefault(f"{contender.world.name}, {kind}", {})[contender.name] = settings

    def _new_folder(self, kind: str, world: World, entry: Entry) -> Path:
        folder = self.folder / kind / world.name / entry.name
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def _noting_absence(self, what: str) -> Iterator[None]:
        try:
            yield
        except NotHere as error:
            self.not_here[what] = str(error)
            print(f"not here: {what}: {error}", file=sys.stderr, flush=True)


def _load_while_writing(writers: Mapping[str, Child], part: slice, plan: Plan, contender: Contender) -> Figures:
    return contender.load_while_writing(writers[contender.name], part, plan)


def _stale(writers: Mapping[str, Child], num: int, contender: Contender) -> Figures:
    return contender.stale(writers[contender.name], num)
