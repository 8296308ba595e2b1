"""Collections of a store by the names that clients use."""

from reelspace.core.errors import UserError
from reelspace.core.store import Store
from reelspace.search.storage.known import read_known
from reelspace.search.storage.layout import Collection, collection_key, read_file


def find_collection(store: Store, name: str) -> Collection | None:
    """Give the collection that a name, alias or full name means, None if it means none."""
    full_name = read_known(store).full_name(name)
    return None if full_name is None else read_file(store, Collection, collection_key(full_name))


def open_named(store: Store, name: str) -> Collection:
    """Give the collection that a name means; UserError if it means none."""
    found = find_collection(store, name)
    if found is None:
        known = read_known(store)
        names = [*known.names.collections, *(alias for alias, _ in known.aliases())]
        raise UserError(f"collection {name[:80]!r} does not exist in {store.url}; here are {', '.join(sorted(names)) or 'none'}")
    return found
