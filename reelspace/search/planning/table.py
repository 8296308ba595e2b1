"""A plan in words and numbers: for people as lines, for machines as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from reelspace.search.planning.arithmetic import arithmetic, number
from reelspace.search.planning.effort import alone_seconds, best_recall, fall_per_tenfold, tenfolds_beyond
from reelspace.search.planning.measured import CURVES, DIMENSION, KINDS, Kind
from reelspace.search.planning.plan import MONTHS, Choice, SearchPlan
from reelspace.search.planning.settings import SearchPlanSettings
from reelspace.search.planning.store_bill import HOURS_PER_MONTH

_WIDTH: Final = 18


def lines(plan: SearchPlan, shown: Sequence[Kind] = ()) -> list[str]:
    """Tell a plan: the choices by price, the arithmetic of the best one and of the types asked for, exact search, and recall."""
    told = [choice for choice in plan.choices if choice is plan.best or choice.cluster.kind in shown]
    details = [line for choice in told for line in ("", *arithmetic(choice, plan.settings))]
    return [*_head(plan), *details, "", *_exact_lines(plan), "", *_recall_lines(plan.settings)]


def as_json(plan: SearchPlan) -> dict[str, Any]:
    """Give a plan for machines; bytes, seconds, USD for a month, of an exact search for a year."""
    return {
        "settings": plan.settings.model_dump(mode="json"),
        "best": None if plan.best is None else {"kind": plan.best.cluster.kind, "processor": plan.best.cluster.processor},
        "choices": [_choice_json(choice) for choice in plan.choices],
        "impossible": plan.impossible,
        "exact": [asdict(cost) for cost in plan.exact],
    }


def _choice_json(choice: Choice) -> dict[str, Any]:
    found = choice.cluster
    return {
        **asdict(choice),
        "usd": choice.usd,
        "reaches": choice.reaches,
        "row_bytes": found.row_bytes,
        "num_machines": found.num_machines,
        "gets_per_s": choice.bill.gets_per_s,
    }


def _head(plan: SearchPlan) -> list[str]:
    asked = plan.settings
    rates = f"{number(asked.rate)} queries and {number(asked.writes)} rows written a second"
    columns = (
        f"{'type':<{_WIDTH}}{'on':<5}{'B/row':>8}{'recall':>8}{'shards':>8}{'copies':>8}{'machines':>10}{'ms/query':>10}{'USD/month':>15}"
    )
    best = plan.best
    verdict = f"none reaches a recall of {asked.recall:g}" if best is None else f"best: {best.cluster.kind} on {best.cluster.processor}"
    return [
        f"{asked.rows:,} rows x {asked.dimension}, {asked.metric}, recall@10 at least {asked.recall:g}; {rates}",
        "",
        columns,
        *(_row(choice) for choice in plan.choices),
        *(f"{name:<{_WIDTH + 5}}not possible: {why}" for name, why in plan.impossible.items()),
        "",
        f"{verdict}; < misses the recall",
    ]


def _row(choice: Choice) -> str:
    found = choice.cluster
    mark = " " if choice.reaches else "<"
    return (
        f"{found.kind:<{_WIDTH}}{found.processor:<5}{found.row_bytes:>8.1f}{found.effort.recall:>7.3f}{mark}{found.num_shards:>8,}"
        f"{found.num_copies:>8,}{found.num_machines:>10,}{found.seconds * 1e3:>10.3g}{choice.usd:>15,.0f}"
    )


def _exact_lines(plan: SearchPlan) -> list[str]:
    settings = plan.settings
    core_s = alone_seconds(settings.dimension, settings.rows)
    cores, usd = settings.rate * core_s / settings.load, settings.cpu.usd_per_hour * HOURS_PER_MONTH * MONTHS
    costs = [f"{number(cost.rate):>12}{cost.alone_usd:>20,.0f}{cost.cpu_usd:>20,.0f}{cost.gpu_usd:>20,.0f}" for cost in plan.exact]
    return [
        "exact search, USD a year for machines alone:",
        f"{'queries/s':>12}{'alone on CPUs':>20}{'batches on CPUs':>20}{'batches on GPUs':>20}",
        *costs,
        f"alone: {number(settings.rate)} queries/s x {number(core_s)} core seconds / {settings.load:g} load = {number(cores)} cores = "
        f"{number(cores / settings.cpu.cores)} machines x {usd:,.0f} USD",
    ]


def _recall_lines(settings: SearchPlanSettings) -> list[str]:
    sizes = "".join(f"{curve.rows:>10,}" for curve in CURVES["flat"])
    return [
        f"best recall@10 measured, {DIMENSION} dimensions; it falls since a code's error stays while more rows bring the nearest nearer:",
        f"{'rows':<{_WIDTH}}{sizes}{'fall a tenfold':>16}",
        *(_recall_row(kind) for kind in KINDS),
        f"were it to go on, codes alone at {settings.rows:,} rows: {_continued('ivf_pq64', settings)}, {_continued('ivf_sq8', settings)}",
    ]


def _recall_row(kind: Kind) -> str:
    return f"{kind:<{_WIDTH}}" + "".join(f"{best_recall(curve):>10.4f}" for curve in CURVES[kind]) + f"{fall_per_tenfold(kind):>16.4f}"


def _continued(kind: Kind, settings: SearchPlanSettings) -> str:
    last = CURVES[kind][-1]
    fall = fall_per_tenfold(kind) * tenfolds_beyond(kind, last.rows, settings.rows, settings.rows)
    return f"{kind} {best_recall(last) - fall:.3f}"
