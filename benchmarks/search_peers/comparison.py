"""One sitting of the comparison: what it runs with, what it has found, and rounds in which systems take turns."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from typing import Any

from benchmarks.search_peers.absence import NotHere
from benchmarks.search_peers.contender import Contender, Figures
from benchmarks.search_peers.environment import PeerEnvironment
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.readings import Reading

Case = tuple[str, Callable[[Contender], Figures]]
"""A name, whose first word is the section, and what is done with each system."""
Unit = tuple[str, str]
"""Section and data set: what is measured, judged and recorded as one."""


@dataclass(slots=True)
class Comparison:
    """What is measured: readings, the settings found by tuning, and who is not here and why."""

    plan: Plan
    environment: PeerEnvironment
    folder: Path
    readings: list[Reading] = field(default_factory=list)
    tuned: dict[Unit, dict[str, Any]] = field(default_factory=dict)
    not_here: dict[Unit, dict[str, str]] = field(default_factory=dict)

    def take_turns(self, contenders: Iterable[Contender], cases: Sequence[Case], rounds: int, first: int = 0) -> None:
        """Measure every case with every system in each round; who fails is left out from then on."""
        present = list(contenders)
        for turn in range(first, first + rounds):
            for case, measure in cases:
                for one in list(present):
                    present.remove(one)
                    with self.noting_absence((section_of(case), one.world.name), one.name):
                        self.add(Reading(one.world.name, case, one.name, turn, measure(one)))
                        present.append(one)

    def load(self, key: str, clients: int) -> Callable[[Contender], Figures]:
        """Give the search of the planned duration."""
        return methodcaller("load", key, clients, self.plan.duration_s)

    def add(self, reading: Reading) -> None:
        """Keep and print a reading."""
        self.readings.append(reading)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in reading.figures.items())
        print(f"{reading.data}, {reading.case}, round {reading.round}, {reading.system}: {figures}", file=sys.stderr, flush=True)

    def note_tuned(self, sections: Iterable[str], contender: Contender) -> None:
        """Keep what a system was tuned to."""
        settings = {key or "unfiltered": {"knob": dict(one.knob), "recall": one.recall} for key, one in contender.tuned.items()}
        for section in sections:
            self.tuned.setdefault((section, contender.world.name), {})[contender.name] = settings | {"connections": contender.connections}

    def new_folder(self, *names: str) -> Path:
        """Make a folder for the files of one system."""
        folder = self.folder.joinpath(*names)
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def noting_absence(self, unit: Unit, system: str) -> Iterator[None]:
        """Go on without a system that is not here, and keep the reason."""
        try:
            yield
        except NotHere as error:
            self.not_here.setdefault(unit, {})[system] = str(error)
            print(f"not here: {', '.join(unit)}, {system}: {error}", file=sys.stderr, flush=True)

    def of_unit(self, unit: Unit) -> list[Reading]:
        """Give the readings of a section with a data set."""
        return [one for one in self.readings if (section_of(one.case), one.data) == unit]


def section_of(case: str) -> str:
    """Give the section that a case is of."""
    return case.split(maxsplit=1)[0]
