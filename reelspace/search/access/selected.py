"""Cuts what a row brings down to what its client asked for: parts of payloads, vectors out of their JSON."""

from collections.abc import Sequence

import numpy as np
import orjson

from reelspace.search.access.requests import Selection
from reelspace.search.access.results import NamedVectors
from reelspace.search.compute.queries import Record
from reelspace.search.storage.payload_edits import excluded, included


def select_payload(payload: bytes, selection: Selection) -> bytes:
    """Keep of a payload, a JSON object as bytes, what was asked for."""
    if selection.include is None and not selection.exclude:
        return payload
    parsed = orjson.loads(payload)
    if selection.include is not None:
        parsed = included(parsed, selection.include)
    return orjson.dumps(excluded(parsed, selection.exclude) if selection.exclude else parsed)


def select_payloads(payloads: Sequence[bytes] | None, selection: Selection) -> Sequence[bytes] | None:
    """Keep of each payload what was asked for."""
    if payloads is None or (selection.include is None and not selection.exclude):
        return payloads
    return [select_payload(payload, selection) for payload in payloads]


def select_record(record: Record, selection: Selection) -> Record:
    """Keep of a row's payload what was asked for; its vectors are as asked already."""
    if record.payload is None or (selection.include is None and not selection.exclude):
        return record
    return Record(record.id, select_payload(record.payload, selection), record.vectors)


def read_vectors(vectors: bytes) -> NamedVectors:
    """Read a hit's vectors from the JSON in which shards give them."""
    return {name: np.array(values, dtype=np.float32) for name, values in orjson.loads(vectors).items()}
