"""Makes a collection without rows: an empty generation of every shard, so that everything after is alike."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from reelspace.core.store import Store
from reelspace.search.compute.build import BuildRows, BuildVectors, IndexSettings, write_generation
from reelspace.search.compute.payloads import Payloads
from reelspace.search.compute.row_ids import SealedIds
from reelspace.search.scheduling.claims import claim
from reelspace.search.scheduling.generations import PublishedGeneration, create_collection_file, point_collection, publish_directory
from reelspace.search.storage.layout import Collection, collection_key

EMPTY: Final = "empty"


def create_collection(store: Store, collection: Collection) -> PublishedGeneration:
    """Write collection.json and generation 1 without rows, and make it current; doing it again changes nothing.

    Raises:
        UserError: the collection exists and is of another make.
    """
    create_collection_file(store, collection)
    with TemporaryDirectory(prefix="reelspace-create-") as scratch:
        for shard in range(collection.num_shards):
            write_generation(_no_rows(collection), collection, shard, IndexSettings(), Path(scratch) / "shards" / str(shard))
        number = claim(store, collection_key(collection.full_name, "claims"), EMPTY)
        published = publish_directory(store, collection, number, Path(scratch))
    point_collection(store, published)
    return published


def _no_rows(collection: Collection) -> BuildRows:
    vectors = {
        name: BuildVectors(settings, np.empty((0, settings.dimension), dtype=np.float32)) for name, settings in collection.vectors.items()
    }
    return BuildRows(SealedIds.of(()), vectors, Payloads())
