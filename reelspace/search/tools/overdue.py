"""Builds next generations where much lies beside the present ones, as gateways do for what they serve."""

from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Final

from reelspace.core.store import Store
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import Describe, ShardFacts
from reelspace.search.scheduling.lease import leave_lease, rebuild_lease, take_lease
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.scheduling.rebuild_program import rebuild_settings
from reelspace.search.storage.layout import Collection

HOLD_S: Final = 600.0


def rebuild_overdue(store: Store, made: Collection, num_threads: int, scratch: Path | None = None) -> list[int]:
    """Rebuild the shards that are overdue, but those that a gateway builds at the moment, and give their numbers."""
    owner = token_hex(8)
    rebuilt = []
    for shard in range(made.num_shards):
        if not _is_overdue(store, made, shard) or not take_lease(store, rebuild_lease(made.full_name, shard), owner, HOLD_S):
            continue
        try:
            with TemporaryDirectory(prefix="reelspace-rebuild-", dir=scratch) as directory:
                rebuild_shard(store, made, shard, rebuild_settings(store, made, shard, num_threads), Path(directory))
            drop_old(store, made, shard)
        finally:
            leave_lease(store, rebuild_lease(made.full_name, shard), owner)
        rebuilt.append(shard)
    return rebuilt


def _is_overdue(store: Store, made: Collection, shard: int) -> bool:
    with ShardHost(store, made, shard, Hosting(poll_s=3600.0)) as host:
        facts = host.read(Describe())
    assert isinstance(facts, ShardFacts), "Describe is answered with facts"
    return facts.is_overdue
