"""What the names of a store mean: the names and aliases that clients gave, and the collections that were promoted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reelspace.core.store import Store
from reelspace.search.storage.layout import SPACE_POINTER, SpacePointer, parse
from reelspace.search.storage.moves import MOVES_KEY, Moves
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default


@dataclass(frozen=True, slots=True)
class Known:
    """What the store said last; `moves` as they were at a version of the names."""

    names: Names
    promoted: SpacePointer | None
    moves: Mapping[str, str] = field(default_factory=dict)
    moves_version: int | None = None

    def full_name(self, name: str) -> str | None:
        """Give the full name of the collection that a client's name means, None if it means none."""
        return self._of_client(name) or self._of_client(self.names.aliases.get(name, "")) or self._promoted(name) or self._moved(name)

    def full_names(self) -> list[str]:
        """Give the full name of every collection that has a name, promoted ones first."""
        pointers = [] if self.promoted is None else [self.promoted, self.promoted.before]
        promoted = [pointer.collection for pointer in pointers if pointer is not None]
        return list(dict.fromkeys([*promoted, *self.names.collections.values()]))

    def wanted(self) -> list[str]:
        """Give the full name of every collection that has a name, or is about to get that of another."""
        return list(dict.fromkeys([*self.full_names(), *(new for old, new in self.moves.items() if self.is_named(old))]))

    def wants(self, full_name: str) -> bool:
        """Tell whether a collection has a name, or is about to get that of another."""
        return full_name in self.wanted()

    def is_named(self, full_name: str) -> bool:
        """Tell whether a collection has a name."""
        return full_name in self.full_names()

    def moved_from(self, full_name: str) -> str | None:
        """Give the full name of the collection that goes on as this one, None if there is none."""
        return next((old for old, new in self.moves.items() if new == full_name), None)

    def aliases(self) -> list[tuple[str, str]]:
        """Give every alias with the name it means."""
        own = [(self.promoted.alias, self.promoted.collection)] if self.promoted else []
        return [*own, *sorted(self.names.aliases.items())]

    def _of_client(self, name: str) -> str | None:
        found = self.names.collections.get(name)
        return found if found or name not in self.names.collections.values() else name

    def _moved(self, name: str) -> str | None:
        """Let the full name of a collection that was resharded mean the one that goes on."""
        new = self.moves.get(name)
        while new is not None and new not in self.names.collections.values():
            new = self.moves.get(new)
        return new

    def _promoted(self, name: str) -> str | None:
        if self.promoted is None:
            return None
        wanted, before = self.names.aliases.get(name, name), self.promoted.before
        if wanted in (self.promoted.alias, self.promoted.collection):
            return self.promoted.collection
        return before.collection if before is not None and wanted == before.collection else None


def read_known(store: Store, before: Known | None = None) -> Known:
    """Read the names, the pointer of what is promoted, and, unless the names are those that were read before, the moves.

    Raises:
        StoreUnavailable: also where the store does not find what is there, which would make every collection unknown.
    """
    names = read_or_default(store, Names, NAMES_KEY, surely=True)
    is_known = before is not None and before.moves_version == names.version
    moves = before.moves if before is not None and is_known else read_or_default(store, Moves, MOVES_KEY, surely=True).moves
    promoted = None
    if store.exists(SPACE_POINTER):
        promoted = parse(SpacePointer, store.get(SPACE_POINTER), f"{SPACE_POINTER} in {store.url}")
    return Known(names, promoted, moves, names.version)
