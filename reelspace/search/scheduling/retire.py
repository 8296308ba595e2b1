"""Removes collections that were resharded, once nobody needs them, and what is left of a resharding whose collection is deleted."""

from reelspace.core.errors import UserError
from reelspace.core.store import Store
from reelspace.search.scheduling.reshard_state import read_reshard, remove_left
from reelspace.search.storage.known import Known, read_known
from reelspace.search.storage.layout import remove_collection
from reelspace.search.storage.moves import change_moves
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default


class RetireRefused(UserError):
    """A collection that may not be removed so."""


def retire(store: Store, full_name: str) -> str:
    """Remove the collection that was there before a resharding, and give the full name of the one that goes on.

    Killed at any moment, it goes on where it stopped.

    Raises:
        RetireRefused: a name means the collection, or nothing was made of it.
    """
    known = read_known(store)
    _check(store, known, full_name)
    new = known.moves[full_name]
    remove_collection(store, full_name)
    if not known.is_named(new) and new not in known.moves:
        remove_collection(store, new)  # its name was deleted before it meant it
    change_moves(store, lambda moves: moves.retired(full_name))
    return new


def remove_deleted(store: Store, full_name: str, new: str | None = None) -> None:
    """Remove all objects of a collection that was deleted, and of one that was being made of it.

    That one gets a name only while the first has it: where neither has one, none of them ever will. Who makes it gives its name (`new`): he
    may have written to it after another removed both, and with them the file that says so.
    """
    found = read_reshard(store, full_name)
    remove_left(store, found)
    new = found.to or new
    named = read_or_default(store, Names, NAMES_KEY).collections.values()
    if new is not None and new not in named and full_name not in named:
        remove_collection(store, new)
        change_moves(store, lambda moves: moves.without(full_name))
    remove_collection(store, full_name)


def _check(store: Store, known: Known, full_name: str) -> None:
    if known.is_named(full_name):
        names = [name for name, full in known.names.collections.items() if full == full_name] or [
            known.promoted.alias if known.promoted else ""
        ]
        names += [alias for alias, name in known.aliases() if name in names]
        raise RetireRefused(f"collection {full_name} is what {', '.join(names)} means: delete that, or reshard it")
    if full_name not in known.moves:
        may_be = ", ".join(old for old in known.moves if not known.is_named(old)) or "none"
        raise RetireRefused(f"{full_name!r} is no collection that was resharded in {store.url}; those that may be retired are {may_be}")
