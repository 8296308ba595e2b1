"""Upserts the rows of a file into the logs of a collection, some writes ahead of what is durable."""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from secrets import token_hex
from typing import Final

from reelspace.core.errors import TemporaryError
from reelspace.core.progress import progress
from reelspace.core.store import Store
from reelspace.search.storage.layout import Collection
from reelspace.search.storage.log import Log
from reelspace.search.storage.rows import Rows
from reelspace.search.storage.writer import LogWriter
from reelspace.search.tables.batch import Batch
from reelspace.search.tools.batches import check_batch, rows_of, split

NUM_AHEAD: Final = 8
NUM_TRIES: Final = 5


def upsert_into_log(store: Store, made: Collection, batches: Iterable[Batch], num_rows: int) -> None:
    """Write batches, each of which fits into one write; all of it is durable when this returns.

    Raises:
        TableError: a row may not be stored; what came before it is stored.
        TemporaryError: the store did not answer, each time it was tried.
    """
    run, num_read = token_hex(8), 0
    ahead: deque[_Sent] = deque()
    with ExitStack() as stack, progress(num_rows, "rows imported") as told:
        logs = [Log(store, made.full_name, shard, made.fields) for shard in range(made.num_shards)]
        writers = [stack.enter_context(LogWriter(log)) for log in logs]
        for number, batch in enumerate(batches):
            check_batch(batch, made.fields, num_read)
            num_read += len(batch.ids)
            for shard, part in split(batch, made.num_shards).items():
                ahead.append(_Sent(writers[shard], f"{run}-{number}", rows_of(part)))
            while len(ahead) > NUM_AHEAD:
                ahead.popleft().wait()
            told.advance(len(batch.ids))
        while ahead:
            ahead.popleft().wait()


class _Sent:
    """Rows on their way, sent again under the same key where it is not known whether they arrived."""

    def __init__(self, writer: LogWriter, key: str, rows: Rows) -> None:
        self._writer, self._key, self._rows = writer, key, rows
        self._future: Future[int] = writer.submit(key, rows)

    def wait(self) -> None:
        for _ in range(NUM_TRIES - 1):
            try:
                self._future.result()
                return
            except TemporaryError:
                self._future = self._writer.submit(self._key, self._rows)
        self._future.result()
