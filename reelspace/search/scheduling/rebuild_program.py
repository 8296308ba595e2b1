"""`python -m reelspace.search.scheduling.rebuild_program --store S --collection C@space --shard 0`: build one shard's next generation.

A process of its own, at low priority, so that the one that serves goes on answering; it ends with its owner.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from reelspace.core.log import log
from reelspace.core.processes import die_with
from reelspace.core.program import run_main
from reelspace.core.store import Store, open_store
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.generation import MANIFEST
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.storage.layout import Collection, ShardManifest, generation_key, read_collection, read_current, read_file
from reelspace.search.storage.writer import Clock

NICE: Final = 10


def rebuild_settings(store: Store, collection: Collection, shard: int, num_threads: int) -> IndexSettings:
    """Give settings that aim at what the current generation was built for."""
    name = collection.full_name
    current = read_current(store, name, collection.num_shards).shards[str(shard)].generation
    manifest = read_file(store, ShardManifest, generation_key(name, shard, current, MANIFEST))
    facts = [vectors.index for vectors in manifest.vectors.values()]
    defaults = IndexSettings()
    return defaults.model_copy(
        update={
            "kind": next((one.kind for one in facts if one.kind != "flat"), defaults.kind),
            "recall_target": max(one.recall_target for one in facts),
            "num_threads": num_threads,
        }
    )


def main(arguments: Sequence[str]) -> None:
    """Build, publish, point at it, and drop what it replaces; see `rebuild_shard` for errors."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.search.scheduling.rebuild_program", allow_abbrev=False)
    parser.add_argument("--store", required=True, help="directory or s3://bucket/prefix")
    parser.add_argument("--collection", required=True, help="full name of the collection")
    parser.add_argument("--shard", type=int, required=True, help="number of the shard")
    parser.add_argument("--threads", type=int, default=1, help="threads of the build")
    parser.add_argument("--owner", type=int, help="process to end with")
    given = parser.parse_args(arguments)
    if given.owner is not None:
        die_with(given.owner)
    os.nice(NICE)
    store = open_store(given.store)
    collection = read_collection(store, given.collection)
    settings = rebuild_settings(store, collection, given.shard, given.threads)
    with TemporaryDirectory(prefix="reelspace-rebuild-") as scratch:
        served = rebuild_shard(store, collection, given.shard, settings, Path(scratch))
    log("rebuilt", collection=given.collection, shard=given.shard, generation=served.generation)
    drop_old(store, collection, given.shard, Clock().now_us())


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
