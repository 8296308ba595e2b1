"""Objects that are not found: what would lose rows or hide collections, if a store said so of one that is there, is asked twice."""

from reelspace.core.errors import StoreUnavailable
from reelspace.core.store import Store


def check_absent(store: Store, key: str) -> None:
    """Make sure that an object which was just not found is not there.

    Raises:
        StoreUnavailable: it is, or came meanwhile: read it again.
    """
    if store.exists(key):
        raise StoreUnavailable(f"store {store.url} did not give {key!r}, and says that it is there: try again")
