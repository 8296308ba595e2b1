"""Both clients through real gateways: vectors, refusals, keys, ids and traces, and searches as one call."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelspace.core.errors import BadMedia
from reelspace.core.local_store import LocalStore
from reelspace.gateway.app import ServedModels
from reelspace.gateway.keys import new_key
from reelspace.serving.client_calls import Hit, MediaFile
from reelspace.serving.client_errors import CallFailed, CallRefused
from reelspace.serving.client_retries import Retries
from reelspace.serving.preprocess import VideoQuery

from ..unit.search.access.serving import connect_to, serving
from ..unit.search.oracle_shard import OracleBackend
from .double import Double
from .either_client import KINDS, EitherClient
from .searched import OTHER_SPACE, SIDE, SPACE, TEXT_ENCODER, Searched, searched
from .served import Served

TRACE = "0af7651916cd43dd8448eb211c80319c"
ONCE = Retries(max_tries=1)
VIDEO = Hit(1, 1.0, {"kind": "video"})
IMAGE = Hit(2, 1.0, {"kind": "image"})


@pytest.fixture(params=KINDS)
def opening(request: pytest.FixtureRequest) -> Any:
    return partial(EitherClient, request.param)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    with searched(tmp_path_factory.mktemp("searched")) as running:
        yield running


def test_vectors_come_in_the_order_of_their_texts_whatever_their_number(served: Served, opening: Any) -> None:
    texts = ["x" * (1 + number) for number in range(100)]
    with opening(served.url) as client:
        np.testing.assert_array_equal(client("encode_text", texts), [[1 + number, 1] for number in range(100)])
        answer = client("infer", "text_encoder", {"TEXT": np.array([[b"ab"]], dtype=np.object_)})
    assert (answer.version, answer.parameters) == ("3", {"space_id": "space-1"})


def test_the_gateways_refusals_name_field_status_and_id(served: Served, opening: Any) -> None:
    with opening(served.url) as client:
        asking = client.for_request(request_id="r-refused")
        for call, status, field in (
            (("infer", "doubling", {"X": np.ones((1, 3), np.float32)}), 400, "inputs[0].shape"),
            (("infer", "doubling", {"X": np.full((1, 2), -1, np.float32)}), 400, "X"),
            (("infer", "absent", {"X": np.ones((1, 2), np.float32)}), 404, "model"),
        ):
            with pytest.raises(CallRefused) as caught:
                asking(*call)
            assert (caught.value.status, caught.value.field, caught.value.request_id) == (status, field, "r-refused")


def test_a_model_that_fails_is_the_servers_to_mend_and_a_slow_one_is_left_at_the_deadline(served: Served, opening: Any) -> None:
    with opening(served.url, retries=ONCE) as client:
        for value, status in ((500, {503}), (99, {408, None})):
            with pytest.raises(CallFailed) as caught:
                client("infer", "doubling", {"X": np.full((1, 2), value, np.float32)}, timeout_s=5 if value == 500 else 0.3)
            assert caught.value.status in status
            assert caught.value.retry_after_s == (1 if value == 500 else None)


def test_ids_and_traces_reach_the_gateways_log_and_triton(served: Served, double: Double, opening: Any) -> None:
    with opening(served.url) as client:
        client.for_request(request_id="r-traced", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")("encode_text", ["ab"])
        trace = double.came[-1].headers["traceparent"]
        client("encode_text", ["ab"])  # over the same connection: the line of the one before is written
    line = next(one for one in reversed(served.lines()) if one["request_id"] == "r-traced")
    assert (line["trace_id"], line["model"]) == (TRACE, "text_encoder")
    assert trace.split("-")[1] == TRACE


def test_a_key_lets_in_and_a_wrong_one_does_not(double: Double, opening: Any, tmp_path: Path) -> None:
    secret, line = new_key("reader", ["read"], ["*"])
    (tmp_path / "keys.json").write_text(json.dumps([line.model_dump(mode="json")]))
    store, models = LocalStore(tmp_path / "store"), ServedModels({"text_encoder": TEXT_ENCODER}, {})
    more = {"triton_http": double.address, "triton_grpc": "127.0.0.1:9", "keys_file": str(tmp_path / "keys.json")}
    with serving(store, connect_to(OracleBackend(store)), models, **more) as url:
        with opening(url, api_key=secret) as client:
            np.testing.assert_array_equal(client("encode_text", ["ab"]), [[2, 1]])
        for more in ({}, {"api_key": "wrong"}):
            with opening(url, **more) as client, pytest.raises(CallRefused) as caught:
                client("encode_text", ["ab"])
            assert (caught.value.status, caught.value.field) == (401, "api-key")


def test_words_find_works_in_one_call_with_filter_and_limit(found: Searched, opening: Any) -> None:
    with opening(found.url) as client:
        hits = client("search_text", "night ramen")
        assert [hit.id for hit in hits] == [2, 3, 1]
        assert hits[0] == IMAGE
        np.testing.assert_allclose([hit.score for hit in hits], [1, 0.8, 0], atol=1e-6)
        only = {"must": [{"key": "kind", "match": {"value": "video"}}]}
        assert [hit.id for hit in client("search_text", "night ramen", limit=1, where=only)] == [3]


def test_files_and_decoded_media_find_works_in_one_call(found: Searched, opening: Any) -> None:
    picture = np.full((1, SIDE, SIDE, 3), [9, 0, 5], np.uint8)
    not_it = {"must_not": [{"has_id": [1]}]}
    with opening(found.url) as client:
        assert client("search_video", MediaFile(b"\x07\0 and more", "a caption"), limit=1) == [VIDEO]
        assert client("search_video", VideoQuery(picture, None, "a caption"), limit=1) == [VIDEO]
        assert [hit.id for hit in client("search_video", MediaFile(b"\x07\0"), where=not_it)] == [3, 2]
        np.testing.assert_array_equal(client("encode_media", [MediaFile(b"%c%c" % (number, 1)) for number in range(9)])[:, 0], range(9))
        with pytest.raises(BadMedia, match="expected frames of"):
            client("search_video", VideoQuery(picture[:, :2], None, ""))


def test_what_the_gateway_refuses_of_a_search_is_its_own_message(found: Searched, opening: Any) -> None:
    with opening(found.url) as client:
        for more, status, match in (
            ({"collection": "absent"}, 404, "Collection `absent` doesn't exist"),
            ({"where": {"must": [{"geo_radius": {}}]}}, 400, "filter.must"),
            ({"limit": 0}, 400, "limit: expected"),
        ):
            with pytest.raises(CallRefused, match=match) as caught:
                client("search_text", "ramen", **more)
            assert caught.value.status == status
            assert caught.value.request_id


def test_a_vector_of_another_space_than_the_collection_finds_nothing(found: Searched, opening: Any) -> None:
    found.models.space_id = OTHER_SPACE
    try:
        with (
            opening(found.url) as client,
            pytest.raises(CallFailed, match=f"the vector is of space {OTHER_SPACE}, the collection of {SPACE}"),
        ):
            client("search_video", MediaFile(b"\x07\0"))
    finally:
        found.models.space_id = SPACE
