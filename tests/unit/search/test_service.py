import numpy as np
from numpy.typing import NDArray

from reelspace.core.errors import ReelspaceError
from reelspace.search.compute.service import ShardRequest, answer_requests
from reelspace.search.compute.signature import shard_config

from .builders import exact_ids, make_queries, make_shard, make_table

SEARCH = frozenset({"IDS", "SCORES"})


def request(query_BD: NDArray[np.float32], k: list[int], wanted: frozenset[str] = SEARCH, **inputs: object) -> ShardRequest:
    tensors = {"QUERY": query_BD, "K": np.array([[one] for one in k], dtype=np.int32)}
    return ShardRequest(tensors | {name: np.array(value, dtype=np.int64) for name, value in inputs.items()}, wanted)


def test_requests_answered_together_equal_requests_answered_alone() -> None:
    table, queries_QD = make_table(200), make_queries(6)
    shard = make_shard(table)
    requests = [
        request(queries_QD[:1], [3]),
        request(queries_QD[1:4], [1, 20, 5]),
        request(queries_QD[4:], [7, 7], EXCLUDE=[[exact_ids(table, queries_QD[4:5], 1)[0][0], -1], [-1, -1]]),
    ]
    together = answer_requests(shard, requests)
    for one, answer in zip(requests, together, strict=True):
        [alone] = answer_requests(shard, [one])
        assert not isinstance(answer, ReelspaceError)
        assert not isinstance(alone, ReelspaceError)
        assert all((answer[name] == alone[name]).all() for name in ("IDS", "SCORES"))
    ids_BK = together[1]["IDS"]  # type: ignore[index]
    assert ids_BK.shape == (3, 20)
    assert ids_BK[0, :1].tolist() == exact_ids(table, queries_QD[1:2], 1)[0]
    assert (ids_BK[0, 1:] == -1).all()


def test_a_bad_request_fails_alone() -> None:
    shard, queries_QD = make_shard(make_table(200)), make_queries(4)
    poison = queries_QD[:1].copy()
    poison[0, 3] = np.nan
    bad = {"QUERY": request(poison, [3]), "length": request(make_queries(1, 15), [3]), "K": request(queries_QD[:1], [0])}
    requests = [request(queries_QD[:1], [3]), *bad.values(), request(queries_QD[1:2], [3])]
    answers = answer_requests(shard, requests)
    assert [isinstance(answer, ReelspaceError) for answer in answers] == [False, True, True, True, False]
    for field, answer in zip(bad, answers[1:4], strict=True):
        assert field in str(answer)
    [alone] = answer_requests(shard, requests[-1:])
    assert (answers[-1]["IDS"] == alone["IDS"]).all()  # type: ignore[index]


def test_a_look_up_gives_the_stored_vector_and_nothing_else() -> None:
    table = make_table(50)
    shard = make_shard(table)
    zeros = np.zeros((2, 16), dtype=np.float32)
    [answer] = answer_requests(shard, [request(zeros, [1, 1], frozenset({"VECTOR"}), POINT=[[table.ids_N[4]], [1]])])
    assert not isinstance(answer, ReelspaceError)
    assert set(answer) == {"VECTOR"}
    np.testing.assert_allclose(answer["VECTOR"][0], table.vectors_ND[4], atol=1e-7)
    assert not answer["VECTOR"][1].any()


def test_payload_is_made_only_when_asked_for() -> None:
    shard, queries_QD = make_shard(make_table(50)), make_queries(1)
    [without] = answer_requests(shard, [request(queries_QD, [2])])
    [with_it] = answer_requests(shard, [request(queries_QD, [2], SEARCH | {"PAYLOAD"})])
    assert "PAYLOAD" not in without
    assert with_it["PAYLOAD"].tolist() == [[f'{{"number":{one}}}'.encode() for one in with_it["IDS"][0]]]  # type: ignore[index]


def test_configuration_names_the_versions_to_keep() -> None:
    assert "version_policy { specific { versions: [ 1, 3 ] } }" in shard_config("shard-videos@00112233-0", 16, [3, 1, 3])
