"""Collections whose generations differ in their rows, so that every answer tells which generation it is of."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from reelspace.core.store import Store
from reelspace.search.compute.build import IndexSettings, Table, write_index
from reelspace.search.scheduling.claims import claim
from reelspace.search.scheduling.generations import PublishedGeneration, create_collection_file, point_collection, publish_directory
from reelspace.search.storage.layout import Collection, VectorSettings, collection_key
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file

NUM_ROWS, DIMENSION = 40, 4
MADE = Collection(name="works", space_id="0123456789abcdef", vectors={"": VectorSettings(dimension=DIMENSION)}, num_shards=2)


def table_of(edition: int, num_rows: int = NUM_ROWS) -> Table:
    """Draw rows of an edition: the same ids in all of them, other vectors, and the edition in the payload."""
    vectors_ND = np.random.default_rng(edition).standard_normal((num_rows, DIMENSION))
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return Table(np.arange(num_rows), vectors_ND.astype(np.float32), pa.table({"edition": np.full(num_rows, edition)}))


def nearest(edition: int, query_D: Sequence[float], k: int, num_rows: int = NUM_ROWS) -> list[int]:
    """Give the ids nearest to a query by brute force."""
    scores_N = table_of(edition, num_rows).vectors_ND.astype(np.float64) @ np.array(query_D)
    return [int(id) for id in np.argsort(-scores_N, kind="stable")[:k]]


def built(store: Store, edition: int, scratch: Path, made: Collection = MADE, num_rows: int = NUM_ROWS) -> PublishedGeneration:
    """Bring the rows of an edition into the store as a generation that nothing names."""
    directory = scratch / f"edition-{edition}"
    write_index(table_of(edition, num_rows), made, IndexSettings(), directory)
    create_collection_file(store, made)
    number = claim(store, collection_key(made.full_name, "claims"), f"edition-{edition}")
    return publish_directory(store, made, number, directory)


def serving(store: Store, scratch: Path, made: Collection = MADE, num_rows: int = NUM_ROWS) -> None:
    """Make a collection, named as clients' are, whose current generation is edition 1."""
    point_collection(store, built(store, 1, scratch, made, num_rows))
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection(made.name, made.full_name))
