"""Random histories of a collection, done to a gateway and to the official client's own memory, which must answer alike."""

import math
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse

from ..random_filters import KEYS, Draw

NAME = "things"
IDS: list[int | str] = [*range(12), 2**63, 2**64 - 1, *(str(UUID(int=number)) for number in (0, 5, 2**70, 2**128 - 1))]
SINGLE = m.VectorParams(size=4, distance=m.Distance.COSINE)
NAMED = {
    "text": m.VectorParams(size=4, distance=m.Distance.COSINE),
    "sound": m.VectorParams(size=3, distance=m.Distance.EUCLID),
    "taste": m.VectorParams(size=2, distance=m.Distance.DOT),
}
Do = Callable[[QdrantClient], Any]


class History:
    """Draws operations on one collection; every method gives one as what to do with a client."""

    def __init__(self, seed: int, vectors: Any) -> None:
        self.draw = Draw(seed)
        self._numbers = np.random.default_rng(seed)
        self.vectors = vectors

    def operation(self) -> Do:
        """Draw a write or a read."""
        kinds = [self.upsert, self.upsert, self.upsert, self.delete, self.edit, self.edit, self.batch]
        kinds += [self.query, self.query, self.query, self.groups, self.scroll, self.count, self.retrieve]
        return self.draw.one_of(kinds)()

    def upsert(self) -> Do:
        points = [self._point() for _ in range(1 + self.draw.below(5))]
        if self.draw.chance(0.7):
            return lambda client: client.upsert(NAME, points)
        columns = m.Batch(
            ids=[point.id for point in points], vectors=self._columns(len(points)), payloads=[point.payload or {} for point in points]
        )
        return lambda client: client.upsert(NAME, columns)

    def delete(self) -> Do:
        selector = self._selector()
        return lambda client: client.delete(NAME, selector)

    def edit(self) -> Do:
        selector, payload, keys = self._selector(), self.draw.payload(1), [self.draw.one_of(KEYS) for _ in range(2)]
        kind, key = self.draw.below(4), self.draw.one_of([None, *KEYS])
        return [
            lambda client: client.set_payload(NAME, payload, selector, key=key),
            lambda client: client.overwrite_payload(NAME, payload, selector),
            lambda client: client.delete_payload(NAME, keys, selector),
            lambda client: client.clear_payload(NAME, selector),
        ][kind]

    def batch(self) -> Do:
        ids, payload = self._ids(), self.draw.payload(1)
        where = m.Filter(must=[self.draw.field()])
        operations = [
            m.UpsertOperation(upsert=m.PointsList(points=[self._point(id) for id in ids])),
            m.SetPayloadOperation(set_payload=m.SetPayload(payload=payload, points=ids)),
            m.DeleteOperation(delete=m.FilterSelector(filter=where)),
            m.UpsertOperation(upsert=m.PointsList(points=[self._point(ids[0])])),
            m.DeletePayloadOperation(delete_payload=m.DeletePayload(keys=[self.draw.one_of(KEYS)], filter=self.draw.filter())),
            m.ClearPayloadOperation(clear_payload=m.PointIdsList(points=[ids[0]])),
        ]
        return lambda client: client.batch_update_points(NAME, operations)

    def query(self) -> Do:
        using = self._using()
        query = self.draw.one_of([self._vector(using), self._vector(using), self.draw.one_of(IDS), self._recommend(using)])
        arguments = self._arguments(using) | {"offset": self.draw.below(3), "with_payload": self._with_payload()}
        return lambda client: client.query_points(NAME, query=query, **arguments).points

    def groups(self) -> Do:
        using = self._using()
        query, arguments = self._vector(using), self._arguments(using)
        key, size = self.draw.one_of(["a", "b", "list", "list[]", "a.b"]), 1 + self.draw.below(3)
        return lambda client: client.query_points_groups(NAME, key, query, group_size=size, **arguments).groups

    def scroll(self) -> Do:
        where, limit, with_payload = self._where(), 1 + self.draw.below(6), self._with_payload()
        offset = self.draw.one_of([None, self.draw.one_of(IDS)])
        return lambda client: client.scroll(
            NAME, where, limit=limit, offset=offset, with_payload=with_payload, with_vectors=self.vectors is SINGLE
        )

    def count(self) -> Do:
        where = self._where()
        return lambda client: client.count(NAME, count_filter=where)

    def retrieve(self) -> Do:
        ids, with_payload = self._ids(), self._with_payload()
        return lambda client: client.retrieve(NAME, ids, with_payload=with_payload, with_vectors=True)

    def _using(self) -> str | None:
        return None if self.vectors is SINGLE else self.draw.one_of(list(NAMED))

    def _vector(self, using: str | None) -> list[float]:
        size = SINGLE.size if using is None else NAMED[using].size
        return [float(one) for one in self._numbers.standard_normal(size).astype(np.float32)]

    def _point(self, id: int | str | None = None) -> m.PointStruct:
        if self.vectors is SINGLE:
            vector: Any = self._vector(None)
        else:
            names = [name for name in NAMED if self.draw.chance(0.7)] or ["text"]
            vector = {name: self._vector(name) for name in names}
        payload = self.draw.one_of([self.draw.payload(2), self.draw.payload(2), None])
        return m.PointStruct(id=self.draw.one_of(IDS) if id is None else id, vector=vector, payload=payload)

    def _columns(self, num: int) -> Any:
        if self.vectors is SINGLE:
            return [self._vector(None) for _ in range(num)]
        return {name: [self._vector(name) for _ in range(num)] for name in ("text", "taste")}

    def _ids(self) -> list[int | str]:
        return [self.draw.one_of(IDS) for _ in range(1 + self.draw.below(3))]

    def _where(self) -> m.Filter | None:
        return self.draw.one_of([None, self.draw.filter(1), m.Filter(must=[self.draw.field()])])

    def _selector(self) -> Any:
        return self._ids() if self.draw.chance(0.6) else m.Filter(must=[self.draw.field()])

    def _recommend(self, using: str | None) -> m.RecommendQuery:
        examples = [self._vector(using), self.draw.one_of(IDS), self.draw.one_of(IDS)]
        positive = examples[: 1 + self.draw.below(2)]
        return m.RecommendQuery(recommend=m.RecommendInput(positive=positive, negative=examples[len(positive) :]))

    def _with_payload(self) -> Any:
        keys = [self.draw.one_of(KEYS) for _ in range(2)]
        return self.draw.one_of([True, False, keys, m.PayloadSelectorExclude(exclude=keys)])

    def _arguments(self, using: str | None) -> dict[str, Any]:
        return {
            "using": using,
            "query_filter": self._where(),
            "limit": 1 + self.draw.below(8),
            "score_threshold": self.draw.one_of([None, None, float(self._numbers.standard_normal())]),
            "with_vectors": self.draw.one_of([True, False, [using or ""]]),
        }


def outcome(do: Do, client: QdrantClient) -> Any:
    """Do something and give the answer as plain values, or None where it is refused."""
    try:
        return plain(do(client))
    except (UnexpectedResponse, ValueError, KeyError):
        return None


def plain(answer: Any) -> Any:
    """Give an answer as plain values; numbers of writes and versions of points are each server's own."""
    if isinstance(answer, m.UpdateResult):
        return "done"
    if hasattr(answer, "model_dump"):
        values = {name: plain(getattr(answer, name)) for name in type(answer).model_fields}
        return {name: value for name, value in values.items() if name not in ("version", "lookup", "shard_key", "order_value")}
    if isinstance(answer, list | tuple):
        return [plain(one) for one in answer]
    return answer


def alike(own: Any, expected: Any, key: str = "") -> bool:
    """Tell whether two answers are equal, scores and vectors to within float32."""
    if isinstance(expected, dict) and isinstance(own, dict):
        return own.keys() == expected.keys() and all(alike(own[name], expected[name], name) for name in own)
    if isinstance(expected, list) and isinstance(own, list):
        return len(own) == len(expected) and all(alike(one, two, key) for one, two in zip(own, expected, strict=True))
    if isinstance(own, float) and isinstance(expected, float) and key in ("score", "vector", *NAMED):
        return math.isclose(own, expected, rel_tol=1e-4, abs_tol=1e-5)
    return bool(own == expected)
