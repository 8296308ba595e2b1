"""The part of the catalog that the key of the current request may see."""

from reelspace.gateway.guard import Guard
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.collection_request import KeyKind
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.requests import AliasAction, CreateAlias, CreateCollection, DeleteAlias
from reelspace.search.access.results import CollectionFacts


class KeyCatalog:
    """A catalog behind a guard; names that a key may not see are refused before they are looked up, and left out of lists."""

    def __init__(self, catalog: Catalog, guard: Guard) -> None:
        self._catalog = catalog
        self._guard = guard

    async def service(self, name: str) -> CollectionService:
        """Find a collection."""
        self._guard.check_sees(name)
        return await self._catalog.service(name)

    def service_now(self, name: str) -> CollectionService | None:
        """Find one that was found before."""
        self._guard.check_sees(name)
        return self._catalog.service_now(name)

    def opened(self, name: str) -> CollectionService | None:
        """Find one that is open."""
        self._guard.check_sees(name)
        return self._catalog.opened(name)

    def names(self) -> list[str]:
        """Give the names of those that the key sees."""
        return [name for name in self._catalog.names() if self._guard.sees(name)]

    async def exists(self, name: str) -> bool:
        """Tell whether a name means one."""
        self._guard.check_sees(name)
        return await self._catalog.exists(name)

    async def create(self, name: str, request: CreateCollection, timeout_s: float) -> None:
        """Make one of a name that the key lists."""
        self._guard.check_holds(name)
        await self._catalog.create(name, request, timeout_s)

    async def delete(self, name: str, timeout_s: float) -> bool:
        """Forget one."""
        self._guard.check_sees(name)
        return await self._catalog.delete(name, timeout_s)

    async def aliases(self, name: str | None = None) -> list[tuple[str, str]]:
        """Give aliases of collections that the key sees."""
        if name is not None:
            self._guard.check_sees(name)
        return [(alias, one) for alias, one in await self._catalog.aliases(name) if self._guard.sees(alias)]

    async def change_aliases(self, actions: tuple[AliasAction, ...], timeout_s: float) -> None:
        """Apply actions on aliases that the key lists, to collections that it sees."""
        for action in actions:
            if isinstance(action, CreateAlias):
                self._guard.check_sees(action.collection)
                self._guard.check_holds(action.alias)
            elif isinstance(action, DeleteAlias):
                self._guard.check_holds(action.alias)
            else:
                self._guard.check_holds(action.old)
                self._guard.check_holds(action.new)
        await self._catalog.change_aliases(actions, timeout_s)

    async def describe(self, name: str, timeout_s: float) -> CollectionFacts:
        """Tell what one is and holds."""
        self._guard.check_sees(name)
        return await self._catalog.describe(name, timeout_s)

    async def index_key(self, name: str, key: str, kind: KeyKind, timeout_s: float) -> None:
        """Keep a payload key in columns."""
        self._guard.check_sees(name)
        await self._catalog.index_key(name, key, kind, timeout_s)

    async def drop_key(self, name: str, key: str, timeout_s: float) -> None:
        """Keep a payload key in columns no more."""
        self._guard.check_sees(name)
        await self._catalog.drop_key(name, key, timeout_s)
