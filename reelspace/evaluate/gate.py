"""The gate: thresholds a model must pass before it may be promoted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reelspace.core.errors import SettingError
from reelspace.evaluate.figures import INTERVAL


@dataclass(frozen=True, slots=True)
class GateRow:
    """One threshold and what was measured; `value` is None when the figure could not be measured."""

    figure: str
    threshold: float
    value: float | None

    @property
    def passed(self) -> bool:
        """A figure that was not measured does not pass."""
        return self.value is not None and self.value >= self.threshold


def gate_rows(figures: Mapping[str, Mapping[str, object]], thresholds: Mapping[str, float]) -> list[GateRow]:
    """Hold figures against thresholds.

    Args:
        figures: group -> name -> value, as in evaluation.json; what is no number (an interval) cannot be asked for.
        thresholds: "group.name" -> least value that passes.

    Raises:
        SettingError: a threshold names no figure of the evaluation.
    """
    known = {f"{group}.{name}": number for group, values in figures.items() for name, number in _numbers(values)}
    for name in sorted(thresholds):
        if name not in known:
            raise SettingError(f"evaluate.thresholds: no figure {name!r} in this evaluation; it has {', '.join(known)}")
    return [GateRow(name, threshold, known[name]) for name, threshold in sorted(thresholds.items())]


def _numbers(values: Mapping[str, object]) -> Iterator[tuple[str, float | None]]:
    for name, value in values.items():
        if name.endswith(INTERVAL):
            continue
        if value is None or isinstance(value, float | int):
            yield name, value
