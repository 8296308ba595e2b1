"""Search measured through gateway, Triton and shards: on a journey's own vectors, and on enough generated rows that IVF is used.

Legend: N rows, Q queries, D dimension.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from reelspace.core.artifacts import write_artifact
from reelspace.core.digest import code_digest
from reelspace.core.store import open_store
from reelspace.demo.questions import Corpus
from reelspace.demo.report import SearchFigures
from reelspace.demo.servers import Servers, running_servers
from reelspace.search.clustered import ClusteredVectors
from reelspace.search.compute.build import IndexSettings, Table, write_index
from reelspace.search.measure import Gallery, measure_search
from reelspace.search.scheduling.promote import Promotion, promote
from reelspace.search.storage.layout import Collection, VectorSettings

NUM_GENERATED_ROWS = 50_000
NUM_QUERIES = 500
DIMENSION = 128
NUM_SHARDS = 2
COLLECTION = "generated"


def measure_own_rows(servers: Servers, corpus: Corpus) -> SearchFigures:
    """Search the teacher's vectors with the student's: queries that are near their answers and equal to none."""
    vectors = corpus.vectors
    gallery = Gallery(vectors.video_ids_N, vectors.by_name["vector"])
    return _figures(servers, gallery, vectors.by_name["student"][:NUM_QUERIES], "videos")


def measure_generated_rows(out: Path, seed: int = 0) -> SearchFigures:
    """Index generated rows in a store of their own, serve them, search them."""
    world = ClusteredVectors(DIMENSION, seed)
    gallery = Gallery(np.arange(NUM_GENERATED_ROWS, dtype=np.int64), world.rows(NUM_GENERATED_ROWS, "gallery"))
    with TemporaryDirectory(dir=out, prefix=".generated-") as scratch, generated_servers(gallery, Path(scratch), out / "logs") as servers:
        return _figures(servers, gallery, world.rows(NUM_QUERIES, "queries"), COLLECTION)


@contextmanager
def generated_servers(gallery: Gallery, scratch: Path, logs: Path) -> Iterator[Servers]:
    """Build, promote and serve a collection of rows without encoders."""
    store = open_store(str(scratch / "store"))
    vectors = {"": VectorSettings(dimension=gallery.vectors_ND.shape[1])}
    collection = Collection(name=COLLECTION, space_id="0" * 16, vectors=vectors, num_shards=NUM_SHARDS)
    table = Table(gallery.ids_N, gallery.vectors_ND, pa.table({"video_id": pa.array(gallery.ids_N)}))
    manifests = write_index(table, collection, IndexSettings(), scratch / "index")
    if any(manifest.vectors[""].index.nlist is None for manifest in manifests):
        raise AssertionError(f"{NUM_GENERATED_ROWS} rows in {NUM_SHARDS} shards must use IVF")
    index = write_artifact(store, "index", scratch / "index", parents=(), code=code_digest(__name__), settings={})
    (scratch / "promotion").mkdir()
    promote(store, Promotion(index, None, COLLECTION), scratch / "promotion")
    with running_servers(store.url, logs) as servers:
        yield servers


def _figures(servers: Servers, gallery: Gallery, queries_QD: np.ndarray, collection: str) -> SearchFigures:  # type: ignore[type-arg]
    measured = measure_search(servers.gateway_url, gallery, queries_QD, collection=collection)
    return SearchFigures.model_validate(asdict(measured))
