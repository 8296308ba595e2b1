"""Brings the rows of a file into a collection: into a store, where a new one gets its first generation at once, or through a gateway."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Final, get_args

import numpy as np
import orjson

from reelspace.core.errors import UserError
from reelspace.core.progress import progress
from reelspace.core.store import Store
from reelspace.search.compute.build import IndexSettings, write_generation
from reelspace.search.scheduling.claims import claim
from reelspace.search.scheduling.generations import create_collection_file, point_collection, publish_directory
from reelspace.search.storage.layout import Collection, Metric, VectorSettings, collection_key
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file
from reelspace.search.tables.batch import Batch, Batches
from reelspace.search.tools.batches import check_batch, for_requests, renamed, split
from reelspace.search.tools.gateway import Gateway
from reelspace.search.tools.log_upsert import upsert_into_log
from reelspace.search.tools.named import find_collection
from reelspace.search.tools.overdue import rebuild_overdue
from reelspace.search.tools.spilled_shard import SpilledShard

FIRST_OWNER: Final = "import"


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """Where rows go.

    Attributes:
        metric, num_shards: of a new collection, None for cosine and one; a present collection keeps its own.
        scratch: directory with room for the rows and the index of a new collection; None for the system's.
    """

    collection: str
    metric: Metric | None = None
    num_shards: int | None = None
    index: IndexSettings = field(default_factory=IndexSettings)
    scratch: Path | None = None


def metric_of(text: str | None) -> Metric | None:
    """Read the name of a metric; UserError if it is none."""
    if text is None:
        return None
    for metric in get_args(Metric):
        if metric == text:
            known: Metric = metric
            return known
    raise UserError(f"metric {text[:40]!r}: expected one of {', '.join(get_args(Metric))}")


@dataclass(frozen=True, slots=True)
class Imported:
    """What was done: rows of the file, whether the collection is new, and the seconds that it took."""

    num_rows: int
    is_new: bool
    seconds: float


def import_into_store(store: Store, batches: Batches, plan: ImportPlan) -> Imported:
    """Build a new collection of the rows, or upsert them into the one of that name and rebuild what is overdue then.

    A new collection appears when it is whole. Beside the ids of all rows, one shard and what indexing it takes are in memory.

    Raises:
        TableError: the file is damaged, or a row of it may not be stored; a new collection is not made then.
        UserError: the file has no row, or its vectors are not those of the collection.
    """
    start_s = time.monotonic()
    present = find_collection(store, plan.collection)
    vectors = _wanted_vectors(batches, plan, None if present is None else present.vectors)
    rows = renamed(batches, vectors)
    if present is None:
        made = Collection(name=plan.collection, space_id=token_hex(8), vectors=vectors, num_shards=plan.num_shards or 1)
        _build(store, made, rows, batches.num_rows, plan)
    else:
        upsert_into_log(store, present, for_requests(rows), batches.num_rows)
        rebuild_overdue(store, present, plan.index.num_threads, plan.scratch)
    return Imported(batches.num_rows, present is None, time.monotonic() - start_s)


def import_into_gateway(gateway: Gateway, batches: Batches, plan: ImportPlan) -> Imported:
    """Upsert the rows, into a new collection where there is none of the name; every search sees them when this returns.

    Raises:
        TableError, UserError: see import_into_store; rows before the one that is refused are stored.
        ServerUnavailable: the gateway did not answer, each time it was tried.
    """
    start_s, run, num_sent = time.monotonic(), token_hex(8), 0
    present = gateway.vectors(plan.collection)
    vectors = _wanted_vectors(batches, plan, present)
    if present is None:
        gateway.create(plan.collection, vectors, plan.num_shards or 1)
    path = f"/collections/{plan.collection}/points?timeout=60&wait="
    with progress(batches.num_rows, "rows imported") as told:
        for number, batch in enumerate(for_requests(renamed(batches, vectors))):
            num_sent += len(batch.ids)
            wait = "true" if num_sent == batches.num_rows else "false"
            gateway.ask("PUT", path + wait, {"batch": _columns(batch)}, key=f"{run}-{number}")
            told.advance(len(batch.ids))
    return Imported(batches.num_rows, present is None, time.monotonic() - start_s)


def _wanted_vectors(batches: Batches, plan: ImportPlan, present: dict[str, VectorSettings] | None) -> dict[str, VectorSettings]:
    first = next(iter(batches), None)
    if first is None:
        raise UserError("the file has no row: nothing to import")
    found = {name: one.shape[1] for name, one in first.vectors.items()}
    if present is None:
        return {name: VectorSettings(dimension=dimension, metric=plan.metric or "cosine") for name, dimension in found.items()}
    if plan.num_shards is not None or plan.metric is not None:
        raise UserError(f"collection {plan.collection!r} is there: its metric and shards stay, leave both out")
    if set(found) == {""} and len(present) == 1:
        found = dict.fromkeys(present, found[""])
    known = {name: one.dimension for name, one in present.items()}
    if not found.items() <= known.items():
        raise UserError(f"collection {plan.collection!r} has vectors {known}, the file {found} (length by name): name its columns")
    return {name: one for name, one in present.items() if name in found}


def _columns(batch: Batch) -> dict[str, object]:
    vectors = {name: np.ascontiguousarray(one) for name, one in batch.vectors.items()}
    payloads = [orjson.Fragment(payload) for payload in batch.payloads]
    return {"ids": list(batch.ids), "vectors": vectors[""] if set(vectors) == {""} else vectors, "payloads": payloads}


def _build(store: Store, made: Collection, rows: Iterable[Batch], num_rows: int, plan: ImportPlan) -> None:
    """Spread the rows over files, one set per shard, then build the first generation shard by shard, publish it, and give it its name."""
    with TemporaryDirectory(prefix="reelspace-import-", dir=plan.scratch) as scratch:
        directory = Path(scratch)
        shards = [SpilledShard(made, directory / "rows" / str(shard)) for shard in range(made.num_shards)]
        try:
            _spread(made, rows, num_rows, shards)
            for shard, spilled in enumerate(shards):
                write_generation(spilled.rows(), made, shard, plan.index, directory / "shards" / str(shard))
        finally:
            for spilled in shards:
                spilled.close()
        create_collection_file(store, made)
        number = claim(store, collection_key(made.full_name, "claims"), FIRST_OWNER)
        point_collection(store, publish_directory(store, made, number, directory))
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection(made.name, made.full_name))


def _spread(made: Collection, rows: Iterable[Batch], num_rows: int, shards: list[SpilledShard]) -> None:
    num_read = 0
    with progress(num_rows, "rows read") as told:
        for batch in rows:
            check_batch(batch, made.fields, num_read)
            for shard, part in split(batch, made.num_shards).items():
                shards[shard].append(part.ids, part.vectors, part.payloads)
            num_read += len(batch.ids)
            told.advance(len(batch.ids))
