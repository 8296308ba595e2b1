"""What handlers ask of collections: the catalog, or the part of it that a client may see."""

from typing import Protocol

from reelspace.search.access.collection_request import KeyKind
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.requests import AliasAction, CreateCollection
from reelspace.search.access.results import CollectionFacts


class SeenCollections(Protocol):
    """Finds, makes and changes collections by the names that clients use; see Catalog for what each method does and raises."""

    async def service(self, name: str) -> CollectionService:
        """Find a collection."""

    def service_now(self, name: str) -> CollectionService | None:
        """Find one that was found before and may be used, None else."""

    def opened(self, name: str) -> CollectionService | None:
        """Find one that is open already, None else."""

    def names(self) -> list[str]:
        """Give the names of all."""

    async def exists(self, name: str) -> bool:
        """Tell whether a name means one."""

    async def create(self, name: str, request: CreateCollection, timeout_s: float) -> None:
        """Make one."""

    async def delete(self, name: str, timeout_s: float) -> bool:
        """Forget one."""

    async def aliases(self, name: str | None = None) -> list[tuple[str, str]]:
        """Give aliases with the name each means."""

    async def change_aliases(self, actions: tuple[AliasAction, ...], timeout_s: float) -> None:
        """Apply actions on aliases together."""

    async def describe(self, name: str, timeout_s: float) -> CollectionFacts:
        """Tell what one is and holds."""

    async def index_key(self, name: str, key: str, kind: KeyKind, timeout_s: float) -> None:
        """Keep a payload key in columns."""

    async def drop_key(self, name: str, key: str, timeout_s: float) -> None:
        """Keep a payload key in columns no more."""
