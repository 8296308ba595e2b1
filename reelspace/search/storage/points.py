"""What the rows of a collection are after some writes of its log: the meaning of each op, in one place."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from reelspace.search.storage.entries import Write
from reelspace.search.storage.ids import Id
from reelspace.search.storage.payload_edits import merged, without
from reelspace.search.storage.payload_path import parse_key
from reelspace.search.storage.rows import Op


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One row: float32 vectors by name, as they were given, and the payload."""

    vectors: Mapping[str, NDArray[np.float32]]
    payload: Mapping[str, object]


def apply_writes(points: dict[Id, Point], writes: Iterable[Write]) -> None:
    """Change the points as the writes say, in order; a payload's change for an id that is not there changes nothing."""
    for write in writes:
        rows = write.rows
        places = {name: dict(zip(one.rows_M.tolist(), one.vectors_MD, strict=True)) for name, one in rows.vectors.items()}
        for place, (op, id, payload) in enumerate(zip(rows.ops_N.tolist(), rows.ids, rows.payloads, strict=True)):
            if op == Op.UPSERT:
                vectors = {name: found[place] for name, found in places.items() if place in found}
                points[id] = Point(vectors, orjson.loads(payload or b"{}"))
            elif op == Op.DELETE:
                points.pop(id, None)
            elif id in points and payload is not None:
                points[id] = replace(points[id], payload=changed(points[id].payload, Op(op), orjson.loads(payload)))


def changed(payload: Mapping[str, Any], op: Op, given: Any) -> dict[str, Any]:
    """Give a payload after one of the ops that change payloads alone; `given` is what the op's row carries, parsed."""
    if op == Op.DROP_PAYLOAD:
        return without(dict(payload), [parse_key(key) for key in given])
    if op == Op.MERGE_PAYLOAD:
        return merged(dict(payload), given)
    if op == Op.MERGE_PAYLOAD_AT:
        return merged(dict(payload), given["payload"], parse_key(given["key"]))
    return dict(given)
