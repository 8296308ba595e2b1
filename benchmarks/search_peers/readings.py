"""What was measured, round by round, and the tables made of it."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

DIGITS: Final = 4
Summary = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """The figures of one system in one case and round."""

    data: str
    case: str
    system: str
    round: int
    figures: Mapping[str, float]


def summary(values: Sequence[float]) -> Summary:
    """Give median, smallest and largest."""
    return statistics.median(values), min(values), max(values)


def by_round(readings: Iterable[Reading], data: str, case: str, system: str, figure: str) -> dict[int, float]:
    """Give a figure of a system in each round that has it."""
    return {
        one.round: one.figures[figure]
        for one in readings
        if (one.data, one.case, one.system) == (data, case, system) and figure in one.figures
    }


def summaries(readings: Sequence[Reading]) -> dict[str, dict[str, dict[str, dict[str, Summary]]]]:
    """Give data set -> case -> system -> figure -> median, smallest, largest."""
    values: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {}
    for one in readings:
        system = values.setdefault(one.data, {}).setdefault(one.case, {}).setdefault(one.system, {})
        for figure, value in one.figures.items():
            system.setdefault(figure, []).append(value)
    return {
        data: {
            case: {system: {figure: _rounded(summary(found)) for figure, found in figures.items()} for system, figures in systems.items()}
            for case, systems in cases.items()
        }
        for data, cases in values.items()
    }


def table(readings: Sequence[Reading]) -> str:
    """Write all cases as text: a block per case, a line per system, `median (smallest-largest)` per figure."""
    blocks = []
    for data, cases in summaries(readings).items():
        for case, systems in cases.items():
            names = list(dict.fromkeys(figure for figures in systems.values() for figure in figures))
            lines = [[f"{data}, {case}", *names]]
            lines += [[system, *(shown(figures.get(name)) for name in names)] for system, figures in systems.items()]
            blocks.append(aligned(lines))
    return "\n\n".join(blocks)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Put the columns of a table below each other."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def shown(values: Summary | None) -> str:
    """Write median and spread, the spread only where there is one."""
    if values is None:
        return "-"
    median, low, high = map(number, values)
    return median if low == high else f"{median} ({low}-{high})"


def number(value: float) -> str:
    """Write three digits that matter, and whole numbers whole."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _rounded(values: Summary) -> Summary:
    median, low, high = (float(f"{value:.{DIGITS}g}") if abs(value) < 10**DIGITS else round(value) for value in values)
    return median, low, high
