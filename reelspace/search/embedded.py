"""Vector search inside the caller's process: the engine of the servers over a directory, without one.

Every write is on the disk before it returns, and seen by every search that follows. What is written here can be served by
`reelspace search serve` and the other way round, one after the other.

Legend: N rows, D dimension.
"""

import fcntl
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple
from uuid import uuid4

import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

from reelspace.core.errors import OutputOccupied, UserError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.filter_request import parse_filter
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.access.merge import all_records, first_records, merge_answers, total
from reelspace.search.compute.build import IndexSettings
from reelspace.search.compute.filters import encode_filter
from reelspace.search.compute.generation import Placement
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import Count, Read, ReadAnswer, Record, Retrieve, Scroll, ShardQuery
from reelspace.search.compute.shard import QueryRefused
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.rebuild import drop_old, make_current, rows_of_shard
from reelspace.search.scheduling.retire import remove_deleted
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import Collection, Metric, VectorSettings, read_collection
from reelspace.search.storage.log import Log
from reelspace.search.storage.names import NAMES_KEY, Names, check_new_name
from reelspace.search.storage.replaced_file import read_or_default, replace_file
from reelspace.search.storage.rows import Change, Op, RowRefused
from reelspace.search.storage.seen_numbers import SeenNumbers

LOCK: Final = "embedded.lock"
SYNC_S: Final = 60.0
MAX_FILTERS: Final = 4096
_OWN_KEY: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(@\d+(\.\d+)*)?")
"""Request keys of what is written here, also where it was resharded; it is never sent again. A gateway's keys have a #part."""
Where = Mapping[str, Any]


class Hit(NamedTuple):
    """One hit; score is a cosine or inner product, or a Euclidean distance; payload is None when it was not asked for.

    A tuple, for ten frozen dataclasses take a fifth of the time of a search.
    """

    id: Id
    score: float
    payload: Mapping[str, Any] | None = None


class Database:
    """Collections in one directory."""

    def __init__(self, directory: str | Path, *, mapped: bool = False) -> None:
        """Open or make a database; see `reelspace.search.open`."""
        Path(directory).mkdir(parents=True, exist_ok=True)
        self._lock = _locked(Path(directory) / LOCK)
        self._store = LocalStore(Path(directory))
        self._placement = Placement(mapped_in=Path(directory) if mapped else None)
        self._open: dict[str, EmbeddedCollection] = {}

    @property
    def names(self) -> list[str]:
        """Names of the collections."""
        return sorted(self._names().collections)

    def create_collection(
        self, name: str, vectors: int | Mapping[str, VectorSettings], metric: Metric = "cosine", num_shards: int = 1
    ) -> "EmbeddedCollection":
        """Make a collection without rows.

        Args:
            vectors: the dimension of its only vectors, or settings by name.
            metric: of the only vectors.

        Raises:
            UserError: the name is none, or taken.
        """
        check_new_name(name)
        made = Collection(
            name=name,
            space_id=token_hex(8),
            vectors={"": VectorSettings(dimension=vectors, metric=metric)} if isinstance(vectors, int) else dict(vectors),
            num_shards=num_shards,
        )
        if name in self._names().collections:
            raise UserError(f"collection {name!r} exists already")
        create_collection(self._store, made)
        replace_file(self._store, Names, NAMES_KEY, lambda names: names.with_collection(name, made.full_name))
        return self.collection(name)

    def collection(self, name: str) -> "EmbeddedCollection":
        """Open a collection; UserError if there is none of that name."""
        full_name = self._names().collections.get(name)
        if full_name is None:
            raise UserError(f"collection {name[:80]!r} does not exist; here are {', '.join(self.names) or 'none'}")
        if full_name not in self._open:
            made = read_collection(self._store, full_name)
            self._open[full_name] = EmbeddedCollection(self._store, made, self._placement)
        return self._open[full_name]

    def drop_collection(self, name: str) -> None:
        """Forget a collection and remove its rows; nothing happens if there is none."""
        full_name = self._names().collections.get(name)
        if full_name is None:
            return
        replace_file(self._store, Names, NAMES_KEY, lambda names: names.without_collection(name, full_name))
        if full_name in self._open:
            self._open.pop(full_name).close()
        remove_deleted(self._store, full_name)

    def close(self) -> None:
        """Let go of the directory."""
        for one in self._open.values():
            one.close()
        self._open.clear()
        os.close(self._lock)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _names(self) -> Names:
        return read_or_default(self._store, Names, NAMES_KEY)


class EmbeddedCollection:
    """One collection of a database. Calls may come from any thread."""

    def __init__(self, store: LocalStore, made: Collection, placement: Placement) -> None:
        self._store, self._made = store, made
        with ExitStack() as opened:
            hosting = Hosting(placement, poll_s=3600.0)
            self._hosts = [opened.enter_context(ShardHost(store, made, shard, hosting)) for shard in range(made.num_shards)]
            opened.pop_all()
        self._writers = LogWriters(store, made)
        self._seen = SeenNumbers()
        self._filters: dict[bytes, bytes] = {}

    @property
    def num_rows(self) -> int:
        """Rows of the collection."""
        return sum(host.num_rows for host in self._hosts)

    def upsert(
        self, ids: Sequence[Id], vectors: ArrayLike | Mapping[str, ArrayLike], payloads: Sequence[Mapping[str, object]] | None = None
    ) -> None:
        """Put rows in the place of whatever has their ids; they are durable when this returns.

        Args:
            vectors: N x D, or by name.

        Raises:
            RowRefused: an id, vector or payload may not be stored; nothing was.
        """
        given = dict(vectors) if isinstance(vectors, Mapping) else {"": vectors}
        columns = {name: _array(one, RowRefused, f"vectors {name!r}") for name, one in given.items()}
        for name, column in columns.items():
            if column.ndim != 2 or len(column) != len(ids):
                raise UserError(f"vectors {name!r}: expected {len(ids)} rows, got the shape {list(column.shape)}")
        if payloads is not None and len(payloads) != len(ids):
            raise UserError(f"payloads: expected {len(ids)}, got {len(payloads)}")
        changes = [
            Change(Op.UPSERT, id, {name: column[place] for name, column in columns.items()}, None if payloads is None else payloads[place])
            for place, id in enumerate(ids)
        ]
        self._write(changes)

    def delete(self, ids: Sequence[Id] | None = None, where: Where | None = None) -> None:
        """Delete rows by id, or all that a filter allows."""
        self._write([Change(Op.DELETE, id) for id in self._selected(ids, where)])

    def set_payload(self, payload: Mapping[str, object], ids: Sequence[Id] | None = None, where: Where | None = None) -> None:
        """Set keys of the payload of rows by id, or of all that a filter allows; None removes a key."""
        self._write([Change(Op.MERGE_PAYLOAD, id, payload=payload) for id in self._selected(ids, where)])

    def search(
        self,
        vector: ArrayLike,
        limit: int = 10,
        *,
        where: Where | None = None,
        using: str = "",
        with_payload: bool = False,
    ) -> list[Hit]:
        """Find the rows nearest to a vector, best first; `where` is a filter of the Qdrant dialect.

        Raises:
            QueryRefused: the vector's length, a value that is not finite, the name, or the limit.
            RequestRefused: the filter is none.
        """
        as_is = isinstance(vector, np.ndarray) and vector.dtype == np.float32 and vector.flags.c_contiguous
        vector_D = vector if isinstance(vector, np.ndarray) and as_is else _narrowed(vector)
        encoded = b"" if where is None else self._filter(where)
        if len(self._hosts) == 1 and not with_payload:
            lone = self._hosts[0].lone(ShardQuery(vector_D, limit, using, encoded))
            if lone is not None:
                return list(map(Hit, lone[0], self._in_dialect(using, lone[1])))
        query = ShardQuery(vector_D, limit, using, encoded, (), with_payload)
        answers = [host.search([query]) for host in self._hosts]
        merged = merge_answers(answers, limit)
        ids = merged.ids()[0]
        scores = self._in_dialect(using, merged.scores_QK[0, : len(ids)].tolist())
        if not with_payload:
            return list(map(Hit, ids, scores))
        places = [merged.place(0, hit) for hit in range(len(ids))]
        texts = [answers[part].payloads_QK[0, column] for part, column in places]  # type: ignore[index]
        return [Hit(id, score, orjson.loads(text)) for id, score, text in zip(ids, scores, texts, strict=True)]

    def get(self, ids: Sequence[Id], *, with_vectors: bool = False) -> list[Record]:
        """Look rows up by id; unknown ids are left out."""
        names = tuple(self._made.vectors) if with_vectors else ()
        found = {one.id: one for one in all_records(self._read(Retrieve(tuple(ids), True, names)))}
        return [found[id] for id in ids if id in found]

    def scroll(self, limit: int = 10, *, start: Id | None = None, where: Where | None = None) -> list[Record]:
        """List rows in the order of their ids, from the id `start` on."""
        return first_records(self._read(Scroll(b"" if where is None else self._filter(where), start, limit)), limit)

    def count(self, where: Where | None = None) -> int:
        """Count rows, all or those that a filter allows."""
        return total(self._read(Count(b"" if where is None else self._filter(where))))

    def optimize(self, settings: IndexSettings | None = None) -> None:
        """Build the index anew from all rows and drop what it replaces; searches go on meanwhile."""
        settings = settings or IndexSettings(num_threads=os.cpu_count() or 1)
        for shard, host in enumerate(self._hosts):
            with TemporaryDirectory(prefix="reelspace-optimize-") as scratch:
                host.catch_up()
                rows = host.with_shard(lambda loaded: rows_of_shard(loaded, self._made))
                make_current(self._store, self._made, shard, rows, settings, Path(scratch))
            host.refresh()
            self._release(shard, rows.contains_log)
            drop_old(self._store, self._made, shard, self._seen)

    def close(self) -> None:
        """Finish what is being written and let go of the rows."""
        self._writers.close()
        for host in self._hosts:
            host.close()

    def _write(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        # A future that fails leaves the rest as they are: each shard's part is whole or absent.
        for shard, number in self._writers.submit(str(uuid4()), changes).items():
            self._hosts[shard].sync(number.result(), SYNC_S)

    def _release(self, shard: int, until: int) -> None:
        """Let go of what was written without a server up to a number, as far as nothing else lies before it in the log."""
        log = Log(self._store, self._made.full_name, shard, self._made.fields)
        number = log.floor()
        while number < until and (entry := log.read(number + 1)):
            if not all(_OWN_KEY.fullmatch(write.client_key) for write in entry.writes):
                break
            number = entry.number
        self._seen.release(log, number)

    def _in_dialect(self, using: str, scores: list[float]) -> list[float]:
        if self._made.vectors[using].metric == "euclid":
            return [math.sqrt(max(-one, 0.0)) for one in scores]
        return scores

    def _filter(self, where: Where) -> bytes:
        key = orjson.dumps(where)
        found = self._filters.get(key)
        if found is None:
            if len(self._filters) >= MAX_FILTERS:
                self._filters.clear()
            found = self._filters[key] = encode_filter(parse_filter(where, "where"))
        return found

    def _selected(self, ids: Sequence[Id] | None, where: Where | None) -> list[Id]:
        if (ids is None) == (where is None):
            raise UserError("expected ids or a filter, got both or none")
        if ids is not None:
            return list(ids)
        encoded = self._filter(where or {})
        answers = [host.read(Scroll(encoded, None, host.num_rows + 1, with_payload=False)) for host in self._hosts]
        return [one.id for one in all_records(answers)]

    def _read(self, request: Read) -> list[ReadAnswer]:
        return [host.read(request) for host in self._hosts]


def _narrowed(vector: ArrayLike) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # 1e39 becomes infinite and is refused as such
        return np.ascontiguousarray(_array(vector, QueryRefused, "vector"), dtype=np.float32)


def _array(value: ArrayLike, refused: type[UserError], where: str) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of unequal length
        raise refused(f"{where}: expected numbers, as many in each: {error}") from error
    if array.dtype.kind not in "fiu":
        raise refused(f"{where}: expected numbers, got {array.dtype}")
    return array


def _locked(path: Path) -> int:
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise OutputOccupied(f"{path.parent} is open in another process: close it there, or use a server for both") from error
    return file
