"""The arithmetic of one choice, line by line: every number with what it was made of."""

import math
from typing import Final

from reelspace.search.planning.cluster import Cluster
from reelspace.search.planning.measured import DIMENSION
from reelspace.search.planning.plan import Choice
from reelspace.search.planning.settings import SearchPlanSettings
from reelspace.search.planning.store_bill import SECONDS_PER_MONTH

# What the talk counts: codes and ids, or whole vectors.
_BARE: Final = ("vectors", "codes", "ids")
_WIDTH: Final = 16


def arithmetic(choice: Choice, settings: SearchPlanSettings) -> list[str]:
    """Tell bytes, shards, recall, time, machines, requests and money of a choice."""
    found = choice.cluster
    bare = " and ".join(part.name for part in found.parts if part.name in _BARE)
    rows = [
        *((part.name, f"{part.size_bytes:>9.2f} B  {part.arithmetic}") for part in found.parts),
        ("a row in memory", f"{found.row_bytes:>9.2f} B"),
        (bare, _bare(found, settings)),
        ("shards", _shards(found, settings)),
        ("recall@10", _recall(found, settings)),
        ("a query", _seconds(found, settings)),
        ("rate", _rate(found, settings)),
        ("machines", f"{found.num_machines:,} = {found.machines_per_copy:,} x {found.num_copies:,}"),
        ("requests", _requests(choice, settings)),
        ("store", _store(choice)),
        ("money", _money(choice)),
    ]
    return [f"{found.kind} on {found.processor}", *(f"  {name:<{_WIDTH}}{text}" for name, text in rows)]


def number(value: float) -> str:
    """Write a number as people read it: whole from a thousand on, three digits below."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def size(size_bytes: float) -> str:
    """Write bytes in the largest unit of which there is one."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:,.2f} {unit}"
    return f"{size_bytes / 1e6:,.2f} MB"


def _bare(found: Cluster, settings: SearchPlanSettings) -> str:
    bare, memory_gb = sum(part.size_bytes for part in found.parts if part.name in _BARE), _memory_gb(found, settings)
    machines = math.ceil(settings.rows * bare / (memory_gb * 1e9))
    return f"{settings.rows:,} x {bare:g} B = {size(settings.rows * bare)} = {machines:,} x {memory_gb:g} GB, filled to the brim"


def _shards(found: Cluster, settings: SearchPlanSettings) -> str:
    generations = f" x {settings.generations} generations" if settings.generations > 1 else ""
    told = f"{found.shard_rows:,.0f} rows x {found.row_bytes:.2f} B{generations} = {size(found.shard_bytes)}"
    held = f"{found.shards_per_machine} on a machine of {_memory_gb(found, settings):g} GB less {settings.margin:.0%}"
    return f"{found.num_shards:,} of {told}; {held}"


def _recall(found: Cluster, settings: SearchPlanSettings) -> str:
    if found.kind == "flat":
        return "1.000: every row is compared"
    how = found.effort
    text = f"{how.recall:.3f}: {how.measured.recall:.4f} measured at {how.measured_rows:,} rows, effort {how.measured.effort}"
    if how.tenfolds:
        fall = f"less {how.fall:.4f} for each" if how.fall else "nothing less for any"
        text += f", {fall} of {how.tenfolds:.1f} tenfolds beyond, which were not measured"
    return text if how.reaches else f"{text}; misses {settings.recall:g}"


def _seconds(found: Cluster, settings: SearchPlanSettings) -> str:
    if found.processor == "gpu":
        gpu = settings.gpu
        peaks = f"{gpu.bandwidth_gb_s:g} GB/s and {gpu.tflops:g} TFLOP/s, {gpu.sustained:.0%} of them"
        return f"{found.seconds * 1e3:.3g} ms of a GPU for each shard: estimated from {peaks}, not measured"
    how = found.effort
    longer = "" if settings.dimension == DIMENSION else f", and for {settings.dimension} dimensions"
    return (
        f"{found.seconds * 1e3:.3g} ms of a core for each shard: {how.measured.seconds * 1e3:.3g} ms measured at "
        f"{how.measured_rows:,} rows, x {how.growth:.3g} for its rows{longer}"
    )


def _rate(found: Cluster, settings: SearchPlanSettings) -> str:
    reads = f", {found.disk_reads} reads of a disk for each query and shard" if found.disk_reads else ""
    capacity = f"a copy answers {found.capacity:,.0f} queries/s at {settings.load:.0%} load{reads}"
    return f"{capacity}; copies for {number(settings.rate)} queries/s: {found.num_copies:,}"


def _requests(choice: Choice, settings: SearchPlanSettings) -> str:
    bill, found = choice.bill, choice.cluster
    polled = f"{found.num_shards:,} x {found.num_copies:,} shards {bill.polling_gets_per_s:,.0f}"
    gets = f"{polled}, {settings.gateways} gateways {bill.gateway_gets_per_s:,.0f}, commits {bill.commits_per_s:,.0f}"
    return f"{bill.gets_per_s:,.0f} GETs/s ({gets}), {bill.commits_per_s:,.0f} PUTs/s"


def _store(choice: Choice) -> str:
    bill = choice.bill
    requests = (bill.gets_per_s + bill.commits_per_s) * SECONDS_PER_MONTH / 1e6
    return f"{requests:,.0f} million requests a month, {size(bill.stored_bytes)} kept"


def _money(choice: Choice) -> str:
    bill = choice.bill
    parts = f"machines {choice.machine_usd:,.0f}, gateways {choice.gateway_usd:,.0f}"
    return f"{choice.usd:,.0f} USD a month: {parts}, requests {bill.request_usd:,.0f}, storage {bill.storage_usd:,.0f}"


def _memory_gb(found: Cluster, settings: SearchPlanSettings) -> float:
    return (settings.gpu if found.processor == "gpu" else settings.cpu).memory_gb
