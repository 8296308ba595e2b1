"""Reads of a shard as JSON and back, for where a gateway and a shard are two processes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import orjson

from reelspace.core.errors import UserError
from reelspace.search.compute.queries import Count, Describe, Read, ReadAnswer, Record, Retrieve, Scroll, ShardFacts
from reelspace.search.storage.ids import Id

_KINDS: Final[dict[str, Any]] = {"retrieve": Retrieve, "scroll": Scroll, "count": Count, "describe": Describe}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


class CallRefused(UserError):
    """Bytes that are no call of ours."""


@dataclass(frozen=True, slots=True)
class Sync:
    """Ask up to which number the log is applied, and hurry if it is not up to this one."""

    number: int


@dataclass(frozen=True, slots=True)
class Look:
    """Look now which generations the pointer names, and tell what the shard holds."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Search for something, whatever it finds, to show that the shard works."""


PROBE: Final = b"probe"


def encode_call(call: Read | Sync | Look, generation: int = 0) -> bytes:
    """Write a call of a generation; 0 means the current one."""
    if isinstance(call, Sync):
        return orjson.dumps(["sync", {"number": call.number}, generation])
    if isinstance(call, Look):
        return orjson.dumps(["look", {}, generation])
    values = {key: _wire(value) for key, value in asdict(call).items()}
    return orjson.dumps([_NAMES[type(call)], values, generation])


def decode_call(data: bytes) -> tuple[Read | Sync | Look | Probe, int]:
    """Read a call and the generation it asks; CallRefused for anything else."""
    if data == PROBE:
        return Probe(), 0
    try:
        name, values, generation = orjson.loads(data)
        if name == "sync":
            return Sync(int(values["number"])), int(generation)
        if name == "look":
            return Look(), int(generation)
        if "where" in values:
            values["where"] = values["where"].encode()
        if "ids" in values:
            values["ids"] = tuple(_id(one) for one in values["ids"])
        if values.get("start") is not None:
            values["start"] = _id(values["start"])
        if "with_vectors" in values:
            values["with_vectors"] = tuple(values["with_vectors"])
        call: Read = _KINDS[name](**values)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise CallRefused(f"expected the bytes of a call, got {data[:80]!r}: {error}") from error
    return call, int(generation)


def encode_answer(answer: ReadAnswer) -> bytes:
    """Write the answer to a call."""
    if isinstance(answer, list):
        return orjson.dumps([_record(one) for one in answer], option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.dumps(asdict(answer) if isinstance(answer, ShardFacts) else answer)


def decode_answer(data: bytes) -> ReadAnswer:
    """Read the answer to a call."""
    value = orjson.loads(data)
    if isinstance(value, list):
        return [_read_record(*one) for one in value]
    return _read_facts(value) if isinstance(value, dict) else int(value)


def _read_facts(value: dict[str, Any]) -> ShardFacts:
    refused = tuple((int(number), str(why)) for number, why in value["refused"])
    return ShardFacts(**value | {"loaded": tuple(value["loaded"]), "refused": refused})


def _record(record: Record) -> list[Any]:
    payload = None if record.payload is None else record.payload.decode()
    return [_wire(record.id), payload, record.vectors]


def _read_record(id: Any, payload: str | None, vectors: dict[str, Sequence[float]] | None) -> Record:
    arrays = None if vectors is None else {name: np.array(one, dtype=np.float32) for name, one in vectors.items()}
    return Record(_id(id), None if payload is None else payload.encode(), arrays)


def _wire(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, UUID):
        return str(value)
    return [_wire(one) for one in value] if isinstance(value, tuple) else value


def _id(value: Any) -> Id:
    return UUID(value) if isinstance(value, str) else int(value)
