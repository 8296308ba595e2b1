"""Gives a collection another number of shards while it is searched and written to: another collection is made of it, and gets its name.

The steps are those of reshard_state.py. Each may be cut short at any moment and taken again, by this process or another one: copies
are private, what is brought over enters once, and the logs of the old collection end before the name means the new one, so whatever
was acknowledged before is in the new one, and whatever comes later goes there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, TypeVar

from reelspace.core.errors import ArtifactMissing, StoreUnavailable, TemporaryError
from reelspace.core.log import log
from reelspace.core.store import Store
from reelspace.search.scheduling.forwarding import Forwarder, Forwarding
from reelspace.search.scheduling.reshard_copy import Move, Work, add_schema, copy_collection, copy_schema
from reelspace.search.scheduling.reshard_state import ReshardFile, ReshardRefused, ReshardTaken, change_reshard, read_reshard, remove_left
from reelspace.search.scheduling.retire import remove_deleted
from reelspace.search.storage.forwarded_log import ForwardedLog
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import (
    Collection,
    collection_key,
    read_collection,
    remove_collection,
)
from reelspace.search.storage.log_end import end_log
from reelspace.search.storage.marks import Mark
from reelspace.search.storage.moves import (
    MovedFrom,
    change_moves,
    is_being_opened,
    moved_from_key,
    read_former_shards,
    read_moved_from,
)
from reelspace.search.storage.names import NAMES_KEY, Names, NameUnknown
from reelspace.search.storage.replaced_file import read_or_default, replace_file

PAUSE_S: Final = 0.05
SAVE_S: Final = 1.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long others are waited for, in seconds.

    Attributes:
        announced_s: until every gateway has heard that the collection moves: three of their looks at the names.
        opening_s: for gateways that load the new collection ahead; later, writes wait until they have.
        behind_s: until what is written is brought over faster than it comes.
        store_s: for a store that does not answer.
    """

    announced_s: float = 3.0
    opening_s: float = 600.0
    behind_s: float = 600.0
    store_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Resharded:
    """What was done: the full name of the old collection, None if it had as many shards, of the new one, and for how long writes waited."""

    old: str | None
    new: str
    num_shards: int
    waited_s: float


def reshard(store: Store, name: str, num_shards: int, work: Work, patience: Patience | None = None) -> Resharded:
    """Give the collection of a name another number of shards; goes on where one that was stopped has left.

    Raises:
        ReshardRefused: it is of the pipelines, is being resharded to another number, or was deleted meanwhile.
        ReshardTaken: another process does it, too, and was faster.
        StoreUnavailable, TemporaryError: do it again.
    """
    made = client_made(store, name)
    before = _finished(store, made)
    if made.num_shards == num_shards:
        return Resharded(before, made.full_name, num_shards, 0.0)
    move = None
    try:
        move = _copied(store, made, num_shards, work)
        with _Following(store, move, work, patience or Patience()) as following:
            waited_s = following.run()
    except (ArtifactMissing, ReshardTaken) as error:
        if store.exists(collection_key(made.full_name)):
            raise
        raise deleted(store, made.full_name, None if move is None else move.new.full_name) from error
    _finish(store, move)
    return Resharded(made.full_name, move.new.full_name, num_shards, waited_s)


def cancel(store: Store, name: str) -> str | None:
    """Give up the resharding of a collection, and remove what was made; gives the full name of that, None if nothing was.

    Raises:
        ReshardRefused: the logs of the collection may have ended: only the command itself goes on from there.
    """
    made = client_made(store, name)
    left = change_reshard(store, made.full_name, ReshardFile.cancelled)
    if not left.left:
        return None
    change_moves(store, lambda moves: moves.without(made.full_name))
    remove_left(store, left)
    return left.left[-1]


def client_made(store: Store, name: str) -> Collection:
    """Give the collection that a client's name means.

    Raises:
        ReshardRefused: none, or the promoted one.
    """
    known = read_known(store)
    full_name = known.full_name(name)
    if full_name is not None and full_name in known.names.collections.values():
        return read_collection(store, full_name)
    if full_name is not None:
        advice = "build_index with the number of shards you want (build_index.num_shards), and promote that"
        raise ReshardRefused(f"collection {name!r} comes from a pipeline, and its space with it: {advice}")
    here = ", ".join(sorted(known.names.collections)) or "none"
    raise ReshardRefused(f"collection {name[:80]!r} does not exist in {store.url}; those that clients made are {here}")


def deleted(store: Store, full_name: str, new: str | None = None) -> ReshardRefused:
    """Remove what is left of the resharding of a collection that was deleted, and give the error that says so."""
    remove_deleted(store, full_name, new)
    return ReshardRefused(f"collection {full_name} was deleted meanwhile: nothing of it is left")


def _copied(store: Store, old: Collection, num_shards: int, work: Work) -> Move:
    """Give the move whose new collection is whole; makes it, unless it was made before."""
    new = old.model_copy(update={"space_id": token_hex(8), "num_shards": num_shards})
    state = change_reshard(store, old.full_name, lambda one: one.begun(num_shards, new.full_name))
    remove_left(store, state)
    if state.state == "copying":
        try:
            numbers = copy_collection(store, Move(old, new), work)
            state = change_reshard(store, old.full_name, lambda one: one.copied(new.full_name, numbers))
        except (ReshardTaken, ArtifactMissing):
            remove_collection(store, new.full_name)
            raise
        log("resharding", collection=old.full_name, step="copied", to=new.full_name)
    assert state.to is not None, "it has begun"
    return Move(old, read_collection(store, state.to))


class _Following:
    """Brings over what is written to the old collection, ends its logs, and gives its name to the new one."""

    def __init__(self, store: Store, move: Move, work: Work, patience: Patience) -> None:
        self._store, self._move, self._work, self._patience = store, move, work, patience
        self._old, self._new = move.old.full_name, move.new.full_name
        self._state = read_reshard(store, self._old)
        self._logs: list[ForwardedLog] = move.new_logs(store)
        place = read_former_shards(store, move.old)
        self._forwarding = Forwarding(
            [
                Forwarder(move.old_log(store, shard), place, self._logs, number, work.now_us)
                for shard, number in enumerate(self._state.forwarded)
            ]
        )

    def __enter__(self) -> "_Following":
        return self

    def __exit__(self, *_: object) -> None:
        self._forwarding.close()

    def run(self) -> float:
        """Do it, and give for how many seconds writes waited."""
        change_moves(self._store, lambda moves: moves.with_move(self._old, self._new))
        if self._state.state == "following":
            self._follow()
        self._check_named()
        begun_s = time.monotonic()
        self._step(lambda one: one.sealed(self._new))
        self._patiently(self._end)
        self._patiently(self._open)
        log("resharding", collection=self._old, step="moved", to=self._new, writes_waited_s=round(time.monotonic() - begun_s, 3))
        return time.monotonic() - begun_s

    def _follow(self) -> None:
        """Bring over what comes until little is left and gateways have the new collection open."""
        begun_s = saved_s = time.monotonic()
        while True:
            is_close = self._patiently(self._forwarding.round)
            now_s = time.monotonic()
            if now_s - saved_s > SAVE_S:
                self._step(lambda one: one.followed(self._new, self._forwarding.numbers))
                saved_s = now_s
            if is_close and self._is_heard(now_s - begun_s):
                return
            if not is_close and now_s - begun_s > self._patience.behind_s:
                raise TemporaryError(f"more is written to {self._old} than is brought over: run this again when less is")
            if is_close:
                time.sleep(PAUSE_S)

    def _is_heard(self, waited_s: float) -> bool:
        if waited_s < self._patience.announced_s:
            return False
        return waited_s > self._patience.opening_s or not is_being_opened(self._store, self._new)

    def _end(self) -> None:
        """End every old log, and bring over what is before its end."""
        numbers, at_us = self._forwarding.numbers, self._work.now_us()
        self._forwarding.each(lambda shard: end_log(self._move.old_log(self._store, shard), self._new, numbers[shard], at_us), len(numbers))
        while not self._forwarding.has_ended:
            self._forwarding.round()

    def _open(self) -> None:
        """Let clients write to the new logs, and the name mean the new collection."""
        mark = Mark("moved_from", self._old, self._work.now_us())
        last = self._forwarding.each(lambda shard: self._logs[shard].open_to_clients(mark), len(self._logs))
        replace_file(self._store, MovedFrom, moved_from_key(self._new), lambda one: one.brought(last))
        if self._old in self._named():
            copy_schema(self._store, self._move)
        try:
            replace_file(self._store, Names, NAMES_KEY, lambda names: names.moved(self._old, self._new))
        except NameUnknown as error:
            raise deleted(self._store, self._old, self._new) from error

    def _check_named(self) -> None:
        if not {self._old, self._new} & self._named():
            raise deleted(self._store, self._old, self._new)

    def _named(self) -> set[str]:
        return set(read_or_default(self._store, Names, NAMES_KEY).collections.values())

    def _step(self, change: Callable[[ReshardFile], ReshardFile]) -> None:
        self._patiently(lambda: change_reshard(self._store, self._old, change))

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do what may be done twice, and again while the store is away."""
        end_s = time.monotonic() + self._patience.store_s
        while True:
            try:
                return work()
            except StoreUnavailable:
                if time.monotonic() > end_s:
                    raise
                time.sleep(PAUSE_S)


def _finished(store: Store, made: Collection) -> str | None:
    """Finish the move that has led to a collection, if it was cut short just before its end; gives the old one's full name."""
    moved_from = read_moved_from(store, made.full_name)
    if moved_from.collection is None or not store.exists(collection_key(moved_from.collection)):
        return None
    _finish(store, Move(read_collection(store, moved_from.collection), made))
    return moved_from.collection


def _finish(store: Store, move: Move) -> None:
    """Bring over what a gateway that had not heard has changed of the indexed keys, and note that the move is made."""
    found = read_reshard(store, move.old.full_name)
    if found.state != "moved":
        remove_left(store, found)
        add_schema(store, move)
        change_reshard(store, move.old.full_name, lambda one: one.moved(move.new.full_name))
