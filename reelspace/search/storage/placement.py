"""Which group of servers has which shard: collections/placement.json, replaced by put_if_match only.

A group is some servers each of which has every shard of the group. Without the file there is one group: the servers that a gateway was
given. A group that leaves keeps its shards until others have them.
"""

import re
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import Field

from reelspace.core.errors import UserError
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.replaced_file import read_or_default, replace_file

PLACEMENT_KEY: Final = "collections/placement.json"


class Group(Settings):
    """Servers that have the same shards."""

    addresses: tuple[str, ...] = Field(min_length=1, description="host:port of the gRPC of each.")
    leaves: bool = Field(False, description="Its shards are to go to others, and then it.")


class Placement(Settings):
    """The groups, and where each shard is."""

    version: int = Field(0, ge=0, description="Counts the changes.")
    groups: dict[str, Group] = Field(default_factory=dict, description="By name.")
    shards: dict[str, str] = Field(default_factory=dict, description="Name of the group by the name of the shard's model.")

    def addresses(self, model: str) -> tuple[str, ...] | None:
        """Give the servers of a shard; None where it has no group."""
        group = self.groups.get(self.shards.get(model, ""))
        return None if group is None else group.addresses

    def staying(self) -> list[str]:
        """Name the groups that shards may be given to."""
        return sorted(name for name, group in self.groups.items() if not group.leaves)

    def shards_of(self, group: str) -> list[str]:
        """Name the models of a group."""
        return sorted(model for model, name in self.shards.items() if name == group)

    def with_group(self, name: str, addresses: tuple[str, ...]) -> "Placement":
        """Give it with a group more, or with other servers of one."""
        return self._next({**self.groups, name: Group(addresses=addresses)}, self.shards)

    def leaving(self, name: str) -> "Placement":
        """Give it with a group that is to go.

        Raises:
            UserError: there is no such group, or no other.
        """
        if name not in self.groups:
            raise UserError(f"group {name!r}: expected one of {', '.join(sorted(self.groups)) or 'none'}")
        if self.staying() in ([], [name]):
            raise UserError(f"group {name!r} is the last one: add another first")
        return self._next({**self.groups, name: self.groups[name].model_copy(update={"leaves": True})}, self.shards)

    def moved(self, model: str, group: str) -> "Placement":
        """Give it with a shard in another group."""
        return self if self.shards.get(model) == group else self._next(self.groups, {**self.shards, model: group})

    def placed(self, models: Names[str]) -> "Placement":
        """Give it with a group for each of some shards that have none: the one with the fewest."""
        placement = self
        for model in sorted(models):
            if self.groups and placement.shards.get(model) not in self.groups:
                placement = placement.moved(model, placement.emptiest())
        return placement

    def emptiest(self) -> str:
        """Name the group that the next shard goes to."""
        return min(self.staying(), key=lambda name: (len(self.shards_of(name)), name))

    def next_move(self, models: Names[str]) -> tuple[str, str] | None:
        """Give the shard, of those that there are, that is to move next, and the group it goes to; None if all are well placed."""
        staying = self.staying()
        for group in sorted(self.groups):
            leaving = [] if group in staying else [model for model in self.shards_of(group) if model in models]
            if leaving:
                return leaving[0], self.emptiest()
        held = {group: [model for model in self.shards_of(group) if model in models] for group in staying}
        if not held:
            return None
        fullest, emptiest = (choose(held, key=lambda name: (len(held[name]), name)) for choose in (max, min))
        return (held[fullest][0], emptiest) if len(held[fullest]) > len(held[emptiest]) + 1 else None

    def without_gone(self, models: Names[str]) -> "Placement":
        """Give it without shards that are no more, and without groups that left and have none any more."""
        shards = {model: group for model, group in self.shards.items() if model in models}
        groups = {name: group for name, group in self.groups.items() if not group.leaves or name in shards.values()}
        return self if (groups, shards) == (self.groups, self.shards) else self._next(groups, shards)

    def _next(self, groups: dict[str, Group], shards: dict[str, str]) -> "Placement":
        return Placement(version=self.version + 1, groups=groups, shards=shards)


def read_placement(store: Store) -> Placement:
    """Read where shards are; nothing where there is no such file."""
    return read_or_default(store, Placement, PLACEMENT_KEY)


def place(store: Store, models: Names[str]) -> Placement:
    """Give every one of some shards a group, if there are groups, and give where all are."""
    if not read_placement(store).groups:
        return Placement()
    return replace_file(store, Placement, PLACEMENT_KEY, lambda found: found.placed(models))


def add_group(store: Store, name: str, addresses: tuple[str, ...]) -> Placement:
    """Add a group, or give one other servers."""
    return replace_file(store, Placement, PLACEMENT_KEY, lambda found: found.with_group(name, addresses))


def parse_groups(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read groups of servers, each as NAME=host:port,host:port.

    Raises:
        UserError: a text is of another form, or names a group again.
    """
    groups: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, addresses = text.partition("=")
        parts = tuple(addresses.split(","))
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not all(
            re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]{1,5}", one) for one in parts
        ):
            raise UserError(f"group {text[:200]!r}: expected NAME=host:port, or several host:port with commas between")
        if name in groups:
            raise UserError(f"group {name!r} is named twice")
        groups[name] = parts
    return groups


def declare_groups(store: Store, groups: Mapping[str, tuple[str, ...]]) -> Placement:
    """Let these be the groups, each with these servers; shards of others go to them."""

    def declared(found: Placement) -> Placement:
        for name, addresses in groups.items():
            if found.groups.get(name) != Group(addresses=addresses):
                found = found.with_group(name, addresses)
        for name in found.staying():
            if name not in groups:
                found = found.leaving(name)
        return found

    return replace_file(store, Placement, PLACEMENT_KEY, declared)


def remove_group(store: Store, name: str) -> Placement:
    """Let the shards of a group go to others, and then the group; raises as `Placement.leaving`."""

    def leaving(found: Placement) -> Placement:
        is_leaving = name in found.groups and found.groups[name].leaves
        return found if is_leaving else found.leaving(name)

    return replace_file(store, Placement, PLACEMENT_KEY, leaving)
