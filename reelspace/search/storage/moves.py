"""Collections that are resharded, as gateways see it: which one goes on as which, and what it was made of.

collections/moves.json                    Moves: written before a collection begins to move, and until the old one is removed;
                                          each change counts as one of names.json, so gateways read this only when that changes
collections/<new>/moved_from.json         MovedFrom: of the collection that goes on
collections/<new>/opening/<who>.json      OpeningFile: a gateway that opens it ahead
"""

from collections.abc import Callable
from typing import Final

from pydantic import Field

from reelspace.core.settings import Settings
from reelspace.core.store import Store
from reelspace.search.storage.former_shards import FormerShards
from reelspace.search.storage.layout import Collection, collection_key, json_bytes, read_file
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default, replace_file

MOVES_KEY: Final = "collections/moves.json"
OPENING: Final = "opening/"


class Moves(Settings):
    """What moves.json says. Each method gives the moves after one change; doing it twice is as doing it once."""

    moves: dict[str, str] = Field(default_factory=dict, description="Full name of the collection that goes on, by that of the old one.")

    def with_move(self, old: str, new: str) -> "Moves":
        """Add a move, in the place of another one of the same collection."""
        return Moves(moves=self.moves | {old: new})

    def without(self, old: str) -> "Moves":
        """Forget a move that is not made."""
        return Moves(moves={one: new for one, new in self.moves.items() if one != old})

    def retired(self, old: str) -> "Moves":
        """Forget a move whose old collection is removed; what moved into that one goes on as what it moved into."""
        last = self.moves.get(old, old)
        return Moves(moves={one: last if new == old else new for one, new in self.moves.items() if one != old})


class MovedFrom(Settings):
    """What moved_from.json says; a collection that was not resharded has none."""

    collection: str | None = Field(None, description="Full name of the collection it was made of.")
    former_shards: tuple[int, ...] = Field((), description="Former numbers of shards that request keys tell of.")
    last: tuple[int, ...] | None = Field(None, description="By shard, the number up to which its log was brought over, once all is.")

    def brought(self, last: tuple[int, ...]) -> "MovedFrom":
        """Note up to which numbers everything was brought over; once."""
        return self if self.last is not None else self.model_copy(update={"last": last})


class OpeningFile(Settings):
    """What a gateway says of a collection that it opens ahead."""

    is_open: bool


def moved_from_key(full_name: str) -> str:
    """Give the key of what a collection was made of."""
    return collection_key(full_name, "moved_from.json")


def read_moved_from(store: Store, full_name: str) -> MovedFrom:
    """Read what a collection was made of."""
    return read_or_default(store, MovedFrom, moved_from_key(full_name))


def read_former_shards(store: Store, collection: Collection) -> FormerShards:
    """Read the former numbers of shards of a collection."""
    return FormerShards(read_moved_from(store, collection.full_name).former_shards, collection.num_shards)


def change_moves(store: Store, change: Callable[[Moves], Moves]) -> None:
    """Change moves.json, and let gateways see that."""
    replace_file(store, Moves, MOVES_KEY, change)
    replace_file(store, Names, NAMES_KEY, Names.counted)


def is_being_opened(store: Store, full_name: str) -> bool:
    """Tell whether a gateway opens a collection ahead, and is not done with that."""
    keys = list(store.list(collection_key(full_name, OPENING)))
    return not all(read_file(store, OpeningFile, key).is_open for key in keys)


def tell_opening(store: Store, full_name: str, gateway: str, *, is_open: bool) -> None:
    """Say that a gateway opens a collection ahead, or has it open."""
    store.put(collection_key(full_name, f"{OPENING}{gateway}.json"), json_bytes(OpeningFile(is_open=is_open)))
