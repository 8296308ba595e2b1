"""The bars of every section of the comparison."""

from typing import Final

from benchmarks.search_peers.bars import Bar
from benchmarks.search_peers.batch import BATCH, BATCH_CLIENTS, FAISS, batches_case, single_case
from benchmarks.search_peers.comparison import Unit
from benchmarks.search_peers.growth import GROWTH, growth_case
from benchmarks.search_peers.importing import IMPORT
from benchmarks.search_peers.libraries import EMBEDDED
from benchmarks.search_peers.plan import Plan
from benchmarks.search_peers.servers import LIVE, SERVER
from benchmarks.search_peers.shard_counts import COUNTS, SHARDS, exact_case
from benchmarks.search_peers.slow_store import STORE
from benchmarks.search_peers.tuning import RECALL_TARGET
from benchmarks.search_peers.world import SIFT

OURS, TRITON, OFFICIAL = "reelspace", "reelspace-triton", " official"
LIBRARIES: Final = ("qdrant-edge", "hnswlib", "faiss")
SERVERS: Final = ("pgvector", "weaviate")
LARGE: Final = "500k"
LARGE_S: Final = 180.0


def bars_of(unit: Unit, plan: Plan) -> list[Bar]:
    """Give the bars of a section with a data set; none for the real one, which is small."""
    section, data = unit
    if data == SIFT:
        return []
    served = [Bar("seconds to fill and serve 500k rows over the network", "server build", "seconds", OURS, at_most=LARGE_S)]
    bars = {
        EMBEDDED: embedded_bars(),
        SERVER: server_bars() + (served if data == LARGE else []),
        LIVE: live_bars(LIVE, plan),
        STORE: live_bars(STORE, plan),
        BATCH: batch_bars(),
        SHARDS: shard_bars(),
        IMPORT: import_bars(data),
        GROWTH: growth_bars(plan),
    }
    return bars[section]


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


def live_bars(section: str, plan: Plan) -> list[Bar]:
    """Give the bars of writes while others search."""
    writing = f"{section} writing"
    return [
        Bar("rows/s written", writing, "rows_per_s", OURS, at_least=0.99 * plan.rows_per_s),
        Bar("search p99 while writing, against quiet", writing, "p99_ms", OURS, (OURS,), f"{section} quiet", at_most=2.0),
        Bar("insert to visible without wait, p99 in ms", writing, "visible_p99_ms", OURS, at_most=1000.0),
        Bar("rows never found", writing, "num_lost", OURS, at_most=0.0),
        Bar("inserts with wait that the next search missed", f"{section} stale", "num_stale", OURS, at_most=0.0),
    ]


def batch_bars() -> list[Bar]:
    """Give the bars of what asking over a network costs beyond faiss."""
    batches = [
        Bar(
            "CPU us per vector in batches of 64, beyond faiss", batches_case(clients), "cpu_us", TRITON, (FAISS,), beyond=True, at_most=40.0
        )
        for clients in BATCH_CLIENTS
    ]
    return [Bar("CPU us per query, beyond faiss", single_case(), "cpu_us", TRITON, (FAISS,), beyond=True, at_most=500.0), *batches]


def shard_bars() -> list[Bar]:
    """Give the bars of equal answers of several shards."""
    return [
        bar
        for num in COUNTS[1:]
        for bar in (
            Bar("exact answers with other ids than one shard's", exact_case(num), "num_differing", OURS, at_most=0.0),
            Bar("largest difference of a score from one shard's", exact_case(num), "score_difference", OURS, at_most=1e-6),
        )
    ]


def growth_bars(plan: Plan) -> list[Bar]:
    """Give the bar of growth from the fewest rows to the most."""
    few, many = (growth_case(num) for num in (plan.growth[0], plan.growth[-1]))
    return [Bar("CPU per query at the most rows, against the fewest", many, "cpu_us", OURS, (OURS,), few, at_most=3.0)]


def import_bars(data: str) -> list[Bar]:
    """Give the bars of the import of a file."""
    bars = [
        Bar("seconds of an import, against bare faiss", IMPORT, "seconds", OURS, ("faiss",), at_most=1.2),
        Bar("memory growth of an import over raw vectors", IMPORT, "peak_per_raw", OURS, at_most=2.0),
    ]
    served = Bar("seconds to import and serve 500k rows", f"{IMPORT} served", "seconds", OURS, at_most=LARGE_S)
    return [*bars, served] if data == LARGE else bars
