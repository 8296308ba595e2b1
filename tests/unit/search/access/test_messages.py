"""Messages mean what the same requests mean as JSON."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import orjson
import pytest
from qdrant_client import models as m
from qdrant_client.conversions.conversion import RestToGrpc
from qdrant_client.grpc import points_pb2 as p
from qdrant_client.http.models import models as rest

from reelspace.search.access.messages.answers import groups_answer
from reelspace.search.access.messages.call import Call
from reelspace.search.access.messages.payload_message import read_payload, write_payload
from reelspace.search.access.messages.point_message import count_of, retrieve_of, scroll_of
from reelspace.search.access.messages.query_message import groups_of, queries_of, query_of
from reelspace.search.access.messages.set_fields import parse_message
from reelspace.search.access.messages.write_message import operations_of, upsert_of
from reelspace.search.access.point_request import parse_count, parse_retrieve, parse_scroll
from reelspace.search.access.query_request import parse_groups, parse_query, parse_searches
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.results import Coverage, Group, GroupsResult, ScoredPoint
from reelspace.search.access.write_request import parse_operations, parse_upsert
from reelspace.search.storage.rows import VectorField

from ..random_filters import IDS, KEYS, Draw

FIELDS = {"": VectorField(3, "cosine"), "sound": VectorField(2, "euclid")}


class Requests:
    """Draws requests as the official client's models, with numbers that float32 holds."""

    def __init__(self, seed: int) -> None:
        self.draw = Draw(seed)

    def number(self) -> float:
        return float(np.float32(self.draw.below(1000) - 500) / 7)

    def vector(self, using: str) -> list[float]:
        # Now and then one that is refused: zero, or of another length.
        size = FIELDS[using].dimension + self.draw.one_of([0] * 20 + [1])
        return [0.0] * size if self.draw.chance(0.05) else [float(np.float32(self.number())) for _ in range(size)]

    def example(self, using: str) -> Any:
        document = m.Document(text=self.draw.one_of(["cat", " ", "猫"]), model="text_encoder")
        return self.draw.one_of([self.vector(using), self.draw.one_of(IDS), document])

    def query(self, using: str) -> Any:
        examples = [self.example(using) for _ in range(self.draw.below(4))]
        strategy = self.draw.one_of([None, m.RecommendStrategy.AVERAGE_VECTOR])
        recommend = m.RecommendQuery(recommend=m.RecommendInput(positive=examples[:2], negative=examples[2:], strategy=strategy))
        return self.draw.one_of([self.example(using), self.example(using), recommend])

    def with_payload(self) -> Any:
        keys = [self.draw.one_of(KEYS) for _ in range(2)]
        choices = [None, True, False, m.PayloadSelectorInclude(include=keys), m.PayloadSelectorExclude(exclude=keys)]
        return self.draw.one_of(choices)

    def shared(self, using: str) -> dict[str, Any]:
        chosen = {
            "query": self.query(using),
            "using": using,
            "filter": self.draw.filter(1),
            "score_threshold": float(np.float32(self.number())),
            "limit": self.draw.one_of([1, 5, 2048, 2049]),
            "with_payload": self.with_payload(),
            "with_vector": self.draw.one_of([True, False, ["sound"], ["none"]]),
        }
        return {name: value for name, value in chosen.items() if name == "query" or self.draw.chance(0.5) or (name == "using" and using)}

    def search(self) -> m.QueryRequest:
        offset = {"offset": self.draw.below(3)} if self.draw.chance(0.3) else {}
        return m.QueryRequest(**self.shared(self.draw.one_of(["", "sound"])), **offset)

    def groups(self) -> m.QueryGroupsRequest:
        return m.QueryGroupsRequest(**self.shared(""), group_by=self.draw.one_of(KEYS), group_size=self.draw.one_of([None, 1, 3]))

    def scroll(self) -> m.ScrollRequest:
        return m.ScrollRequest(
            filter=self.draw.one_of([None, self.draw.filter(1)]),
            offset=self.draw.one_of([None, self.draw.one_of(IDS)]),
            limit=self.draw.one_of([None, 1, 20_000]),
            with_payload=self.with_payload(),
            with_vector=self.draw.one_of([True, False, [""]]),
        )

    def point(self) -> m.PointStruct:
        vector: Any = self.draw.one_of(
            [self.vector(""), {"": self.vector(""), "sound": self.vector("sound")}, {"sound": self.vector("sound")}]
        )
        return m.PointStruct(id=self.draw.one_of(IDS), vector=vector, payload=self.draw.payload(2) or None)

    def operation(self) -> Any:
        ids, payload = [self.draw.one_of(IDS) for _ in range(2)], self.draw.payload(1)
        selected = self.draw.one_of([{"points": ids}, {"filter": self.draw.filter(1)}])
        keys = [self.draw.one_of(KEYS) for _ in range(2)]
        points = [self.point() for _ in range(3)]
        selector: Any = m.PointIdsList(points=ids) if "points" in selected else m.FilterSelector(filter=selected["filter"])
        return self.draw.one_of(
            [
                m.UpsertOperation(upsert=m.PointsList(points=points)),
                m.DeleteOperation(delete=selector),
                m.SetPayloadOperation(set_payload=m.SetPayload(payload=payload, key=self.draw.one_of([None, *KEYS]), **selected)),
                m.OverwritePayloadOperation(overwrite_payload=m.SetPayload(payload=payload, **selected)),
                m.DeletePayloadOperation(delete_payload=m.DeletePayload(keys=keys, **selected)),
                m.ClearPayloadOperation(clear_payload=selector),
            ]
        )


def as_json(model: Any) -> Any:
    # Both names are known over HTTP; messages have the second.
    return {
        "with_vectors" if name == "with_vector" else name: value for name, value in model.model_dump(mode="json", by_alias=True).items()
    }


def sent(message: Any) -> Any:
    return parse_message(type(message), message.SerializeToString())


def answer(parse: Callable[[], Any]) -> Any:
    try:
        return comparable(parse())
    except RequestRefused as error:
        return str(error), error.status


def comparable(value: Any) -> Any:
    """Give a request as plain values: those with arrays are not compared by ==."""
    if is_dataclass(value):
        return type(value).__name__, {one.name: comparable(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: comparable(one) for key, one in value.items()}
    return [comparable(one) for one in value] if isinstance(value, list | tuple) else value


def grpc_query(request: m.QueryRequest) -> p.QueryPoints:
    return RestToGrpc.convert_query_request(request, "c")


def grpc_groups(request: m.QueryGroupsRequest) -> p.QueryPointGroups:
    given = {name: getattr(request, name) for name in ("limit", "group_size", "group_by", "using", "score_threshold")}
    return p.QueryPointGroups(
        collection_name="c",
        query=RestToGrpc.convert_query_interface(request.query),
        filter=request.filter and RestToGrpc.convert_filter(request.filter),
        with_payload=None if request.with_payload is None else RestToGrpc.convert_with_payload_interface(request.with_payload),
        with_vectors=None if request.with_vector is None else RestToGrpc.convert_with_vectors(request.with_vector),
        **given,
    )


def grpc_scroll(request: m.ScrollRequest) -> p.ScrollPoints:
    return p.ScrollPoints(
        collection_name="c",
        filter=request.filter and RestToGrpc.convert_filter(request.filter),
        offset=None if request.offset is None else RestToGrpc.convert_extended_point_id(request.offset),
        limit=request.limit,
        with_payload=None if request.with_payload is None else RestToGrpc.convert_with_payload_interface(request.with_payload),
        with_vectors=RestToGrpc.convert_with_vectors(request.with_vector),
    )


@pytest.mark.parametrize("seed", range(4))
def test_random_reads_mean_the_same_as_json(seed: int) -> None:
    requests, num_taken = Requests(seed), 0
    for _ in range(60):
        one = requests.search()
        expected = answer(lambda one=one: parse_query(as_json(one), FIELDS))
        assert answer(lambda one=one: query_of(sent(grpc_query(one)), FIELDS)) == expected, one
        num_taken += expected[0] == "QueryRequest"
    assert 20 < num_taken < 60
    for _ in range(20):
        groups, page = requests.groups(), requests.scroll()
        assert answer(lambda one=groups: groups_of(sent(grpc_groups(one)), FIELDS)) == answer(
            lambda one=groups: parse_groups(as_json(one), FIELDS)
        ), groups
        assert answer(lambda one=page: scroll_of(sent(grpc_scroll(one)), FIELDS)) == answer(
            lambda one=page: parse_scroll(as_json(one), FIELDS)
        ), page
        batch = [requests.search() for _ in range(3)]
        message = p.QueryBatchPoints(collection_name="c", query_points=[grpc_query(one) for one in batch])
        assert answer(lambda message=message: queries_of(sent(message), FIELDS)) == answer(
            lambda batch=batch: parse_searches({"searches": [as_json(one) for one in batch]}, FIELDS)
        )


@pytest.mark.parametrize("using", ["", "sound"])
def test_requests_that_differ_in_their_vector_alone_are_each_checked_like_the_first(using: str) -> None:
    length = FIELDS[using].dimension
    numbers = [1.0, -2.0, 0.0, float("nan"), float("inf"), 1e-30, 1e19, 3e38, 1.0]
    places = ["", "searches[1]."]
    for number in numbers:
        vector = [number] * length
        one = m.QueryRequest(query=[1.0] * length, using=using, limit=4, filter=m.Filter(must=[m.HasIdCondition(has_id=[1])]), offset=2)
        message = grpc_query(one)
        message.query.nearest.dense.data[:] = vector
        body = as_json(one) | {"query": {"nearest": np.array(vector, dtype=np.float32)}}
        for place in places:
            expected = answer(lambda body=body, place=place: parse_query(body, FIELDS, place))
            assert answer(lambda message=message, place=place: query_of(sent(message), FIELDS, place)) == expected, number
    others = {"": VectorField(3, "dot"), "sound": VectorField(2, "cosine")}
    message.query.nearest.dense.data[:] = [0.0] * length
    is_refused = {"": False, "sound": True}[using]
    assert (answer(lambda: query_of(sent(message), others))[0] == "QueryRequest") is not is_refused


@pytest.mark.parametrize("seed", range(4))
def test_random_writes_mean_the_same_as_json(seed: int) -> None:
    requests, num_taken = Requests(seed), 0
    for _ in range(40):
        operations = [requests.operation() for _ in range(1 + requests.draw.below(3))]
        message = p.UpdateBatchPoints(collection_name="c", operations=[RestToGrpc.convert_update_operation(one) for one in operations])
        expected = answer(lambda operations=operations: parse_operations({"operations": [as_json(one) for one in operations]}, FIELDS))
        assert answer(lambda message=message: operations_of(sent(message), FIELDS)) == expected
        num_taken += isinstance(expected, list)
        points = [requests.point() for _ in range(4)]
        upsert = p.UpsertPoints(collection_name="c", points=[RestToGrpc.convert_point_struct(one) for one in points])
        assert answer(lambda upsert=upsert: upsert_of(sent(upsert), FIELDS)) == answer(
            lambda points=points: parse_upsert({"points": [as_json(one) for one in points]}, FIELDS)
        )
    assert num_taken > 10


def test_look_ups_mean_the_same_as_json() -> None:
    ids = p.GetPoints(ids=[RestToGrpc.convert_extended_point_id(one) for one in IDS], with_payload={"enable": False})
    assert retrieve_of(sent(ids), FIELDS) == parse_retrieve({"ids": IDS, "with_payload": False}, FIELDS)
    assert retrieve_of(p.GetPoints(ids=[{"num": 1}]), FIELDS) == parse_retrieve({"ids": [1]}, FIELDS)
    assert count_of(p.CountPoints(exact=False)) == parse_count({"exact": False})
    where = rest.Filter(must=[rest.FieldCondition(key="a", match=rest.MatchValue(value=1))])
    assert count_of(sent(p.CountPoints(filter=RestToGrpc.convert_filter(where)))) == parse_count({"filter": as_json(where)})


@pytest.mark.parametrize("seed", range(3))
def test_payloads_survive_the_way_through_messages(seed: int) -> None:
    draw = Draw(seed)
    for _ in range(100):
        payload, message = draw.payload(3), p.ScoredPoint()
        write_payload(message.payload, orjson.dumps(payload))
        found = read_payload(p.ScoredPoint.FromString(message.SerializeToString()).payload, "payload")
        assert orjson.dumps(found, option=orjson.OPT_SORT_KEYS) == orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)


def test_groups_have_ids_of_texts_and_of_whole_numbers() -> None:
    groups = [Group(id, [ScoredPoint(number, 0.5)]) for number, id in enumerate(["red", 2**64 - 1, 0, -3])]
    answer = groups_answer(GroupsResult(groups, Coverage(4, 4, (2, 7))), 0.1)
    found = [getattr(group.id, group.id.WhichOneof("kind")) for group in answer.result.groups]
    assert found == ["red", 2**64 - 1, 0, -3]
    assert [(group.hits[0].id.num, group.hits[0].version) for group in answer.result.groups] == [(0, 7), (1, 7), (2, 7), (3, 7)]


@pytest.mark.parametrize(("deadline_s", "message_s", "expected_s"), [(None, None, 5), (3, None, 3), (None, 9, 9), (3, 9, 3), (30, 9, 9)])
def test_time_for_a_call_is_what_the_message_asks_for_within_the_deadline(
    deadline_s: float | None, message_s: int | None, expected_s: float
) -> None:
    assert Call(deadline_s, {}).limit_s(p.QueryPoints(timeout=message_s), 5) == expected_s


def test_whole_numbers_beyond_63_bits_become_the_nearest_double() -> None:
    message = p.ScoredPoint()
    write_payload(message.payload, b'{"a": 18446744073709551615, "b": 9223372036854775807}')
    assert read_payload(message.payload, "payload") == {"a": 2.0**64, "b": 2**63 - 1}


def test_what_is_written_is_never_too_deep_to_be_read_again() -> None:
    refused = 0
    for depth in range(60):
        for nested in ("[" * depth + "1" + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            answer = p.QueryGroupsResponse()
            try:
                write_payload(answer.result.groups.add().hits.add().payload, f'{{"x": {nested}}}'.encode())
            except RequestRefused:
                refused += 1
                continue
            assert p.QueryGroupsResponse.FromString(answer.SerializeToString()) == answer
    assert 0 < refused < 60
