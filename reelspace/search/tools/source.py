"""All rows of a collection in batches, from a store or through a gateway.

Legend: N rows of one batch, D dimension.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from reelspace.core.errors import UserError
from reelspace.core.store import Store, open_store
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import Record, Scroll
from reelspace.search.storage.ids import Id, next_id
from reelspace.search.storage.layout import VectorSettings
from reelspace.search.tables.batch import Batch
from reelspace.search.tools.gateway import Gateway, id_of, vectors_of
from reelspace.search.tools.named import open_named

PAGE_FLOATS: Final = 1 << 20
MAX_PAGE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Source:
    """A collection: its vectors by name, and what reads all its rows, each with vectors of some names as they are stored."""

    vectors: dict[str, VectorSettings]
    read: Callable[[Sequence[str]], Iterator[Batch]]

    def names(self, vector: str | None) -> list[str]:
        """Give the name of one of the vectors, or of all; UserError if there is none of the name."""
        if vector is None:
            return list(self.vectors)
        if vector not in self.vectors:
            raise UserError(f"vector {vector[:80]!r}: expected one of {', '.join(map(repr, self.vectors))}")
        return [vector]


def source_of_store(store: Store, name: str) -> Source:
    """Read a collection's shards one after the other, each as it is when its turn comes; one shard is in memory at a time."""
    made = open_named(store, name)

    def read(names: Sequence[str]) -> Iterator[Batch]:
        page = _page(made.vectors, names)
        for shard in range(made.num_shards):
            with ShardHost(store, made, shard, Hosting(poll_s=3600.0)) as host:
                start: Id | None = None
                while records := _records(host.read(Scroll(b"", start, page, True, tuple(names)))):
                    yield _batch([one.id for one in records], [one.vectors or {} for one in records], names, _payloads(records))
                    if (start := next_id(records[-1].id)) is None:
                        break

    return Source(dict(made.vectors), read)


def source_of_gateway(gateway: Gateway, name: str) -> Source:
    """Read a collection page by page; rows written meanwhile may be among them."""
    vectors = gateway.vectors(name)
    if vectors is None:
        raise UserError(f"collection {name[:80]!r} does not exist at {gateway.url}")

    def read(names: Sequence[str]) -> Iterator[Batch]:
        wanted: Any = True if set(names) == {""} else list(names)
        body: dict[str, Any] = {"limit": _page(vectors, names), "with_payload": True, "with_vector": wanted}
        while True:
            found = gateway.ask("POST", f"/collections/{name}/points/scroll", body)
            points = found["points"]
            if points:
                payloads = [orjson.dumps(point.get("payload") or {}) for point in points]
                yield _batch([id_of(point["id"]) for point in points], [vectors_of(point["vector"]) for point in points], names, payloads)
            if (offset := found["next_page_offset"]) is None:
                return
            body["offset"] = offset

    return Source(vectors, read)


@contextmanager
def opened_source(directory: str | None, url: str | None, name: str, api_key: str | None = None) -> Iterator[Source]:
    """Open a collection of a directory or of a gateway, with its key if it asks for one; UserError unless exactly one is given."""
    if (directory is None) == (url is None):
        raise UserError("expected either --dir or --url")
    if url is not None:
        with Gateway(url, api_key=api_key) as gateway:
            yield source_of_gateway(gateway, name)
    else:
        yield source_of_store(open_store(directory or ""), name)


def _page(vectors: dict[str, VectorSettings], names: Sequence[str]) -> int:
    return max(1, min(MAX_PAGE, PAGE_FLOATS // sum(vectors[name].dimension for name in names)))


def _records(answer: object) -> list[Record]:
    assert isinstance(answer, list), "Scroll is answered with rows"
    return answer


def _payloads(records: Sequence[Record]) -> list[bytes]:
    return [record.payload or b"{}" for record in records]


def _batch(ids: list[Id], vectors: Sequence[Any], names: Sequence[str], payloads: list[bytes]) -> Batch:
    for name in names:
        missing = next((id for id, one in zip(ids, vectors, strict=True) if name not in one), None)
        if missing is not None:
            raise UserError(f"the row with id {missing} has no vector {name!r}: choose one that every row has")
    return Batch(ids, {name: np.stack([one[name] for one in vectors]) for name in names}, payloads)
