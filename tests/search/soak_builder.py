"""`python soak_builder.py ROOT COLLECTION PERIOD_S KEPT_S`: build one shard's next generation after the other, and drop what is old.

A process of its own beside a gateway; writes the number of each generation on a line. Objects of the log are kept for KEPT_S.
"""

import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from reelspace.core.errors import TemporaryError
from reelspace.core.local_store import LocalStore
from reelspace.search.compute.build import IndexSettings
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.storage.layout import read_collection
from reelspace.search.storage.seen_numbers import SeenNumbers

SETTINGS = IndexSettings(flat_below=1, recall_target=0.9, num_recall_queries=16)


def main(arguments: Sequence[str]) -> None:
    store, period_s, kept_s = LocalStore(Path(arguments[0])), float(arguments[2]), float(arguments[3])
    made, seen = read_collection(store, arguments[1]), SeenNumbers(kept_s)
    for turn in count():
        shard = turn % made.num_shards
        begun_s = time.monotonic()
        with TemporaryDirectory() as scratch:
            try:
                print(rebuild_shard(store, made, shard, SETTINGS, Path(scratch)).generation, flush=True)
            except TemporaryError as error:  # a gateway's own builder was faster
                print(f"again {error}", file=sys.stderr, flush=True)
        drop_old(store, made, shard, seen)
        time.sleep(max(0.0, period_s - (time.monotonic() - begun_s)))


if __name__ == "__main__":
    main(sys.argv[1:])
