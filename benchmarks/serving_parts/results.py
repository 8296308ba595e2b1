"""The result file: sections are measured together or alone, and each keeps its own date and commit."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks import record
from benchmarks.search_peers.bars import Verdict, described
from benchmarks.search_peers.readings import Reading, summaries
from benchmarks.serving_parts.models import SEED, student
from benchmarks.serving_parts.plan import Plan

NAME: Final = "serving"
PACKAGES: Final = ("nvidia-pytriton", "onnxruntime", "tritonclient", "fastapi", "uvicorn", "grpcio", "numpy")


@dataclass(frozen=True, slots=True)
class Took:
    """How long a section took, and how many processes wanted a core when it began: with more than there are cores, bars say little."""

    seconds: float
    load_before: float


def record_section(section: str, plan: Plan, readings: Sequence[Reading], judged: Sequence[Verdict], took: Took) -> None:
    """Put what a section found in the place of what was there; the others stay."""
    path = record.RESULTS / f"{NAME}.json"
    sections: dict[str, Any] = json.loads(path.read_text())["sections"] if path.exists() else {}
    stamp = record.stamp(SEED, PACKAGES)
    sections[section] = {
        "plan": asdict(plan),
        "bars": [described(verdict) for verdict in judged],
        "figures": summaries(readings),
        "seconds": round(took.seconds),
        "load_before": round(took.load_before, 1),
        **{name: stamp[name] for name in ("machine", "commit", "date")},
    }
    values = {
        "figure": NAME,
        "unit": "figures as median, smallest and largest of the rounds; bars as ratios or differences within a round",
        "model": student().model_dump(mode="json"),
        "sections": sections,
    }
    record.save_result(values | stamp)
