"""What the names of a store mean: the names and aliases that clients gave, and the collections that were promoted."""

from dataclasses import dataclass

from reelspace.core.store import Store
from reelspace.search.storage.layout import SPACE_POINTER, SpacePointer, parse
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default


@dataclass(frozen=True, slots=True)
class Known:
    """What the store said last."""

    names: Names
    promoted: SpacePointer | None

    def full_name(self, name: str) -> str | None:
        """Give the full name of the collection that a client's name means, None if it means none."""
        return self._of_client(name) or self._of_client(self.names.aliases.get(name, "")) or self._promoted(name)

    def full_names(self) -> list[str]:
        """Give the full name of every collection that has a name, promoted ones first."""
        promoted = [] if self.promoted is None else [self.promoted.collection]
        return list(dict.fromkeys([*promoted, *self.names.collections.values()]))

    def wants(self, full_name: str) -> bool:
        """Tell whether a collection has a name."""
        return full_name in self.full_names()

    def aliases(self) -> list[tuple[str, str]]:
        """Give every alias with the name it means."""
        own = [(self.promoted.alias, self.promoted.collection)] if self.promoted else []
        return [*own, *sorted(self.names.aliases.items())]

    def _of_client(self, name: str) -> str | None:
        found = self.names.collections.get(name)
        return found if found or name not in self.names.collections.values() else name

    def _promoted(self, name: str) -> str | None:
        if self.promoted is None or self.names.aliases.get(name, name) not in (self.promoted.alias, self.promoted.collection):
            return None
        return self.promoted.collection


def read_known(store: Store) -> Known:
    """Read the names and the pointer of what is promoted."""
    names = read_or_default(store, Names, NAMES_KEY)
    if not store.exists(SPACE_POINTER):
        return Known(names, None)
    return Known(names, parse(SpacePointer, store.get(SPACE_POINTER), f"{SPACE_POINTER} in {store.url}"))
