"""The bars of the comparison, each a figure of ours against the best of some peers within each round, and whether it is held."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.search_peers.readings import Reading, aligned, by_round, number, shown, summary
from benchmarks.search_peers.tuning import RECALL_TARGET

OURS, TRITON, OFFICIAL = "reelspace", "reelspace-triton", " official"
LIBRARIES: Final = ("qdrant-edge", "hnswlib", "faiss")
SERVERS: Final = ("pgvector", "weaviate")


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound on a figure, or on its ratio to the best of `against`.

    Args:
        ours: the system that is judged; without the target of recall it holds no bar.
        against: systems; empty bounds the figure itself. Only those that reach the target of recall in that case count.
        against_case: the case of the other side; the same one when empty.
        at_least: the larger the better.
        at_most: the smaller the better; exactly one of the two is set.
    """

    what: str
    case: str
    figure: str
    ours: str
    against: tuple[str, ...] = ()
    against_case: str = ""
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


def embedded_bars() -> list[Bar]:
    """Give the bars of the library."""
    filtered = [
        Bar(f"filtered {share}, {heat}, against the best at equal recall", f"embedded {key} {heat}", "qps", OURS, LIBRARIES, at_least=bound)
        for key, share in (("category", "5 %"), ("flag", "1 %"))
        for heat, bound in (("cold", 0.5), ("warm", 1.0))
    ]
    return [
        Bar("QPS, 1 client, against qdrant-edge", "embedded", "qps", OURS, ("qdrant-edge",), at_least=1.5),
        *filtered,
        Bar("build time against bare faiss", "embedded build", "seconds", OURS, ("faiss",), at_most=1.2),
        Bar("memory growth of the build over raw vectors", "embedded build", "peak_per_raw", OURS, at_most=2.0),
    ]


def server_bars() -> list[Bar]:
    """Give the bars of the server on every data set of the two sizes."""
    loaded = [
        bar
        for case in ("server c=16", "server c=64")
        for bar in (
            Bar("server CPU per query against the best", case, "server_ms", OURS, SERVERS, at_most=1.2),
            Bar("QPS against pgvector", case, "qps", OURS, ("pgvector",), at_least=0.8),
            Bar("QPS against Weaviate", case, "qps", OURS, ("weaviate",), at_least=1.3),
            Bar("QPS of Triton mode against ours in the gateway", case, "qps", TRITON, (OURS,), at_least=0.6),
            Bar("QPS of ours in the gateway against Triton mode", case, "qps", OURS, (TRITON,), at_least=0.6),
        )
    ]
    single = "server c=1"
    filtered = [
        bar
        for key, share in (("category", "5 %"), ("flag", "1 %"))
        for bar in (
            Bar(f"filtered {share}, against the best that reaches the recall", f"server {key} c=1", "qps", OURS, SERVERS, at_least=3.0),
            Bar(f"filtered {share}, recall", f"server {key} c=1", "recall", OURS, at_least=RECALL_TARGET),
            Bar(f"filtered {share}, answers of fewer than 10", f"server {key} c=1", "num_short", OURS, at_most=0.0),
        )
    ]
    return [
        *loaded,
        Bar("p50, official clients, against Weaviate", single, "p50_ms", OURS + OFFICIAL, ("weaviate" + OFFICIAL,), at_most=1.0),
        Bar("p50, bare clients, against pgvector", single, "p50_ms", OURS, ("pgvector",), at_most=1.5),
        *filtered,
    ]


def live_bars(rows_per_s: int) -> list[Bar]:
    """Give the bars of writes while others search."""
    return [
        Bar("rows/s written", "live writing", "rows_per_s", OURS, at_least=0.99 * rows_per_s),
        Bar("search p99 while writing, against quiet", "live writing", "p99_ms", OURS, (OURS,), "live quiet", at_most=2.0),
        Bar("insert to visible without wait, p99 in ms", "live writing", "visible_p99_ms", OURS, at_most=1000.0),
        Bar("rows never found", "live writing", "num_lost", OURS, at_most=0.0),
        Bar("inserts with wait that the next search missed", "live stale", "num_stale", OURS, at_most=0.0),
    ]


def import_bars() -> list[Bar]:
    """Give the bar of the largest import."""
    return [Bar("seconds to import and serve 500k rows", "server build", "seconds", OURS, at_most=180.0)]


def judge(bar: Bar, data: str, readings: Sequence[Reading]) -> Verdict:
    """Compare within each round, and the median over the rounds with the bound."""
    ours = by_round(readings, data, bar.case, bar.ours, bar.figure)
    best, theirs = _best(bar, data, readings)
    values = [value / theirs[turn] if bar.against else value for turn, value in ours.items() if turn in theirs or not bar.against]
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
    bar = {name: value for name, value in asdict(verdict.bar).items() if value not in ("", None, ())}
    measured = None if verdict.measured is None else [float(f"{value:.4g}") for value in verdict.measured]
    return {"data": verdict.data, **bar, "measured": measured, "best": verdict.best, "held": verdict.held}


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
