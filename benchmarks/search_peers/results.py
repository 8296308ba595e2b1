"""The result file of the comparison: sections and data sets are measured together or alone, and each keeps its own date and commit."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from benchmarks import record
from benchmarks.search_peers.bars import Verdict, described
from benchmarks.search_peers.comparison import Comparison, Unit
from benchmarks.search_peers.readings import summaries
from benchmarks.search_peers.roster import LIBRARIES, SERVERS
from benchmarks.search_peers.tuning import RECALL_TARGET
from benchmarks.search_peers.world import SEED

NAME: Final = "search"
PACKAGES: Final = ("faiss-cpu", "qdrant-client", "nvidia-pytriton", "numpy")


def record_unit(comparison: Comparison, unit: Unit, judged: Sequence[Verdict], seconds: float) -> None:
    """Put what a section found with a data set, and how long it took, in the place of what was there; all else in the file stays."""
    path = record.RESULTS / f"{NAME}.json"
    sections: dict[str, dict[str, Any]] = json.loads(path.read_text())["sections"] if path.exists() else {}
    section, data = unit
    stamp = record.stamp(SEED, PACKAGES)
    stamped = {"seconds": round(seconds), **{name: stamp[name] for name in ("machine", "commit", "date")}}
    sections.setdefault(section, {})[data] = values_of(comparison, unit, judged) | stamped
    values = {
        "figure": NAME,
        "unit": "figures of each system as median, smallest and largest of the rounds; bars as ratios or differences within a round",
        "recall_target": RECALL_TARGET,
        "peers": {entry.name: list(entry.requirements) for entry in (*LIBRARIES, *SERVERS) if not entry.is_ours},
        "sections": sections,
    }
    record.save_result(values | stamp)


def values_of(comparison: Comparison, unit: Unit, judged: Sequence[Verdict]) -> dict[str, Any]:
    """Give what a section found with a data set as JSON values."""
    return {
        "plan": asdict(comparison.plan),
        "bars": [described(verdict) for verdict in judged],
        "figures": summaries(comparison.of_unit(unit)).get(unit[1], {}),
        "tuned": comparison.tuned.get(unit, {}),
        "not_here": comparison.not_here.get(unit, {}),
    }
