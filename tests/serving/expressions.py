"""The expressions of dashboards and alerts, and what they name, against what servers really tell."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORDS = {"sum", "min", "max", "by", "rate", "increase", "histogram_quantile", "absent"}


@dataclass(frozen=True)
class Expression:
    """One expression and where it stands."""

    where: str
    text: str

    @property
    def metrics(self) -> set[str]:
        """Give every name that is neither a label nor a word of the language."""
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)', " ", self.text)
        return set(re.findall(r"[A-Za-z_:][\w:]*", bare)) - WORDS

    @property
    def labels(self) -> set[str]:
        """Give every label that is chosen or kept."""
        chosen = {label for part in re.findall(r"\{([^}]*)\}", self.text) for label in re.findall(r"(\w+)\s*[!=]", part)}
        return chosen | self.kept

    @property
    def kept(self) -> set[str]:
        """Give the labels that what comes out may have."""
        return {label for part in re.findall(r"by \(([^)]*)\)", self.text) for label in re.findall(r"\w+", part)}

    def values_of(self, label: str) -> set[str]:
        """Give the values of a label that are chosen by name."""
        return {value for found in re.findall(rf'{label}[!=~]+"([^"]*)"', self.text) for value in found.split("|")}


def alerts(of: str = "serving") -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((ROOT / "alerts" / f"{of}.yaml").read_text())["groups"] for rule in group["rules"]]


def expressions(of: str = "serving") -> list[Expression]:
    """Give those of the dashboard and of the alerts."""
    panels = json.loads((ROOT / "dashboards" / f"{of}.json").read_text())["panels"]
    shown = [Expression(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    return shown + [Expression(rule["alert"], rule["expr"]) for rule in alerts(of)]


def told(texts: Iterable[str]) -> dict[str, set[str]]:
    """Give the labels of every series that servers tell, by its name."""
    found: dict[str, set[str]] = {}
    for text in texts:
        for name, labels in re.findall(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def strange(found: Mapping[str, set[str]], prefix: str, of: str = "serving") -> list[str]:
    """Name what the expressions ask of metrics with a prefix that no server tells."""
    wrong = []
    for one in expressions(of):
        for metric in sorted(name for name in one.metrics if name.startswith(prefix)):
            missing = one.labels - found[metric] if metric in found else {"the metric itself"}
            wrong += [f"{one.where}: {metric} has no {label}" for label in sorted(missing)]
    return wrong
