"""What is measured, section by section; within a round all servers take turns, and every second round they do so the other way round."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.search_peers.readings import Reading
from benchmarks.serving_parts.bed import GATEWAY, GRPC, HTTP, PASSING, TRITON, Bed
from benchmarks.serving_parts.models import MODELS
from benchmarks.serving_parts.plan import Plan

BATCHES, IN_FRONT, OVERLOAD = "triton", "gateway", "overload"
BARE, FULL, OFFERED = "bare", "full", "offered"
WAYS: Final = ((TRITON, HTTP), (GATEWAY, HTTP), (TRITON, GRPC), (PASSING, GRPC), (GATEWAY, GRPC))
SLOW_ROWS: Final = 8
"""Texts per request of the overload: little to send, and as much to do as a video."""
FEW: Final = 4


@dataclass(slots=True)
class Sitting:
    """One run of the benchmark: what runs, and what was found."""

    bed: Bed
    plan: Plan
    readings: list[Reading] = field(default_factory=list)

    def add(self, data: str, case: str, system: str, turn: int, figures: Mapping[str, float]) -> None:
        """Keep and print what was found."""
        self.readings.append(Reading(data, case, system, turn, figures))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(f"{data}, {case}, round {turn}, {system}: {shown}", file=sys.stderr, flush=True)

    def load(self, way: str, clients: int) -> dict[str, float]:
        """Ask for the planned time."""
        found: dict[str, float] = self.bed.sender.ask("busy", name=way, clients=clients, duration_s=self.plan.duration_s)
        return found

    def warm(self, way: str, clients: int) -> None:
        """Ask for a moment."""
        self.bed.sender.ask("busy", name=way, clients=clients, duration_s=self.plan.warm_s)


def measure_batches(sitting: Sitting) -> None:
    """Hold Triton over HTTP against ONNX Runtime alone, which gets batches as large as Triton's were on average in the same turn."""
    bed, plan = sitting.bed, sitting.plan
    for turn in range(plan.rounds):
        for model in MODELS:
            way = bed.way(TRITON, HTTP, bed.requests(model), model)
            for clients in plan.clients:
                sitting.warm(way, clients)
                rows, batches = bed.batches(model)
                found = sitting.load(way, clients)
                more_rows, more_batches = bed.batches(model)
                batch = (more_rows - rows) / (more_batches - batches)
                case = triton_case(clients)
                sitting.add(model, case, TRITON, turn, found | {"batch": batch})
                bare = bed.bare.ask("run", model=model, batch=max(1, round(batch)), duration_s=plan.duration_s)
                sitting.add(model, case, BARE, turn, bare)


def measure_gateway(sitting: Sitting) -> None:
    """Hold the gateway against Triton itself and an empty pass-through, with the processor time of what stands between."""
    bed, plan = sitting.bed, sitting.plan
    for turn in range(plan.rounds):
        for model in MODELS:
            requests = bed.requests(model)
            for clients in plan.clients:
                for place, face in WAYS if turn % 2 == 0 else WAYS[::-1]:
                    way = bed.way(place, face, requests, model)
                    sitting.warm(way, clients)
                    before_s = bed.cpu_s(place)
                    found = sitting.load(way, clients)
                    if place != TRITON:
                        found["cpu_ms"] = 1e3 * (bed.cpu_s(place) - before_s) / (found["num"] + found["num_other"])
                    sitting.add(model, gateway_case(clients), system(place, face), turn, found)


def measure_overload(sitting: Sitting) -> None:
    """Offer the gateway ten times of what the model can answer."""
    bed, plan = sitting.bed, sitting.plan
    requests = bed.requests("text", SLOW_ROWS)
    for turn in range(plan.rounds):
        for face in (HTTP, GRPC):
            way = bed.way(GATEWAY, face, requests, f"text x {SLOW_ROWS}")
            sitting.warm(way, FEW)
            found = bed.sender.ask("overload", name=way, clients=FEW, duration_s=plan.overload_s, seed=turn)
            full = {"per_s": found.pop("full_per_s")}
            sitting.add("text", overload_case(face), FULL, turn, full)
            sitting.add("text", overload_case(face), OFFERED, turn, found)


SECTIONS: Final = {BATCHES: measure_batches, IN_FRONT: measure_gateway, OVERLOAD: measure_overload}


def triton_case(clients: int) -> str:
    """Name a case of Triton against ONNX Runtime."""
    return f"{BATCHES} c={clients}"


def gateway_case(clients: int) -> str:
    """Name a case of the gateway against Triton."""
    return f"{IN_FRONT} c={clients}"


def overload_case(face: str) -> str:
    """Name a case of the overload."""
    return f"{OVERLOAD} {face}"


def system(place: str, face: str) -> str:
    """Name a server as it is asked over one face."""
    return f"{place} {face}"
