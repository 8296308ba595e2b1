"""Turns what a client asks the nearest of into the vector that shards compare: words are embedded, points looked up, examples averaged.

Legend: D dimension.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reelspace.search.access.query_request import Example
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import PointTarget, QueryRequest, RecommendTarget, TextTarget, VectorTarget
from reelspace.search.access.shard_client import ModelRefused
from reelspace.search.access.vector_request import checked_vector
from reelspace.search.compute.queries import Record
from reelspace.search.storage.ids import Id
from reelspace.search.storage.rows import Fields

Floats = NDArray[np.float32]
LookUp = Callable[[Sequence[Id], str, float], Awaitable[Sequence[Record]]]


class Encoder(Protocol):
    """A model that puts words into the space of the collection's vectors."""

    async def encode(self, text: str, timeout_s: float) -> Floats:
        """Give the vector of a text; ModelRefused where it can read nothing of it."""

    def close(self) -> None:
        """Look after its servers no more; what is asked is still answered."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What targets are resolved with: encoders by name, and the look-up of stored vectors by ids, name and time limit."""

    fields: Fields
    encoders: Mapping[str, Encoder]
    look_up: LookUp

    async def resolve(self, request: QueryRequest, timeout_s: float) -> tuple[Floats, tuple[Id, ...]]:
        """Give the vector of a query, and the ids that must not be its hits.

        Raises:
            RequestRefused: no such point, or no such vector of it; no such encoder, or nothing it can read; examples that cancel out.
            ShardTimeout, ShardFailed: see there.
        """
        target, where = request.target, f"{request.place}query"
        if isinstance(target, VectorTarget):
            return target.vector_D, ()
        if isinstance(target, TextTarget):
            return await self._encode(target, request, where, timeout_s), ()
        if isinstance(target, RecommendTarget):
            return await self._average(target, request, f"{where}.recommend", timeout_s)
        vector_D = await self._vectors([target], request, [where], timeout_s)
        return vector_D[0], (target.point_id,)

    async def _average(self, target: RecommendTarget, request: QueryRequest, where: str, timeout_s: float) -> tuple[Floats, tuple[Id, ...]]:
        examples = [*target.positive, *target.negative]
        num_positive = len(target.positive)
        places = [f"{where}.positive[{number}]" for number in range(num_positive)]
        places += [f"{where}.negative[{number}]" for number in range(len(target.negative))]
        vectors_ED = np.stack(await self._vectors(examples, request, places, timeout_s)).astype(np.float64)
        wanted_D = vectors_ED[:num_positive].mean(axis=0)
        if target.negative:
            wanted_D = 2 * wanted_D - vectors_ED[num_positive:].mean(axis=0)
        ids = dict.fromkeys(example.point_id for example in examples if isinstance(example, PointTarget))
        return checked_vector(wanted_D, self.fields[request.using], where), tuple(ids)

    async def _vectors(self, examples: Sequence[Example], request: QueryRequest, places: Sequence[str], timeout_s: float) -> list[Floats]:
        ids = list(dict.fromkeys(example.point_id for example in examples if isinstance(example, PointTarget)))
        records = await self.look_up(ids, request.using, timeout_s) if ids else []
        stored = {record.id: record.vectors or {} for record in records}
        words = [(one, place) for one, place in zip(examples, places, strict=True) if isinstance(one, TextTarget)]
        encoded = iter(await asyncio.gather(*(self._encode(one, request, place, timeout_s) for one, place in words)))
        vectors = []
        for example, place in zip(examples, places, strict=True):
            if isinstance(example, TextTarget):
                vectors.append(next(encoded))
            elif isinstance(example, VectorTarget):
                vectors.append(example.vector_D)
            else:
                vectors.append(_stored(stored, example.point_id, request.using, place))
        return vectors

    async def _encode(self, target: TextTarget, request: QueryRequest, where: str, timeout_s: float) -> Floats:
        if not self.encoders:
            raise RequestRefused(f"{where}.text", "no text encoder was promoted with this collection")
        encoder = self.encoders.get(target.model)
        if encoder is None:
            known = ", ".join(map(repr, sorted(self.encoders)))
            raise RequestRefused(f"{where}.model", f"expected one of {known}, got {target.model!r:.80}")
        try:
            vector_D = await encoder.encode(target.text, timeout_s)
        except ModelRefused as error:
            # Which characters can be read only the encoder knows.
            raise RequestRefused(f"{where}.text", str(error)) from error
        wanted = self.fields[request.using].dimension
        if len(vector_D) != wanted:
            raise RequestRefused(f"{where}.model", f"{target.model} gives vectors of length {len(vector_D)}, expected {wanted}")
        return vector_D


def _stored(stored: Mapping[Id, Mapping[str, Floats]], id: Id, using: str, where: str) -> Floats:
    if id not in stored:
        raise RequestRefused(where, f"no point with id {id}", status=404)
    if using not in stored[id]:
        raise RequestRefused(where, f"the point with id {id} has no vector {using!r}")
    return stored[id][using]
