"""collections/names.json: the names and aliases that clients use for collections that clients made. Pure.

A name means the full name under which a collection is stored; one that is deleted and made again means another.
"""

import re
from typing import Final

from pydantic import Field

from reelspace.core.errors import SettingError, UserError
from reelspace.core.settings import Settings
from reelspace.search.storage.layout import NAME_PATTERN

NAMES_KEY: Final = "collections/names.json"


class NameRefused(SettingError):
    """A name that no collection may have."""


class NameTaken(UserError):
    """A name or alias means something already."""


class NameUnknown(UserError):
    """No collection or alias of that name."""


def check_new_name(name: str) -> None:
    """Refuse a name under which no collection may be made: NameRefused, for it becomes part of keys and paths."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise NameRefused(f"name {name[:80]!r}: expected up to 64 letters, digits, '.', '_' or '-', a letter or digit first")


class Names(Settings):
    """What names.json says. Each method gives the names after one change; doing it twice is as doing it once."""

    version: int = Field(0, ge=0, description="Counts the changes.")
    collections: dict[str, str] = Field(default_factory=dict, description="Full name by name.")
    aliases: dict[str, str] = Field(default_factory=dict, description="Name by alias; it may be one of the promoted collection.")

    def with_collection(self, name: str, full_name: str) -> "Names":
        """Add a collection.

        Raises:
            NameTaken: the name means another collection, or is an alias.
        """
        if self.collections.get(name) == full_name:
            return self
        if name in self.collections:
            raise NameTaken(f"Collection `{name}` already exists")
        if name in self.aliases:
            raise NameTaken(f"`{name}` is an alias of `{self.aliases[name]}` already")
        return self._next(self.collections | {name: full_name}, self.aliases)

    def without_collection(self, name: str, full_name: str) -> "Names":
        """Forget a name and its aliases, if it still means this collection."""
        if self.collections.get(name) != full_name:
            return self
        collections = {one: full for one, full in self.collections.items() if one != name}
        return self._next(collections, {alias: one for alias, one in self.aliases.items() if one != name})

    def moved(self, old: str, new: str) -> "Names":
        """Let the name of a collection mean another one, by their full names.

        Raises:
            NameUnknown: no name means either of them.
        """
        if new in self.collections.values():
            return self
        if old not in self.collections.values():
            raise NameUnknown(f"no name means the collection {old} any more")
        return self._next({name: new if full == old else full for name, full in self.collections.items()}, self.aliases)

    def counted(self) -> "Names":
        """Count a change of what is read with the names: moves.json."""
        return self._next(self.collections, self.aliases)

    def with_alias(self, alias: str, name: str) -> "Names":
        """Let an alias mean a name, whatever it meant before.

        Raises:
            NameTaken: the alias is the name of a collection.
        """
        if alias in self.collections:
            raise NameTaken(f"`{alias}` is a collection already")
        return self if self.aliases.get(alias) == name else self._next(self.collections, self.aliases | {alias: name})

    def without_alias(self, alias: str) -> "Names":
        """Forget an alias, if there is one."""
        if alias not in self.aliases:
            return self
        return self._next(self.collections, {one: name for one, name in self.aliases.items() if one != alias})

    def renamed_alias(self, old: str, new: str) -> "Names":
        """Call an alias by another name, whatever that meant before.

        Raises:
            NameUnknown: no such alias; also the second time, so it cannot be told from a mistake.
            NameTaken: see with_alias.
        """
        if old not in self.aliases:
            raise NameUnknown(f"Alias `{old}` doesn't exist")
        return self if old == new else self.without_alias(old).with_alias(new, self.aliases[old])

    def _next(self, collections: dict[str, str], aliases: dict[str, str]) -> "Names":
        return Names(version=self.version + 1, collections=collections, aliases=aliases)
