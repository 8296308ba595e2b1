"""What a plan of a search cluster is asked: rows, recall and rates, the machines, and what they cost.

Prices are list prices on demand of one large provider's oldest American region in the middle of 2026, and only a start: give your own.
"""

from typing import Literal

from pydantic import Field

from reelspace.core.settings import Settings


class CpuMachine(Settings):
    """A machine whose processors search; `usd_per_hour` is that of 16 threads and 128 GiB (r6i.4xlarge)."""

    memory_gb: float = Field(137.4, gt=0, description="Memory, GB of 10^9 bytes; 137.4 is 128 GiB.")
    cores: int = Field(16, ge=1, description="Threads that search beside each other, each as fast as the one that was measured.")
    disk_reads_per_s: float = Field(100_000.0, gt=0, description="Small random reads of its disk a second; assumed.")
    usd_per_hour: float = Field(1.008, ge=0, description="Price for an hour, USD.")


class GpuMachine(Settings):
    """A machine with one GPU that searches; the price is that of an A10G with 24 GB (g5.xlarge). Nothing of it was measured."""

    memory_gb: float = Field(24.0, gt=0, description="Memory of the GPU, GB of 10^9 bytes.")
    bandwidth_gb_s: float = Field(600.0, gt=0, description="Peak rate of its memory, GB/s; 600 is that of an A10G.")
    tflops: float = Field(31.2, gt=0, description="Peak in float32, TFLOP/s; 31.2 is that of an A10G.")
    sustained: float = Field(0.3, gt=0, le=1, description="Share of both peaks that a search sustains; assumed.")
    overhead_s: float = Field(1e-5, ge=0, description="Time of a query beside reading and computing, seconds; assumed.")
    batch: int = Field(64, ge=1, description="Queries that share the reading of what all of them need.")
    disk_reads_per_s: float = Field(100_000.0, gt=0, description="Small random reads of its disk a second; assumed.")
    usd_per_hour: float = Field(1.006, ge=0, description="Price for an hour, USD.")


class StorePrices(Settings):
    """What the object store takes (S3 Standard)."""

    usd_per_million_puts: float = Field(5.0, ge=0, description="Price of a million PUTs, USD.")
    usd_per_million_gets: float = Field(0.4, ge=0, description="Price of a million GETs, USD.")
    usd_per_gb_month: float = Field(0.023, ge=0, description="Price of 10^9 bytes for a month, USD.")


class SearchPlanSettings(Settings):
    """The collection, what is asked of it, and where it shall run."""

    rows: int = Field(ge=1, le=10**15, description="Rows of the collection.")
    dimension: int = Field(128, ge=1, le=65_536, description="Numbers of a vector; recall and time were measured with 128.")
    metric: Literal["cosine", "dot", "euclid"] = Field("cosine", description="Score; changes no size. Recall was measured with cosine.")
    recall: float = Field(0.95, gt=0, le=1, description="Share of the 10 nearest that must be found.")
    rate: float = Field(100.0, ge=0, description="Queries a second.")
    writes: float = Field(0.0, ge=0, description="Rows written a second.")
    rows_per_write: int = Field(100, ge=1, description="Rows of one write request; they are spread over the shards.")
    commit_s: float = Field(0.03, gt=0, description="Time of one PUT, seconds; writes to a shard that come meanwhile share the next.")
    payload_bytes: int = Field(0, ge=0, description="Bytes of a row's payload, in memory and in the store.")
    row_bytes: float = Field(8.125, ge=0, description="Memory of a row beside index and payload: an integer id and a bit of deletion.")
    margin: float = Field(0.2, ge=0, lt=1, description="Share of a machine's memory that is kept free: fresh rows, results, libraries.")
    load: float = Field(0.6, gt=0, le=1, description="Share of its capacity that a machine is planned to use.")
    generations: int = Field(1, ge=1, le=2, description="Generations of a shard in memory; 2: a new one is loaded beside the old one.")
    shards: int | None = Field(None, ge=1, le=4096, description="Shards; None: one for each machine that memory needs.")
    replicas: int = Field(1, ge=1, description="Least copies of every shard.")
    gateways: int = Field(2, ge=1, description="Gateways, one machine without a GPU each.")
    stored_generations: int = Field(2, ge=1, description="Generations that the store keeps.")
    cpu: CpuMachine = CpuMachine()
    gpu: GpuMachine = GpuMachine()
    store: StorePrices = StorePrices()
