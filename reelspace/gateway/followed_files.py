"""Reads files again when they change."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from reelspace.core.errors import ReelspaceError
from reelspace.core.log import log

LOOK_S: Final = 1.0


class FollowedFiles:
    """Looks at files once a second and takes them again when their bytes have changed, until its task is cancelled.

    What cannot be read or taken is logged once, and what was taken before stays.
    """

    def __init__(self, paths: Sequence[Path], take: Callable[[], None]) -> None:
        """Take the files for the first time.

        Args:
            take: reads the files and uses them; raises an error of our tree where it cannot, and has changed nothing then.
        """
        self._paths = tuple(paths)
        self._take = take
        self._seen = self._bytes()
        take()

    async def follow(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            found = await asyncio.to_thread(self._bytes)
            if found == self._seen:
                continue
            self._seen = found
            try:
                self._take()
            except ReelspaceError as error:
                log("file_not_taken", error=str(error))
            else:
                log("file_taken", paths=[str(path) for path in self._paths])

    def _bytes(self) -> list[bytes | None]:
        return [_read(path) for path in self._paths]


@asynccontextmanager
async def following(files: FollowedFiles | None) -> AsyncIterator[None]:
    """Follow files, None for none, until the context ends."""
    task = None if files is None else asyncio.get_running_loop().create_task(files.follow())
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
