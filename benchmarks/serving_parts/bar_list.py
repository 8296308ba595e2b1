"""The bars of every section."""

from benchmarks.search_peers.bars import Bar
from benchmarks.serving_parts.bed import GATEWAY, GRPC, HTTP, TRITON
from benchmarks.serving_parts.plan import Plan
from benchmarks.serving_parts.sections import (
    BARE,
    BATCHES,
    FULL,
    IN_FRONT,
    OFFERED,
    OVERLOAD,
    gateway_case,
    overload_case,
    system,
    triton_case,
)

LEAST_OF_BARE, MOST_ADDED_TO_BARE_MS = 0.95, 1.5
MOST_CPU_MS, MOST_ADDED_MS, LEAST_OF_DIRECT = 0.8, 2.0, 0.9
LEAST_GOODPUT, MOST_REFUSAL_MS, MOST_RECOVERY_S = 0.8, 50.0, 5.0


def bars_of(section: str, plan: Plan) -> list[Bar]:
    """Give the bars of a section; they hold for every model that it measures."""
    return {BATCHES: batch_bars(plan), IN_FRONT: gateway_bars(plan), OVERLOAD: overload_bars()}[section]


def batch_bars(plan: Plan) -> list[Bar]:
    """Give the bars of Triton against ONNX Runtime."""
    added = Bar("p50 beyond bare, ms", triton_case(1), "p50_ms", TRITON, (BARE,), beyond=True, at_most=MOST_ADDED_TO_BARE_MS)
    return [added] + [
        Bar("rows/s against bare at equal batches", triton_case(clients), "per_s", TRITON, (BARE,), at_least=LEAST_OF_BARE)
        for clients in plan.clients
        if clients > 1
    ]


def gateway_bars(plan: Plan) -> list[Bar]:
    """Give the bars of the gateway against Triton itself."""
    bars = []
    for face in (HTTP, GRPC):
        ours, direct = system(GATEWAY, face), (system(TRITON, face),)
        bars += [
            Bar(f"CPU per request over {face}, ms", gateway_case(clients), "cpu_ms", ours, at_most=MOST_CPU_MS) for clients in plan.clients
        ]
        bars.append(
            Bar(f"p50 over {face} beyond Triton's, ms", gateway_case(1), "p50_ms", ours, direct, beyond=True, at_most=MOST_ADDED_MS)
        )
        bars += [
            Bar(f"requests/s over {face} against Triton's", gateway_case(clients), "per_s", ours, direct, at_least=LEAST_OF_DIRECT)
            for clients in plan.clients
            if clients > 1
        ]
        bars += [
            Bar(f"answers other than 200 over {face}", gateway_case(clients), "num_other", ours, at_most=0.0) for clients in plan.clients
        ]
    return bars


def overload_bars() -> list[Bar]:
    """Give the bars of ten times what can be answered."""
    bars = []
    for face in (HTTP, GRPC):
        case = overload_case(face)
        bars += [
            Bar("goodput at 10 times, against the most", case, "per_s", OFFERED, (FULL,), at_least=LEAST_GOODPUT),
            Bar("refusals, p99 in ms", case, "refused_p99_ms", OFFERED, at_most=MOST_REFUSAL_MS),
            Bar("refusals without Retry-After", case, "untold", OFFERED, at_most=0.0),
            Bar("answers neither 200 nor a refusal", case, "num_other", OFFERED, at_most=0.0),
            Bar("seconds until a client alone is answered as before", case, "recovery_s", OFFERED, at_most=MOST_RECOVERY_S),
        ]
    return bars
