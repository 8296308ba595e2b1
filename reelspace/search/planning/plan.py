"""A plan: every index type on every processor it runs on, with its machines and its money, the cheapest first."""

from dataclasses import dataclass
from typing import Final

from reelspace.search.planning.cluster import PROCESSORS, Cluster, ShardsTooLarge, cluster, processors_of
from reelspace.search.planning.effort import alone_seconds
from reelspace.search.planning.index_bytes import why_not
from reelspace.search.planning.measured import KINDS
from reelspace.search.planning.settings import SearchPlanSettings
from reelspace.search.planning.store_bill import HOURS_PER_MONTH, StoreBill, store_bill

MONTHS: Final = 12
RATES: Final = (0.01, 0.1, 1.0, 10.0)
"""Times the rate that was asked for: what an exact search costs there, too."""
_EQUAL: Final = 0.01


@dataclass(frozen=True, slots=True)
class Choice:
    """One index type on one processor, and what it takes for a month."""

    cluster: Cluster
    bill: StoreBill
    machine_usd: float
    gateway_usd: float

    @property
    def usd(self) -> float:
        """All money for a month."""
        return self.machine_usd + self.gateway_usd + self.bill.request_usd + self.bill.storage_usd

    @property
    def reaches(self) -> bool:
        """Tell whether it finds what it should."""
        return self.cluster.effort.reaches


@dataclass(frozen=True, slots=True)
class ExactCost:
    """An exact search for a year, USD, machines only: on processors for queries that come alone, in batches, and on GPUs in batches."""

    rate: float
    alone_usd: float
    cpu_usd: float
    gpu_usd: float


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What was asked, the choices by rising price, and why some types are none."""

    settings: SearchPlanSettings
    choices: tuple[Choice, ...]
    impossible: dict[str, str]
    exact: tuple[ExactCost, ...]

    @property
    def best(self) -> Choice | None:
        """What reaches the recall for at most 1 % more than the cheapest: on processors before GPUs, the simplest type; None: none does."""
        enough = [choice for choice in self.choices if choice.reaches]
        cheap = [choice for choice in enough if choice.usd <= enough[0].usd * (1 + _EQUAL)]
        return min(cheap, key=lambda one: (PROCESSORS.index(one.cluster.processor), KINDS.index(one.cluster.kind)), default=None)


def make_plan(settings: SearchPlanSettings) -> SearchPlan:
    """Plan every index type.

    Raises:
        UserError: not even a row fits a machine.
    """
    choices, impossible = [], {}
    for kind in KINDS:
        for processor in processors_of(kind):
            why = why_not(kind, settings.dimension)
            try:
                if why is None:
                    choices.append(choice(cluster(kind, processor, settings), settings))
            except ShardsTooLarge as error:
                why = str(error)
            if why is not None:
                impossible[f"{kind} on {processor}"] = why
    choices.sort(key=lambda one: one.usd)
    return SearchPlan(settings, tuple(choices), impossible, tuple(exact_cost(settings, settings.rate * times) for times in RATES))


def choice(found: Cluster, settings: SearchPlanSettings) -> Choice:
    """Add what a cluster costs."""
    hourly = settings.gpu.usd_per_hour if found.processor == "gpu" else settings.cpu.usd_per_hour
    return Choice(
        cluster=found,
        bill=store_bill(found, settings),
        machine_usd=found.num_machines * hourly * HOURS_PER_MONTH,
        gateway_usd=settings.gateways * settings.cpu.usd_per_hour * HOURS_PER_MONTH,
    )


def exact_cost(settings: SearchPlanSettings, rate: float) -> ExactCost:
    """Give the price of answering exactly at a rate, as fractions of machines, but at least those that hold the vectors."""
    at_rate = settings.model_copy(update={"rate": rate, "shards": None, "replicas": 1})
    on_cpu, on_gpu = (cluster("flat", processor, at_rate) for processor in PROCESSORS)
    cores = rate * alone_seconds(settings.dimension, settings.rows) / settings.load
    alone = max(cores / settings.cpu.cores, on_cpu.machines_per_copy)
    cpu_usd, gpu_usd = (machine.usd_per_hour * HOURS_PER_MONTH * MONTHS for machine in (settings.cpu, settings.gpu))
    return ExactCost(rate, alone * cpu_usd, on_cpu.num_machines * cpu_usd, on_gpu.num_machines * gpu_usd)
