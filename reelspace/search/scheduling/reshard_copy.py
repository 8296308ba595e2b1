"""Makes a collection with another number of shards of what a collection holds, while that goes on being written to.

The copy is made under a name that nobody knows, so a process that is killed leaves nothing but files of no meaning, and one that was
given up for dead can disturb no other's copy.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Final

from reelspace.core.progress import progress
from reelspace.core.store import Store
from reelspace.search.compute.build import IndexSettings, write_generation
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.scheduling.claims import claim
from reelspace.search.scheduling.forwarding import Forwarder
from reelspace.search.scheduling.generations import create_collection_file, point_shards, publish_shard
from reelspace.search.scheduling.rebuild import rows_of_shard
from reelspace.search.scheduling.rebuild_program import rebuild_settings
from reelspace.search.scheduling.repository import publish_followed
from reelspace.search.scheduling.spilled_rows import SpilledRows
from reelspace.search.storage.former_shards import FormerShards
from reelspace.search.storage.forwarded_log import ForwardedLog
from reelspace.search.storage.layout import PAYLOAD_SCHEMA, Collection, PayloadSchema, collection_key
from reelspace.search.storage.log import Log
from reelspace.search.storage.moves import MovedFrom, moved_from_key, read_former_shards
from reelspace.search.storage.replaced_file import read_or_default, replace_file

OWNER: Final = "reshard"


@dataclass(frozen=True, slots=True)
class Work:
    """How the work is done.

    Attributes:
        scratch: directory with room for the vectors and payloads of the collection and the index of a shard; None for the system's.
        now_us: microseconds since 1970, UTC.
    """

    num_threads: int
    now_us: Callable[[], int]
    scratch: Path | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A collection, and the one that goes on in its place."""

    old: Collection
    new: Collection

    def old_log(self, store: Store, shard: int) -> Log:
        """Give the log of a shard of the old one."""
        return Log(store, self.old.full_name, shard, self.old.fields)

    def new_logs(self, store: Store) -> list[ForwardedLog]:
        """Give the logs of the new one, to be filled."""
        return [ForwardedLog(Log(store, self.new.full_name, shard, self.new.fields)) for shard in range(self.new.num_shards)]


def copy_collection(store: Store, move: Move, work: Work) -> tuple[int, ...]:
    """Make the new collection, whole but without a name, and give the number of each old shard's log up to which it has the rows.

    Its logs begin with what the old ones still have, for requests that may be sent again: the first generation contains that.
    """
    place, logs, numbers = read_former_shards(store, move.old), move.new_logs(store), []
    with TemporaryDirectory(prefix="reelspace-reshard-", dir=work.scratch) as scratch:
        spilled = SpilledRows(move.new, Path(scratch) / "rows")
        with progress(move.old.num_shards, "shards read") as told:
            for shard in range(move.old.num_shards):
                with ShardHost(store, move.old, shard, Hosting(poll_s=3600.0)) as host:
                    rows = host.with_shard(lambda loaded: rows_of_shard(loaded, move.old))
                spilled.spread(rows)
                old_log = move.old_log(store, shard)
                Forwarder(old_log, place, logs, old_log.floor(), work.now_us).bring_keys(rows.contains_log)
                numbers.append(rows.contains_log)
                told.advance()
        _write_generation(store, move, [log.head for log in logs], spilled, Path(scratch), work)
    _write_files(store, move, place)
    return tuple(numbers)


def _write_generation(store: Store, move: Move, contains_log: list[int], spilled: SpilledRows, scratch: Path, work: Work) -> None:
    """Index the rows shard by shard, publish them and point at them."""
    settings = index_settings(store, move.old, work.num_threads)
    schema = read_or_default(store, PayloadSchema, collection_key(move.old.full_name, PAYLOAD_SCHEMA))
    number = claim(store, collection_key(move.new.full_name, "claims"), OWNER)
    published = []
    with progress(move.new.num_shards, "shards built") as told:
        for shard in range(move.new.num_shards):
            directory = scratch / "shards" / str(shard)
            rows = replace(spilled.rows(shard, tuple(schema.keys)), contains_log=contains_log[shard])
            write_generation(rows, move.new, shard, settings, directory)
            published.append(publish_shard(store, move.new.full_name, number, shard, directory))
            rmtree(directory)
            told.advance()
    point_shards(store, move.new.full_name, published, dict(enumerate(contains_log)))


def index_settings(store: Store, old: Collection, num_threads: int) -> IndexSettings:
    """Give settings that aim at what the generations of all shards were built for; the kind is that of one with many rows."""
    found = [rebuild_settings(store, old, shard, num_threads) for shard in range(old.num_shards)]
    kinds = [one.kind for one in found if one.kind != IndexSettings().kind]
    kind = kinds[0] if kinds else IndexSettings().kind
    return found[0].model_copy(update={"kind": kind, "recall_target": max(one.recall_target for one in found)})


def copy_schema(store: Store, move: Move) -> None:
    """Let the new collection keep those payload keys in columns that the old one does."""
    keys = read_or_default(store, PayloadSchema, collection_key(move.old.full_name, PAYLOAD_SCHEMA)).keys
    replace_file(store, PayloadSchema, collection_key(move.new.full_name, PAYLOAD_SCHEMA), lambda _: PayloadSchema(keys=keys))


def add_schema(store: Store, move: Move) -> None:
    """Let the new collection keep in columns, beside its own, those keys that were told to the old one when it had moved."""
    keys = read_or_default(store, PayloadSchema, collection_key(move.old.full_name, PAYLOAD_SCHEMA)).keys
    key = collection_key(move.new.full_name, PAYLOAD_SCHEMA)
    replace_file(store, PayloadSchema, key, lambda found: PayloadSchema(keys=keys | found.keys))


def _write_files(store: Store, move: Move, place: FormerShards) -> None:
    """Write what the collection is, after all that it has: whoever finds this finds it whole."""
    former = place.resharded(move.new.num_shards).counts
    moved_from = MovedFrom(collection=move.old.full_name, former_shards=former)
    replace_file(store, MovedFrom, moved_from_key(move.new.full_name), lambda _: moved_from)
    copy_schema(store, move)
    publish_followed(store, move.new)
    create_collection_file(store, move.new)
