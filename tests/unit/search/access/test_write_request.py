from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.search.access.collection_request import parse_alias_actions, parse_create, parse_field_index
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import CreateAlias, DeleteAlias, PayloadEdit, PointsSelector, RenameAlias, Upsert
from reelspace.search.access.write_request import fits_depth, parse_operations, parse_upsert
from reelspace.search.compute.filters import Filter, Match, encode_filter
from reelspace.search.storage.layout import IndexTarget, VectorSettings
from reelspace.search.storage.rows import Op, VectorField, rows_of

SINGLE = {"": VectorField(2, "cosine")}
NAMED = {"text": VectorField(2, "cosine"), "taste": VectorField(3, "dot")}
RED = {"must": [{"key": "color", "match": {"value": "red"}}]}
RED_BYTES = encode_filter(Filter(must=(Match("color", ("red",)),)))
UUID_TEXT = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"


def plain(upsert: Upsert) -> list[object]:
    return [
        (change.id, {name: np.asarray(one).tolist() for name, one in change.vectors.items()}, change.payload) for change in upsert.changes
    ]


def nested(depth: int) -> object:
    return {"a": nested(depth - 1)} if depth % 2 else [nested(depth - 1)] if depth else 1


def test_points_come_as_a_list_or_in_columns() -> None:
    points = [{"id": 1, "vector": [1, 2], "payload": {"a": 1}}, {"id": UUID_TEXT, "vector": [3, 4], "payload": None}]
    columns = {"ids": [1, UUID_TEXT], "vectors": [[1, 2], [3, 4]], "payloads": [{"a": 1}, None]}
    expected = [(1, {"": [1, 2]}, {"a": 1}), (UUID(UUID_TEXT), {"": [3, 4]}, None)]
    assert plain(parse_upsert({"points": points}, SINGLE)) == expected
    assert plain(parse_upsert({"batch": columns}, SINGLE)) == expected
    named = {"ids": [1, 2], "vectors": {"text": [[1, 2], [3, 4]], "taste": [[1, 2, 3], [4, 5, 6]]}}
    assert plain(parse_upsert({"batch": named}, NAMED)) == [
        (1, {"text": [1, 2], "taste": [1, 2, 3]}, None),
        (2, {"text": [3, 4], "taste": [4, 5, 6]}, None),
    ]
    assert plain(parse_upsert({"points": [{"id": 1, "vector": {"taste": [1, 2, 3]}}]}, NAMED)) == [(1, {"taste": [1, 2, 3]}, None)]


def test_of_points_with_one_id_the_last_counts() -> None:
    points = [{"id": 1, "vector": [1, 1]}, {"id": 2, "vector": [2, 2]}, {"id": 1, "vector": [3, 3]}]
    assert sorted(plain(parse_upsert({"points": points}, SINGLE))) == [(1, {"": [3, 3]}, None), (2, {"": [2, 2]}, None)]  # type: ignore[type-var]


def test_operations_are_read_in_order() -> None:
    operations = [
        {"upsert": {"points": [{"id": 1, "vector": [1, 2]}]}},
        {"set_payload": {"payload": {"a": None}, "points": [1, 1], "key": "b[].c"}},
        {"overwrite_payload": {"payload": {}, "filter": RED}},
        {"delete_payload": {"keys": ["a", "b"], "points": [1]}},
        {"clear_payload": {"points": [1]}},
        {"delete": {"filter": RED}},
    ]
    upsert, *edits, delete = parse_operations({"operations": operations}, SINGLE)
    assert isinstance(upsert, Upsert)
    ids, red = PointsSelector(ids=(1,)), PointsSelector(where=RED_BYTES)
    assert edits == [
        PayloadEdit(Op.MERGE_PAYLOAD_AT, {"key": "b[].c", "payload": {"a": None}}, ids),
        PayloadEdit(Op.REPLACE_PAYLOAD, {}, red),
        PayloadEdit(Op.DROP_PAYLOAD, ("a", "b"), ids),
        PayloadEdit(Op.REPLACE_PAYLOAD, {}, ids),
    ]
    assert delete.selector == red  # type: ignore[union-attr]


ONE = {"id": 1, "vector": [1, 2]}
REFUSED = {
    "no points": ({"points": []}, "points"),
    "neither form": ({}, "points"),
    "both forms": ({"points": [ONE], "batch": {}}, "points"),
    "too many": ({"points": [ONE] * 10_001}, "points"),
    "no id": ({"points": [ONE, {"vector": [1, 2]}]}, "points[1].id"),
    "id 1.0": ({"points": [ONE | {"id": 1.0}]}, "points[0].id"),
    "id 2^64": ({"points": [ONE | {"id": 2**64}]}, "points[0].id"),
    "id with NUL": ({"points": [ONE | {"id": "a\0b"}]}, "points[0].id"),
    "id of a megabyte": ({"points": [ONE | {"id": "a" * (1 << 20)}]}, "points[0].id"),
    "no vector": ({"points": [{"id": 1}]}, "points[0].vector"),
    "no vectors": ({"points": [{"id": 1, "vector": {}}]}, "points[0].vector"),
    "name in a collection without": ({"points": [{"id": 1, "vector": {"text": [1, 2]}}]}, "points[0].vector"),
    "zero": ({"points": [ONE, {"id": 2, "vector": [0, 0]}]}, "points[1].vector"),
    "null": ({"points": [{"id": 1, "vector": [None, 1]}]}, "points[0].vector[0]"),
    "overflow": ({"points": [{"id": 1, "vector": [1, 1e39]}]}, "points[0].vector[1]"),
    "squares overflow": ({"points": [{"id": 1, "vector": [1, 1e30]}]}, "points[0].vector"),
    "payload list": ({"points": [ONE | {"payload": []}]}, "points[0].payload"),
    "payload deep": ({"points": [ONE | {"payload": {"a": nested(64)}}]}, "points[0].payload"),
    "misspelt": ({"points": [ONE | {"vektor": 1}]}, "the nearest is 'vector'"),
    "columns of other lengths": ({"batch": {"ids": [1, 2], "vectors": [[1, 2]]}}, "batch.vectors"),
    "payloads of another length": ({"batch": {"ids": [1], "vectors": [[1, 2]], "payloads": []}}, "batch.payloads"),
    "bad column": ({"batch": {"ids": [1], "vectors": [[1, True]]}}, "batch.vectors[0][1]"),
}
UNSERVED = {
    "sparse": ({"points": [{"id": 1, "vector": {"indices": [1], "values": [1]}}]}, "sparse vectors"),
    "words": ({"points": [{"id": 1, "vector": {"text": "cat", "model": "m"}}]}, "embedding on writes"),
    "several": ({"points": [{"id": 1, "vector": [[1, 2], [3, 4], [5, 6]]}]}, "several vectors in one"),
    "shard_key": ({"points": [ONE], "shard_key": "a"}, "shard_key"),
    "update_filter": ({"points": [ONE], "update_filter": {}}, "update_filter"),
}
OPERATIONS_REFUSED = {
    "none": ([], "operations"),
    "not one": ([{}], "operations[0]"),
    "two at once": ([{"delete": {"points": [1]}, "clear_payload": {"points": [1]}}], "operations[0]"),
    "misspelt": ([{"upserts": {}}], "operations[0].upserts"),
    "delete all": ([{"delete": {"filter": {}}}], "operations[0].delete.filter"),
    "delete no ids": ([{"delete": {"points": []}}], "operations[0].delete.points"),
    "delete both": ([{"delete": {"points": [1], "filter": RED}}], "operations[0].delete.points"),
    "delete nothing": ([{"delete": {}}], "operations[0].delete.points"),
    "no payload": ([{"set_payload": {"points": [1]}}], "operations[0].set_payload.payload"),
    "bad key": ([{"set_payload": {"points": [1], "payload": {}, "key": "a..b"}}], "operations[0].set_payload.key"),
    "key too deep": ([{"set_payload": {"points": [1], "payload": {}, "key": ".".join("a" * 65)}}], "operations[0].set_payload.key"),
    "no keys": ([{"delete_payload": {"points": [1], "keys": []}}], "operations[0].delete_payload.keys"),
    "late": ([{"delete": {"points": [1]}}, {"delete": {"points": [-1]}}], "operations[1].delete.points[0]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_upsert_is_refused_naming_the_point(name: str) -> None:
    value, field = REFUSED[name]
    with pytest.raises(RequestRefused) as caught:
        parse_upsert(value, SINGLE)
    assert caught.value.status == 400
    assert field in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", UNSERVED)
def test_upsert_that_is_not_served_is_refused_by_name(name: str) -> None:
    value, feature = UNSERVED[name]
    with pytest.raises(RequestRefused) as caught:
        parse_upsert(value, SINGLE)
    assert caught.value.status == 501
    assert feature in str(caught.value)


@pytest.mark.parametrize("name", OPERATIONS_REFUSED)
def test_bad_operation_is_refused_by_its_place(name: str) -> None:
    value, field = OPERATIONS_REFUSED[name]
    with pytest.raises(RequestRefused, match="^" + field.replace("[", r"\[").replace("]", r"\]")) as caught:
        parse_operations({"operations": value}, SINGLE)
    assert caught.value.status == 400


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.one_of(st.floats(), st.integers(-(2**64), 2**64)), min_size=2, max_size=2), min_size=1, max_size=4))
def test_the_log_takes_what_the_parser_takes(vectors: list[list[float]]) -> None:
    points = [{"id": number, "vector": vector} for number, vector in enumerate(vectors)]
    try:
        changes = parse_upsert({"points": points}, SINGLE).changes
    except RequestRefused as error:
        assert str(error).startswith("points[")  # noqa: PT017 - whether it is refused depends on the numbers drawn
    else:
        assert len(rows_of(changes, SINGLE).ids) == len(vectors)


def test_the_deepest_payload_can_be_edited_at_the_deepest_key_and_still_be_written() -> None:
    assert fits_depth(nested(64))
    assert not fits_depth(nested(65))
    value = nested(64)
    for _ in range(64):
        value = {"a": value}
    orjson.dumps(value)


def test_a_new_collection_has_one_vector_or_several_by_name() -> None:
    plain_one = parse_create({"vectors": {"size": 4, "distance": "Cosine"}})
    assert (plain_one.vectors, plain_one.num_shards) == ({"": VectorSettings(dimension=4)}, 1)
    vectors = {"text": {"size": 4, "distance": "Dot"}, "size": {"size": 2, "distance": "Euclid", "on_disk": None, "datatype": "float32"}}
    named = parse_create({"vectors": vectors, "shard_number": 3, "replication_factor": 1, "hnsw_config": {}, "on_disk_payload": False})
    assert named.vectors == {"text": VectorSettings(dimension=4, metric="dot"), "size": VectorSettings(dimension=2, metric="euclid")}
    assert named.num_shards == 3
    target = {"kind": "auto", "recall": 0.9, "max_code_bytes": 80}
    assert parse_create({"vectors": {"size": 4, "distance": "Cosine", "index": target}}).vectors[""].index == IndexTarget(**target)


GOOD_VECTOR = {"size": 4, "distance": "Cosine"}
CREATE_REFUSED = [
    ({}, 400, "vectors"),
    ({"vectors": {}}, 501, "vectors"),
    ({"vectors": {"size": 0, "distance": "Dot"}}, 400, "vectors.size"),
    ({"vectors": {"size": 70_000, "distance": "Dot"}}, 400, "vectors.size"),
    ({"vectors": {"size": 4, "distance": "cosine"}}, 400, "vectors.distance"),
    ({"vectors": {"size": 4}}, 400, "vectors.distance"),
    ({"vectors": {"a": {"size": True, "distance": "Dot"}}}, 400, "vectors.a.size"),
    ({"vectors": {"size": 4, "distance": "Manhattan"}}, 501, "Manhattan"),
    ({"vectors": GOOD_VECTOR | {"multivector_config": {"comparator": "max_sim"}}}, 501, "vectors.multivector_config"),
    ({"vectors": GOOD_VECTOR | {"on_disk": True}}, 501, "vectors.on_disk"),
    ({"vectors": GOOD_VECTOR, "sparse_vectors": {"a": {}}}, 501, "sparse_vectors"),
    ({"vectors": GOOD_VECTOR, "hnsw_config": {"m": 16}}, 501, "hnsw_config"),
    ({"vectors": GOOD_VECTOR, "quantization_config": {"scalar": {}}}, 501, "quantization_config"),
    ({"vectors": GOOD_VECTOR, "replication_factor": 2}, 501, "replication_factor"),
    ({"vectors": GOOD_VECTOR, "shard_number": 0}, 400, "shard_number"),
    ({"vectors": GOOD_VECTOR, "shards": 2}, 400, "shards"),
    ({"vectors": GOOD_VECTOR | {"index": {"recall": 2}}}, 400, "vectors.index.recall"),
    ({"vectors": GOOD_VECTOR | {"index": {"kind": "tree"}}}, 400, "vectors.index.kind"),
    ({"vectors": GOOD_VECTOR | {"index": {"nprobe": 3}}}, 400, "vectors.index.nprobe"),
]


@pytest.mark.parametrize(("value", "status", "field"), CREATE_REFUSED)
def test_bad_collection_is_refused_naming_the_field(value: object, status: int, field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_create(value)
    assert caught.value.status == status
    assert field in str(caught.value)


def test_actions_on_aliases_and_indexes_are_read() -> None:
    actions = [
        {"create_alias": {"collection_name": "c", "alias_name": "a"}},
        {"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}},
        {"delete_alias": {"alias_name": "b"}},
    ]
    assert parse_alias_actions({"actions": actions}) == (CreateAlias("a", "c"), RenameAlias("a", "b"), DeleteAlias("b"))
    with pytest.raises(RequestRefused, match=r"^actions\[0\]\.create_alias\.collection_name"):
        parse_alias_actions({"actions": [{"create_alias": {"alias_name": "a"}}]})
    assert parse_field_index({"field_name": "a.b", "field_schema": "keyword"}) == ("a.b", "keyword")
    schema = {"type": "integer", "range": True, "lookup": False, "is_principal": None}
    assert parse_field_index({"field_name": "a", "field_schema": schema}) == ("a", "integer")
    for value, status in (("geo", 501), ("text", 501), ("number", 400), (None, 501), ({"type": "keyword", "is_tenant": True}, 501)):
        with pytest.raises(RequestRefused, match="field_schema") as caught:
            parse_field_index({"field_name": "a", "field_schema": value})
        assert caught.value.status == status
