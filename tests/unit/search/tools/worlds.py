"""Files of a few rows, and collections read back as plain values."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from reelspace.core.store import Store
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.scoring import stored_form
from reelspace.search.storage.ids import Id
from reelspace.search.tables.batch import Batch, Batches
from reelspace.search.tables.formats import read_table, write_table
from reelspace.search.tools.gateway import Gateway
from reelspace.search.tools.import_rows import ImportPlan
from reelspace.search.tools.source import Source

from ..access.serving import serving

INDEX = IndexSettings(flat_below=1, num_recall_queries=16, recall_target=0.9)
Rows = dict[Id, tuple[list[float], dict[str, Any]]]


def vectors(num_rows: int, dimension: int = 6, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((num_rows, dimension)).astype(np.float32)


def write_file(path: Path, ids: list[Id], vectors_ND: Any, note: str = "") -> Batches:
    """Write a Parquet file of one vector and a payload that names the row, and open it."""
    payloads = [orjson.dumps({"place": place, "note": note}) for place in range(len(ids))]
    write_table(path, [Batch(ids, {"": vectors_ND}, payloads)], {"": vectors_ND.shape[1]})
    return read_table(path, batch_rows=64)


def expected(ids: list[Id], vectors_ND: Any, note: str = "") -> Rows:
    """What a collection holds after such a file: of equal ids the last row, with vectors of length 1."""
    unit_ND = stored_form(vectors_ND, "cosine")
    return {id: (unit_ND[place].tolist(), {"place": place, "note": note}) for place, id in enumerate(ids)}


def held(source: Source) -> Rows:
    """Every row of a collection with one vector."""
    (name,) = source.vectors
    found: Rows = {}
    for batch in source.read([name]):
        for place, id in enumerate(batch.ids):
            assert id not in found
            found[id] = batch.vectors[name][place].tolist(), orjson.loads(batch.payloads[place])
    return found


def plan(num_shards: int | None = None, index: IndexSettings = INDEX) -> ImportPlan:
    return ImportPlan("things", None, num_shards, index)


@contextmanager
def gateway(store: Store) -> Iterator[Gateway]:
    """A running gateway with shards of its own."""
    settings = GatewaySettings(store=store.url, backend="local")
    with serving(store, connector(settings, store)) as url, Gateway(url) as client:
        yield client
