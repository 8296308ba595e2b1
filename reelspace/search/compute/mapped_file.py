"""A file whose bytes a shard maps and reads as they are needed."""

import os
import weakref
from pathlib import Path

from reelspace.search.storage.layout import FileFacts


class MappedFile:
    """A file of a generation, held open: it can be read again when its name is gone, as what is mapped of it can."""

    def __init__(self, path: Path, facts: FileFacts) -> None:
        """Open a file that is there; `facts` are what its manifest says of it."""
        self.name, self.facts = path.name, facts
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    @property
    def size_bytes(self) -> int:
        """Give its length as it is now."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Read some bytes, fewer at the end; not through the mapping, where a file that was cut short ends the process."""
        return os.pread(self._descriptor, num_bytes, offset)
