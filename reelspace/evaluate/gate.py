"""The gate: thresholds a model must pass before it may be promoted."""

from collections.abc import Mapping
from dataclasses import dataclass

from reelspace.core.errors import SettingError


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


def gate_rows(figures: Mapping[str, Mapping[str, float | int | None]], thresholds: Mapping[str, float]) -> list[GateRow]:
    """Hold figures against thresholds.

    Args:
        figures: group -> name -> value, as in evaluation.json.
        thresholds: "group.name" -> least value that passes.

    Raises:
        SettingError: a threshold names no figure of the evaluation.
    """
    rows = []
    for name, threshold in sorted(thresholds.items()):
        group, _, figure = name.partition(".")
        if figure not in figures.get(group, {}):
            known = ", ".join(f"{g}.{f}" for g, values in figures.items() for f in values)
            raise SettingError(f"evaluate.thresholds: no figure {name!r} in this evaluation; it has {known}")
        rows.append(GateRow(name, threshold, figures[group][figure]))
    return rows
