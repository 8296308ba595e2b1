"""One writer of the log per shard, made at the first write, and rows on their way to the shards they belong to."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from reelspace.core.store import Store
from reelspace.search.storage.ids import shard_of
from reelspace.search.storage.layout import Collection
from reelspace.search.storage.log import Log
from reelspace.search.storage.rows import Change, rows_of
from reelspace.search.storage.writer import LogWriter


class LogWriters:
    """Appends to the logs of one collection; may be used from several threads."""

    def __init__(self, store: Store, collection: Collection) -> None:
        self._store = store
        self._collection = collection
        self._fields = collection.fields
        self._writers: dict[int, LogWriter] = {}
        self._lock = threading.Lock()

    def submit(self, key: str, changes: Sequence[Change]) -> Mapping[int, "Future[int]"]:
        """Hand each shard the changes of its rows, in their order, as one write.

        Args:
            key: the request key of each of these writes.

        Returns:
            By shard, the number under which its write is durable once it is; see LogWriter.submit for what it may raise.

        Raises:
            RowRefused: a row may not enter the log; nothing is written.
            LogBusy, UserError: see LogWriter.submit; other shards may have been written: send all again under the same key.
        """
        parts: dict[int, list[Change]] = {}
        for change in changes:
            parts.setdefault(shard_of(change.id, self._collection.num_shards), []).append(change)
        rows = {shard: rows_of(part, self._fields) for shard, part in sorted(parts.items())}
        return {shard: self._writer(shard).submit(key, part) for shard, part in rows.items()}

    def close(self) -> None:
        """Finish what was submitted and end the threads."""
        with self._lock:
            writers, self._writers = list(self._writers.values()), {}
        for writer in writers:
            writer.close()

    def _writer(self, shard: int) -> LogWriter:
        with self._lock:
            if shard not in self._writers:
                self._writers[shard] = LogWriter(Log(self._store, self._collection.full_name, shard, self._fields))
            return self._writers[shard]
