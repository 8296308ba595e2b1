"""`python -m reelspace.search.scheduling.rebuild_program --store S --collection C@space --shard 0`: build one shard's next generation.

A process of its own, at low priority, so that the one that serves goes on answering; it ends with its owner.
"""

import argparse
import os
import resource
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

from reelspace.core.log import log
from reelspace.core.processes import die_with
from reelspace.core.program import run_main
from reelspace.core.store import Store, open_store
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.generation import MANIFEST
from reelspace.search.scheduling.pointer import states_of
from reelspace.search.scheduling.publication import Publication, publish, wait_until_current
from reelspace.search.scheduling.rebuild import build_next, drop_old, rebuild_shard
from reelspace.search.storage.layout import Collection, ShardManifest, generation_key, read_collection, read_current, read_file

NICE: Final = 10
SCRATCH: Final = "reelspace-rebuild-"
SETTLED_S: Final = 900.0
"""By then the controller has made a generation current, or refused it."""


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


def _remove_left() -> None:
    """Remove what builds that were killed have left."""
    for folder in Path(gettempdir()).glob(f"{SCRATCH}*"):
        pid = folder.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str]) -> None:
    """Build, publish, point at it, and remove generations it replaces, or leave that to the controller; see `rebuild_shard` for errors."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.search.scheduling.rebuild_program", allow_abbrev=False)
    parser.add_argument("--store", required=True, help="directory or s3://bucket/prefix")
    parser.add_argument("--collection", required=True, help="full name of the collection")
    parser.add_argument("--shard", type=int, required=True, help="number of the shard")
    parser.add_argument("--threads", type=int, default=1, help="threads of the build")
    parser.add_argument("--owner", type=int, help="process to end with")
    parser.add_argument("--memory-bytes", type=int, help="memory that the build may take; it fails beyond")
    parser.add_argument("--publish", action="store_true", help="leave it to the controller to make the generation current")
    given = parser.parse_args(arguments)
    if given.owner is not None:
        die_with(given.owner)
    os.nice(NICE)
    if given.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (given.memory_bytes, given.memory_bytes))
    store = open_store(given.store)
    collection = read_collection(store, given.collection)
    settings = rebuild_settings(store, collection, given.shard, given.threads)
    _remove_left()
    with TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-") as scratch:
        if given.publish:
            built = build_next(store, collection, given.shard, settings, Path(scratch))
            publish(store, given.collection, Publication(number=built.generation, shards=states_of([built.served], built.contains_log)))
            log("built", collection=given.collection, shard=given.shard, generation=built.generation)
            wait_until_current(store, given.collection, built.generation, SETTLED_S)
            return
        served = rebuild_shard(store, collection, given.shard, settings, Path(scratch))
    log("rebuilt", collection=given.collection, shard=given.shard, generation=served.generation)
    drop_old(store, collection, given.shard)


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
