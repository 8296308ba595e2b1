"""What the clients of the gateway write and read, without a gateway."""

import re
import subprocess
import sys
import time
from typing import Any

import numpy as np
import orjson
import pytest

from reelspace.core.errors import UserError
from reelspace.serving.client_calls import (
    MEDIA_FILES,
    TEXTS,
    VIDEOS,
    Embedded,
    Found,
    Hit,
    MediaFile,
    batches,
    checked_hits,
    infer_call,
    joined,
    query_call,
    read_found,
)
from reelspace.serving.client_errors import CallFailed, Reply
from reelspace.serving.infer_request import MAX_BODY_BYTES, parse_request
from reelspace.serving.preprocess import VideoQuery
from reelspace.serving.signatures import EncoderSizes, Signature, TensorSpec, text_signature, video_signature
from reelspace.serving.wire import HEAD_LENGTH, Answer, raw_of_tensor, text_tensor

HEAVY = ("torch", "faiss", "deepspeed", "tritonclient", "aiohttp", "fastapi", "pydantic", "polars", "av", "onnxruntime")
TEXT_ENCODER = text_signature("text_encoder", EncoderSizes(dimension=2))
OUTPUTS = (TensorSpec("EMBEDDING", "FP32", (2,)),)
MEDIA_ENCODER = Signature("media_encoder", (TensorSpec("MEDIA", "BYTES", (1,)), TensorSpec("TEXT", "BYTES", (1,))), OUTPUTS, 4)


def python(code: str) -> float:
    start_s = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return time.perf_counter() - start_s


def test_the_client_loads_without_heavy_libraries_in_little_more_than_its_own_need() -> None:
    load = "import sys, reelspace.serving.client"
    python(f"{load}\nheavy = [name for name in {HEAVY!r} if name in sys.modules]\nassert not heavy, heavy")
    ours, theirs = (min(python(code) for _ in range(3)) for code in (load, "import httpx, numpy, orjson"))
    assert ours <= 2 * theirs


def test_a_request_tells_the_gateway_how_long_its_client_waits_in_microseconds_that_it_takes() -> None:
    for left_s, expected_us in ((0.25, 250_000), (1e-9, 1), (1e6, 600_000_000)):
        sent = infer_call("text_encoder", {"TEXT": text_tensor(["ramen"])})(left_s)
        assert (sent.method, sent.path) == ("POST", "/v2/models/text_encoder/infer")
        assert sent.body is not None
        request = parse_request(sent.body, sent.headers[HEAD_LENGTH], TEXT_ENCODER)
        assert request.timeout_s == expected_us / 1e6
        assert request.outputs == {"EMBEDDING": True, "SPACE_ID": True}
        assert request.inputs["TEXT"].tolist() == [[b"ramen"]]


@pytest.mark.parametrize("value", [np.array([["a"]]), np.array([["a"]], dtype=np.object_), np.array([[1j]])])
def test_a_tensor_of_a_kind_that_the_protocol_has_not_is_refused_by_name(value: Any) -> None:
    with pytest.raises(UserError, match="X: expected"):
        infer_call("text_encoder", {"X": value})


def test_names_of_models_and_collections_stay_one_part_of_the_address() -> None:
    assert infer_call("a/../b?c", {"TEXT": text_tensor(["a"])})(1).path == "/v2/models/a%2F..%2Fb%3Fc/infer"
    assert query_call("ramen", "a/b#c", 3, None)(1).path == "/collections/a%2Fb%23c/points/query?timeout=1.000"


def test_queries_are_those_of_the_dialect() -> None:
    where = {"must": [{"key": "kind", "match": {"value": "video"}}]}
    words = query_call("ramen", "videos", 3, where)(1e9)
    assert words.path.endswith("?timeout=60.000")
    assert orjson.loads(words.body or b"") == {
        "query": {"text": "ramen", "model": "text_encoder"},
        "limit": 3,
        "with_payload": True,
        "filter": where,
    }
    vector = query_call(np.array([0.5, -1], dtype=np.float32), "videos", 3, None)(1e-9)
    assert vector.path.endswith("?timeout=0.001")
    assert orjson.loads(vector.body or b"")["query"] == [0.5, -1.0]
    with pytest.raises(UserError, match="cannot be written as JSON"):
        query_call("ramen", "videos", 3, {"must": {1, 2}})


def test_hits_keep_ids_of_both_kinds_and_have_a_payload() -> None:
    points = [{"id": 7, "score": 0.5, "payload": {"a": 1}}, {"id": "c0ffee00-0000-4000-8000-000000000000", "score": 0.25}]
    found = read_found(reply(orjson.dumps({"result": {"points": points, "space_id": "s"}})))
    assert found == Found([Hit(7, 0.5, {"a": 1}), Hit("c0ffee00-0000-4000-8000-000000000000", 0.25, {})], "s")
    for body in (b"", b"[]", b'{"result": null}', b'{"result": {"points": [1]}}', b'{"result": []}'):
        with pytest.raises(CallFailed, match="not the protocol's"):
            read_found(reply(body))


def test_hits_of_another_space_than_the_vector_are_none() -> None:
    vector_1D, hits = np.zeros((1, 2), np.float32), [Hit(7, 0.5, {})]
    for theirs, ours in (("a", "a"), ("", "a"), ("a", "")):
        assert checked_hits(Found(hits, theirs), Embedded(vector_1D, ours)) is hits
    with pytest.raises(CallFailed, match="the vector is of space b, the collection of a"):
        checked_hits(Found(hits, "a"), Embedded(vector_1D, "b"))


def test_files_are_put_together_up_to_the_models_batch_and_the_largest_body() -> None:
    """Greedy in order: every request but the last would be too large with one file more."""
    draw = np.random.default_rng(3)
    files = [MediaFile(bytes(int(size)), f"n{number} #tag") for number, size in enumerate(draw.integers(0, MAX_BODY_BYTES // 2, 9))]
    requests = list(batches(files, MEDIA_ENCODER, MEDIA_FILES))
    sizes = [sum(len(raw_of_tensor(tensor)) for tensor in request.values()) for request in requests]
    rows = [[len(data) for data in request["MEDIA"].reshape(-1)] for request in requests]
    assert [size for part in rows for size in part] == [len(file.data) for file in files]
    assert [text for request in requests for text in request["TEXT"].reshape(-1)] == [b"n%d" % number for number in range(9)]
    assert all(len(part) <= 4 and size <= MAX_BODY_BYTES for part, size in zip(rows, sizes, strict=True))
    slack = 200_000
    for part, size, after in zip(rows, sizes, rows[1:], strict=False):
        assert len(part) == 4 or size + after[0] + slack > MAX_BODY_BYTES


def test_videos_of_a_large_model_travel_in_requests_that_the_gateway_takes() -> None:
    signature = video_signature("video_encoder", EncoderSizes(2, 16, 224, 224, 16_000))
    videos = [VideoQuery(np.full((1, 224, 224, 3), number, np.uint8), None, "") for number in range(40)]
    first, *_ = requests = list(batches(videos, signature, VIDEOS))
    assert sum(len(request["TEXT"]) for request in requests) == 40
    assert 24 < len(first["TEXT"]) < 32
    assert sum(tensor.nbytes for tensor in first.values()) < MAX_BODY_BYTES


def test_one_value_above_the_largest_body_travels_alone_for_the_gateway_to_refuse() -> None:
    files = [MediaFile(b"a"), MediaFile(bytes(MAX_BODY_BYTES + 1)), MediaFile(b"b")]
    assert [len(request["MEDIA"]) for request in batches(files, MEDIA_ENCODER, MEDIA_FILES)] == [1, 1, 1]


@pytest.mark.parametrize("value", ["ramen", b"ramen"])
def test_one_text_is_not_taken_for_a_list_of_letters(value: Any) -> None:
    with pytest.raises(UserError, match="put it into a list"):
        batches(value, TEXT_ENCODER, TEXTS)


def test_a_model_that_makes_no_vectors_of_the_input_is_refused_by_what_it_takes() -> None:
    scorer = Signature("label_scorer", (TensorSpec("EMBEDDING", "FP32", (2,)),), (TensorSpec("LABELS", "BYTES", (3,)),))
    with pytest.raises(UserError, match=re.escape("expected a model that makes EMBEDDING of TEXT; label_scorer takes EMBEDDING")):
        batches(["a"], scorer, TEXTS)


def test_parts_of_one_space_are_joined_in_order_whatever_version_answered() -> None:
    def part(version: str, space_id: str, *rows: float) -> Answer:
        vectors_QD = np.array([[row, 1] for row in rows], np.float32)
        return Answer("text_encoder", version, {"EMBEDDING": vectors_QD}, {"space_id": space_id})

    both = joined([part("3", "a", 1, 2), part("4", "a", 3)], TEXT_ENCODER)
    assert (both.vectors_QD[:, 0].tolist(), both.space_id) == ([1, 2, 3], "a")
    assert joined([], TEXT_ENCODER).vectors_QD.shape == (0, 2)
    with pytest.raises(CallFailed, match="spaces a, b"):
        joined([part("3", "a", 1), part("4", "b", 3)], TEXT_ENCODER)


def reply(body: bytes) -> Reply:
    return Reply("http://127.0.0.1:9/collections/videos/points/query", 200, {}, body, "r-1")
