"""A lease in the store: one of several processes does something for a while, and another may once the time is over.

It spares work and is no lock: clocks differ, and a process that slept may go on. What is done under it must be safe to do twice.
"""

import time
from typing import Final

from pydantic import Field

from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.layout import collection_key
from reelspace.search.storage.replaced_file import read_or_default, replace_file

LONGEST_S: Final = 1200.0
"""Leases are taken for half of this time at most: one that ends later is of a clock that was ahead."""


def rebuild_lease(full_name: str, shard: int) -> str:
    """Give the key of the lease under which a shard's next generation is built."""
    return collection_key(full_name, f"shards/{shard}/rebuild.json")


class LeaseFile(Settings):
    """What a lease says."""

    owner: str = Field("", description="Who has it; empty: nobody.")
    until_us: int = Field(0, ge=0, description="Microseconds since 1970, UTC; later, anybody may take it.")


def take_lease(store: Store, key: str, owner: str, hold_s: float) -> bool:
    """Take a lease, or keep one's own, for hold_s seconds from now; False if another has it."""
    now_us = _now_us()
    wanted = LeaseFile(owner=owner, until_us=now_us + int(hold_s * 1e6))

    def taken(one: LeaseFile) -> LeaseFile:
        is_held = now_us <= one.until_us <= now_us + int(LONGEST_S * 1e6)
        return one if one.owner not in ("", owner) and is_held else wanted

    found = replace_file(store, LeaseFile, key, taken)
    return found.owner == owner


def leave_lease(store: Store, key: str, owner: str) -> None:
    """Remove a lease, if it is one's own."""
    if read_or_default(store, LeaseFile, key).owner == owner:
        store.delete(key)


def _now_us() -> int:
    return time.time_ns() // 1000
