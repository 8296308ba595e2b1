"""Collections to be resharded, what is written to them as a function of its key, and what they must hold: a dict by brute force."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson

from reelspace.core.store import Store
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import Scroll
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.reshard import Patience, Resharded, reshard
from reelspace.search.scheduling.reshard_copy import Work
from reelspace.search.storage.ids import Id
from reelspace.search.storage.layout import Collection, VectorSettings, read_collection
from reelspace.search.storage.log import Log
from reelspace.search.storage.moves import read_former_shards
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.points import Point, apply_writes, changed
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.replaced_file import read_or_default, replace_file
from reelspace.search.storage.rows import Change, Op
from reelspace.search.storage.writer import Clock

NAME = "things"
NUM_IDS = 60
AT_ONCE = Patience(announced_s=0.0, opening_s=0.0)
HOUR_S = 3600.0
Plain = dict[Id, tuple[dict[str, list[float]], dict[str, Any]]]


def make(store: Store, num_shards: int, name: str = NAME) -> Collection:
    """Make a collection with two vectors, of which rows may lack one."""
    vectors = {"": VectorSettings(dimension=3, metric="euclid"), "sound": VectorSettings(dimension=2, metric="dot")}
    made = Collection(name=name, space_id=f"{num_shards:016x}", vectors=vectors, num_shards=num_shards)
    create_collection(store, made)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection(name, made.full_name))
    return made


def meant(store: Store, name: str = NAME) -> Collection:
    """Give the collection that the name means now."""
    return read_collection(store, read_or_default(store, Names, NAMES_KEY).collections[name])


def resharded(store: Store, num_shards: int, name: str = NAME, patience: Patience = AT_ONCE) -> Resharded:
    return reshard(store, name, num_shards, Work(1, Clock().now_us), patience)


def changes_of(key: str) -> list[Change]:
    """Draw what a request writes: upserts of all or some vectors, deletions and changes of payloads, some of the same row."""
    draw = random.Random(key)
    return [_change(draw, draw.randrange(NUM_IDS)) for _ in range(draw.randint(1, 5))]


def _change(draw: random.Random, id: int) -> Change:
    kind = draw.randrange(6)
    if kind == 0:
        return Change(Op.DELETE, id)
    if kind == 1:
        return Change(Op.MERGE_PAYLOAD, id, payload={draw.choice("abc"): draw.randrange(9)})
    if kind == 2:
        return Change(Op.DROP_PAYLOAD, id, payload=[draw.choice("abc")])
    vectors = {"": [draw.uniform(1, 9) for _ in range(3)], "sound": [draw.uniform(1, 9) for _ in range(2)]}
    wanted = draw.choice([("", "sound"), ("", "sound"), ("",), ("sound",)])
    return Change(Op.UPSERT, id, {name: vectors[name] for name in wanted}, {"a": draw.randrange(9), "key": str(draw.random())})


def write(store: Store, made: Collection, *keys: str) -> None:
    """Write requests one after the other, as a gateway does, and wait for each."""
    writers = LogWriters(store, made, read_former_shards(store, made))
    try:
        for key in keys:
            for future in writers.submit(key, changes_of(key)).values():
                future.result()
    finally:
        writers.close()


def expected(keys: Iterable[str]) -> Plain:
    """Give the rows after requests that came in this order."""
    rows: Plain = {}
    for key in keys:
        for change in changes_of(key):
            if change.op == Op.UPSERT:
                vectors = {name: np.array(one, dtype=np.float32).tolist() for name, one in change.vectors.items()}
                rows[change.id] = vectors, orjson.loads(orjson.dumps(change.payload))
            elif change.op == Op.DELETE:
                rows.pop(change.id, None)
            elif change.id in rows:
                vectors, payload = rows[change.id]
                rows[change.id] = vectors, changed(payload, Op(change.op), change.payload)
    return rows


def served(store: Store, made: Collection) -> Plain:
    """Read every row as shards serve it."""
    rows: Plain = {}
    for shard in range(made.num_shards):
        with ShardHost(store, made, shard, Hosting(poll_s=HOUR_S)) as host:
            records = host.read(Scroll(b"", None, 10_000, True, tuple(made.vectors)))
        assert isinstance(records, list)
        for record in records:
            assert record.id not in rows
            rows[record.id] = _plain(record.vectors or {}), orjson.loads(record.payload or b"{}")
    return rows


def logged(store: Store, made: Collection) -> Plain:
    """Read every row of a collection whose logs are whole and begin with it, by its logs alone."""
    points: dict[Id, Point] = {}
    for shard in range(made.num_shards):
        for entry in read_from(Log(store, made.full_name, shard, made.fields), 0):
            apply_writes(points, entry.writes)
    return {id: (_plain(point.vectors), dict(point.payload)) for id, point in points.items()}


def _plain(vectors: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: one.tolist() for name, one in vectors.items()}


def client_keys(store: Store, made: Collection, after: int = 0) -> list[str]:
    """Give the keys of all writes in the logs, as clients would send them."""
    logs = [Log(store, made.full_name, shard, made.fields) for shard in range(made.num_shards)]
    return [write.client_key for log in logs for entry in read_from(log, max(after, log.floor())) for write in entry.writes]
