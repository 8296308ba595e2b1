"""One writer of the log per shard, made at the first write, and rows on their way to the shards they belong to."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from reelspace.core.errors import StoreUnavailable
from reelspace.core.store import Store
from reelspace.search.storage.disk_room import DiskRoom
from reelspace.search.storage.former_shards import FormerShards, Place
from reelspace.search.storage.layout import Collection
from reelspace.search.storage.log import Log
from reelspace.search.storage.rows import Change, Op, rows_of
from reelspace.search.storage.writer import LogWriter, RequestKeyReused


class LogWriters:
    """Appends to the logs of one collection; may be used from several threads."""

    def __init__(self, store: Store, collection: Collection, former: FormerShards | None = None) -> None:
        """Begin without writers.

        Args:
            former: former numbers of shards of a collection that was resharded (moves.read_former_shards).
        """
        self._store = store
        self._collection = collection
        self._place = former or FormerShards((), collection.num_shards)
        self._fields = collection.fields
        self._room = DiskRoom(store)
        self._writers: dict[int, LogWriter] = {}
        self._lock = threading.Lock()

    def submit(self, key: str, changes: Sequence[Change]) -> Mapping[int, "Future[int]"]:
        """Hand each shard the changes of its rows, in their order, as one write, or one for each former shard that they were in.

        Args:
            key: the request key of each of these writes, beside the former shards.

        Returns:
            By shard, the number under which its write is durable once it is; see LogWriter.submit for what it may raise.

        Raises:
            RowRefused: a row may not enter the log; nothing is written.
            DiskFull: there is something but deletions, and little room on the store's disk; nothing is written.
            LogBusy, UserError: see LogWriter.submit; other shards may have been written: send all again under the same key.
        """
        if any(change.op is not Op.DELETE for change in changes):
            self._room.check()
        parts: dict[Place, list[Change]] = {}
        for change in changes:
            parts.setdefault(self._place.place(change.id), []).append(change)
        rows = {place: rows_of(part, self._fields) for place, part in sorted(parts.items(), key=lambda part: part[0].shard)}
        futures: dict[int, list[Future[int]]] = {}
        for place, part in rows.items():
            future = self._writer(place.shard).submit(self._place.key(key, place.former), part)
            futures.setdefault(place.shard, []).append(future)
        return {shard: _last_of(some) for shard, some in futures.items()}

    def read_ahead(self) -> "Sequence[Future[None]]":
        """Read every shard's log on, so that the next writes need not wait for that."""
        return [self._writer(shard).read_ahead() for shard in range(self._collection.num_shards)]

    @property
    def trouble(self) -> StoreUnavailable | None:
        """What keeps requests waiting, if the store fails; see LogWriter.trouble."""
        with self._lock:
            writers = list(self._writers.values())
        return next((writer.trouble for writer in writers if writer.trouble is not None), None)

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


def _last_of(futures: "Sequence[Future[int]]") -> "Future[int]":
    """Give the highest number of some writes once all are durable; else what went wrong, a key that came before only if nothing else."""
    if len(futures) == 1:
        return futures[0]
    last: Future[int] = Future()
    lock, num_open = threading.Lock(), len(futures)

    def ended(_: "Future[int]") -> None:
        nonlocal num_open
        with lock:
            num_open -= 1
            if num_open:
                return
        if not last.set_running_or_notify_cancel():
            return
        errors = [error for future in futures if (error := future.exception()) is not None]
        known = [error for error in errors if isinstance(error, RequestKeyReused)]
        if len(known) < len(errors):
            last.set_exception(next(error for error in errors if not isinstance(error, RequestKeyReused)))
        elif known:
            last.set_exception(max(known, key=lambda error: error.number))
        else:
            last.set_result(max(future.result() for future in futures))

    for future in futures:
        future.add_done_callback(ended)
    return last
