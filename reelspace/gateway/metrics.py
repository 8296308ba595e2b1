"""What the gateway counts, for Prometheus. No label here holds what clients may choose: keys and ids make no series."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reelspace.gateway.shard_metrics import HeldShard, ShardCollector
from reelspace.search.access.replicas import Event

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one gateway process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("reelspace_requests", "Requests answered", ["method", "route", "status"], registry=self._registry)
        self._seconds = Histogram("reelspace_request_seconds", "Time to answer", ["route"], buckets=SECONDS, registry=self._registry)
        self._batches = Histogram("reelspace_search_batch", "Queries per call of the shards", buckets=BATCHES, registry=self._registry)
        self._refusals = Counter("reelspace_refusals", "Requests refused or given up", ["reason"], registry=self._registry)
        self._waiting = Gauge("reelspace_queries_waiting", "Queries that wait for their turn", registry=self._registry)
        self._shard = Histogram("reelspace_shard_seconds", "Time of one search of one shard", buckets=SECONDS, registry=self._registry)
        self._inferences = Counter(
            "reelspace_inferences", "Inferences by what became of them", ["model", "version", "outcome"], registry=self._registry
        )
        self._inference_seconds = Histogram(
            "reelspace_inference_seconds", "Time of one inference", ["model", "version"], buckets=SECONDS, registry=self._registry
        )
        self._running = Gauge("reelspace_inferences_running", "Inferences that Triton has now", ["model"], registry=self._registry)
        self._least_recall = Gauge(
            "reelspace_search_recall",
            "Least share of the 10 nearest that searches of a shard found; NaN where none is known",
            registry=self._registry,
        )
        self._low_recall = Gauge(
            "reelspace_search_recall_low", "Shards whose searches find clearly less than they should", registry=self._registry
        )
        self._rollout = Gauge(
            "reelspace_rollout_candidate", "Version that takes the place of another now, 0 for none", ["model"], registry=self._registry
        )
        self._replica_events = Counter(
            "reelspace_replica_events",
            "Times that a server of shards was doubted, out, or back; and its calls asked of others",
            ["replica", "event"],
            registry=self._registry,
        )
        self._replicas_out = Gauge(
            "reelspace_replica_shards_out", "Shards that are not asked of a server", ["replica"], registry=self._registry
        )
        self._leads = Gauge("reelspace_controller_leads", "Whether this process builds and publishes generations", registry=self._registry)
        self._calls: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._outcomes: dict[tuple[str, str, str], tuple[Counter, Histogram | None]] = {}

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; the route is the template, so that names in addresses make no new series."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_call(self, path: str, code: str, seconds: float) -> None:
        """Count one answered gRPC call; paths that name no method are counted as one."""
        # Looked up once: making labels costs more than counting.
        counted = self._calls.get((path, code))
        if counted is None:
            counted = self._calls[path, code] = self._requests.labels("gRPC", path, code), self._seconds.labels(path)
        counted[0].inc()
        counted[1].observe(seconds)

    def count_batch(self, num_queries: int) -> None:
        """Count one batch sent to the shards."""
        self._batches.observe(num_queries)

    def count_refusal(self, reason: str) -> None:
        """Count one request that was refused, or given up."""
        self._refusals.labels(reason).inc()

    def refusals(self) -> dict[str, int]:
        """Give how many requests were refused, or given up, by reason."""
        samples = [sample for metric in self._refusals.collect() for sample in metric.samples]
        return {sample.labels["reason"]: int(sample.value) for sample in samples if sample.name.endswith("_total")}

    def count_shard(self, seconds: float) -> None:
        """Count one search of one shard."""
        self._shard.observe(seconds)

    def count_replica(self, address: str, event: Event) -> None:
        """Count what became of a server of shards, or of a call of it."""
        self._replica_events.labels(address, event).inc()
        if event in ("out", "back", "left"):
            self._replicas_out.labels(address).inc(1 if event == "out" else -1)

    def count_inference(self, model: str, version: str, outcome: str, seconds: float) -> None:
        """Count one inference of a promoted model by what became of it; its time where it was answered."""
        counted = self._outcomes.get((model, version, outcome))
        if counted is None:
            timed = self._inference_seconds.labels(model, version) if outcome == "answered" else None
            counted = self._outcomes[model, version, outcome] = self._inferences.labels(model, version, outcome), timed
        counted[0].inc()
        if counted[1] is not None:
            counted[1].observe(seconds)

    def follow_running(self, model: str, num_running: Callable[[], int]) -> None:
        """Ask for the number of a model's inferences that Triton has whenever the counters are read."""
        self._running.labels(model).set_function(num_running)

    def follow_rollout(self, model: str, candidate: Callable[[], int]) -> None:
        """Ask for the version of a model that is rolled out whenever the counters are read."""
        self._rollout.labels(model).set_function(candidate)

    def follow_recalls(self, recalls: Callable[[], Sequence[tuple[float, bool]]]) -> None:
        """Ask for what searches of each shard find, and whether that is too little, whenever the counters are read."""
        self._least_recall.set_function(lambda: min((recall for recall, _ in recalls()), default=math.nan))
        self._low_recall.set_function(lambda: sum(is_low for _, is_low in recalls()))

    def follow_shards(self, shards: Callable[[], Iterable[HeldShard]]) -> None:
        """Ask what shards hold whenever the counters are read."""
        self._registry.register(ShardCollector(shards))

    def follow_leads(self, leads: Callable[[], bool]) -> None:
        """Ask whether this process leads whenever the counters are read."""
        self._leads.set_function(leads)

    def follow_waiting(self, num_waiting: Callable[[], int]) -> None:
        """Ask for the number of waiting queries whenever the counters are read."""
        self._waiting.set_function(num_waiting)

    def text(self) -> bytes:
        """Write all counters in Prometheus' text format."""
        return generate_latest(self._registry)
