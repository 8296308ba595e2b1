"""collections/<old>/reshard.json: how far a resharding has come. It is replaced by put_if_match only, so of two processes that take
the same step one does, and a process that was stopped and goes on later finds that it is not asked for any more.

copying     a collection that nobody knows yet is made of what the old one holds
following   the new one is whole, and what is written to the old one since is brought over
sealing     the logs of the old one end, or are about to: from here on there is no way back
moved       the name means the new one
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from pydantic import Field

from reelspace.core.errors import TemporaryError, UserError
from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.layout import collection_key, remove_collection
from reelspace.search.storage.replaced_file import read_or_default, replace_file

RESHARD: Final = "reshard.json"
State = Literal["copying", "following", "sealing", "moved"]


class ReshardRefused(UserError):
    """A resharding that cannot be, or cannot be any more."""


class ReshardTaken(TemporaryError):
    """Another process took this resharding over."""


class ReshardFile(Settings):
    """What reshard.json says. Each method gives it after one step; doing it twice is as doing it once."""

    state: State | None = Field(None, description="None: the collection is not resharded.")
    num_shards: int | None = Field(None, ge=1, le=4096, description="Shards of the new collection.")
    to: str | None = Field(None, description="Full name of the new collection.")
    forwarded: tuple[int, ...] = Field((), description="By old shard, the number up to which the new collection has its log.")
    left: tuple[str, ...] = Field((), description="Full names of copies that were given up: nobody follows them any more.")

    def begun(self, num_shards: int, to: str) -> "ReshardFile":
        """Begin to copy into a collection, in the place of one that a copying process left.

        Raises:
            ReshardRefused: the collection is resharded to another number of shards.
        """
        if self.state is not None and self.num_shards != num_shards:
            raise ReshardRefused(f"it is being resharded to {self.num_shards} shards: let that end first, or --cancel it")
        if self.state not in (None, "copying") or self.to == to:
            return self
        return ReshardFile(state="copying", num_shards=num_shards, to=to, left=self._given_up())

    def copied(self, to: str, numbers: Sequence[int]) -> "ReshardFile":
        """Let a copy be the one that follows; it holds each old shard up to a number of its log."""
        self._check_is(to)
        return self.model_copy(update={"state": "following", "forwarded": tuple(numbers)}) if self.state == "copying" else self

    def followed(self, to: str, numbers: Sequence[int]) -> "ReshardFile":
        """Note up to which numbers old logs are brought over."""
        self._check_is(to)
        return self.model_copy(update={"forwarded": tuple(map(max, self.forwarded, numbers))})

    def sealed(self, to: str) -> "ReshardFile":
        """Begin to end the old logs."""
        self._check_is(to)
        return self.model_copy(update={"state": "sealing"}) if self.state == "following" else self

    def moved(self, to: str) -> "ReshardFile":
        """Note that the name means the new collection."""
        self._check_is(to)
        return self.model_copy(update={"state": "moved"})

    def cancelled(self) -> "ReshardFile":
        """Give it up.

        Raises:
            ReshardRefused: the old logs may have ended.
        """
        if self.state in ("sealing", "moved"):
            raise ReshardRefused(f"its writes go to {self.to} already: run the command again, which ends in a moment")
        return ReshardFile(left=self._given_up())

    def _given_up(self) -> tuple[str, ...]:
        return self.left if self.to is None else (*self.left, self.to)

    def _check_is(self, to: str) -> None:
        if self.state is None:
            raise ReshardTaken("it was deleted, or its resharding was cancelled, meanwhile")
        if self.to != to:
            raise ReshardTaken("another process began to reshard it, and makes a copy of its own: this one is not needed")


def reshard_key(full_name: str) -> str:
    """Give the key of a collection's file."""
    return collection_key(full_name, RESHARD)


def read_reshard(store: Store, full_name: str) -> ReshardFile:
    """Read how far the resharding of a collection has come."""
    return read_or_default(store, ReshardFile, reshard_key(full_name))


def change_reshard(store: Store, full_name: str, change: Callable[[ReshardFile], ReshardFile]) -> ReshardFile:
    """Take a step; what the change raises names the collection."""
    try:
        return replace_file(store, ReshardFile, reshard_key(full_name), change)
    except (ReshardRefused, ReshardTaken) as error:
        raise type(error)(f"collection {full_name}: {error}") from error


def remove_left(store: Store, found: ReshardFile) -> None:
    """Remove copies that were given up, also what a process that did not hear of that has made since."""
    for full_name in found.left:
        remove_collection(store, full_name)


def kept_after(store: Store, full_name: str, shard: int, number: int) -> int:
    """Give a number, or a lower one behind which a shard's log must be kept since a resharding has still to bring it over."""
    found = read_reshard(store, full_name)
    if found.state == "copying":
        return 0
    return min(number, found.forwarded[shard]) if found.state in ("following", "sealing") else number
