"""The bars of the comparison, each a figure of ours against the best of some peers within each round, and whether it is held."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.search_peers.readings import Reading, aligned, by_round, number, shown, summary
from benchmarks.search_peers.tuning import RECALL_TARGET


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound on a figure, on its ratio to the best of `against`, or on what it is beyond that.

    Args:
        ours: the system that is judged; without the target of recall it holds no bar.
        against: systems; empty bounds the figure itself. Only those that reach the target of recall in that case count.
        against_case: the case of the other side; the same one when empty.
        beyond: the difference to the other side is bounded, not the ratio.
        at_least: the larger the better.
        at_most: the smaller the better; exactly one of the two is set.
    """

    what: str
    case: str
    figure: str
    ours: str
    against: tuple[str, ...] = ()
    against_case: str = ""
    beyond: bool = False
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar with what was measured: median of the rounds, smallest, largest; `held` is None where no peer is there to compare with."""

    bar: Bar
    data: str
    measured: tuple[float, float, float] | None
    best: str
    held: bool | None


def judge(bar: Bar, data: str, readings: Sequence[Reading]) -> Verdict:
    """Compare within each round, and the median over the rounds with the bound."""
    ours = by_round(readings, data, bar.case, bar.ours, bar.figure)
    best, theirs = _best(bar, data, readings)
    values = [_compared(bar, value, theirs.get(turn)) for turn, value in ours.items() if turn in theirs or not bar.against]
    if not values:
        return Verdict(bar, data, None, best, None if ours else False)
    measured = summary(values)
    within = measured[0] >= bar.at_least if bar.at_least is not None else bar.at_most is not None and measured[0] <= bar.at_most
    held = within and _reaches(readings, data, bar.case, bar.ours)
    return Verdict(bar, data, measured, best, held)


def table_of_bars(verdicts: Sequence[Verdict]) -> str:
    """Write the verdicts as text."""
    lines = [["data", "case", "bar", "bound", "measured", "against", ""]]
    for one in verdicts:
        bar = one.bar
        bound = f">= {number(bar.at_least)}" if bar.at_least is not None else f"<= {number(bar.at_most or 0.0)}"
        word = {True: "held", False: "MISSED", None: "no peer"}[one.held]
        lines.append([one.data, bar.case, bar.what, bound, shown(one.measured), one.best or "-", word])
    return aligned(lines)


def described(verdict: Verdict) -> dict[str, Any]:
    """Give a verdict as JSON values."""
    bar = {name: value for name, value in asdict(verdict.bar).items() if value not in ("", None, (), False)}
    measured = None if verdict.measured is None else [float(f"{value:.4g}") for value in verdict.measured]
    return {"data": verdict.data, **bar, "measured": measured, "best": verdict.best, "held": verdict.held}


def _compared(bar: Bar, ours: float, theirs: float | None) -> float:
    if theirs is None:
        return ours
    return ours - theirs if bar.beyond else ours / theirs


def _best(bar: Bar, data: str, readings: Sequence[Reading]) -> tuple[str, dict[int, float]]:
    case = bar.against_case or bar.case
    found = {}
    for system in bar.against:
        values = by_round(readings, data, case, system, bar.figure)
        if values and _reaches(readings, data, case, system):
            found[system] = values
    if not found:
        return "", {}
    choose = max if bar.at_least is not None else min
    name = choose(found, key=lambda system: summary(list(found[system].values()))[0])
    return name, found[name]


def _reaches(readings: Sequence[Reading], data: str, case: str, system: str) -> bool:
    """Whether a system has the target of recall in a case; true where none is measured."""
    return all(recall >= RECALL_TARGET for recall in by_round(readings, data, case, system, "recall").values())
