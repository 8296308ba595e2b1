"""Vector search: `reelspace.search.open(directory)` gives it inside this process, `reelspace search serve` as a server."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reelspace.search.embedded import Database


def open(directory: str, *, mapped: bool = False) -> "Database":
    """Open or make a database in a directory; close it, or use it as a context.

    Args:
        mapped: read vectors and codes from their files as they are needed, instead of holding them in memory.

    Raises:
        OutputOccupied: another process has it open.
    """
    # faiss takes a while to load, and most of what imports this package never searches.
    from reelspace.search.embedded import Database

    return Database(directory, mapped=mapped)
