"""Both clients against a gateway that answers as it is told: what is tried again, when, how often, and what callers hear."""

import asyncio
import pickle
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from reelspace.core.errors import ServerUnavailable, SettingError, UserError
from reelspace.serving.client import AsyncServingClient, ServingClient
from reelspace.serving.client_connection import Tls
from reelspace.serving.client_errors import CallFailed, CallRefused
from reelspace.serving.client_retries import Retries

from ..unit.gateway.test_entrance import write_certificate
from .either_client import KINDS, EitherClient, Waits
from .scripted import METADATA, Script, Step, scripted

ONCE = Retries(max_tries=1)
TEMPORARY = (408, 429, 502, 503, 504)


class Opening(Protocol):
    def __call__(self, url: str, **more: Any) -> EitherClient: ...


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted() as running:
        yield running


@pytest.fixture(params=KINDS)
def opening(request: pytest.FixtureRequest) -> Opening:
    return partial(EitherClient, request.param)


def failed(client: EitherClient, *call: Any, **more: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        client(*call, **more)
    return caught.value


def test_what_is_temporary_is_tried_again_after_drawn_waits_that_double(script: Script, opening: Opening) -> None:
    for step in ([Step(status) for status in TEMPORARY], [Step(closes=True)] * 3):
        script.steps, waits = list(step), Waits(drawn=0.5)
        with opening(script.url, retries=waits.retries(max_tries=6)) as client:
            np.testing.assert_array_equal(client("encode_text", ["ab", "拉麵"]), [[2, 1], [6, 1]])
        assert script.steps == []
        assert waits.waits == [0.025 * 2**number for number in range(len(step))]


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 501])
def test_a_refusal_is_heard_at_once_with_its_field_and_id(script: Script, opening: Opening, status: int) -> None:
    script.steps = [
        Step(status, {"X-Request-Id": "theirs"}, b'{"error": "inputs[0].shape: TEXT has\\nanother", "field": "inputs[0].shape"}')
    ]
    with opening(script.url, retries=Waits().retries()) as client, pytest.raises(CallRefused) as caught:
        client("encode_text", ["ab"])
    error = caught.value
    assert str(error) == f"{script.url}/v2/models/text_encoder/infer: inputs[0].shape: TEXT has another"
    assert (error.status, error.field, error.request_id, len(script.came)) == (status, "inputs[0].shape", "theirs", 1)
    assert isinstance(error, UserError)


def test_a_failure_that_will_not_mend_itself_is_heard_at_once_as_the_servers(script: Script, opening: Opening) -> None:
    for step in (Step(500, body=b"<html>"), Step(200, body=b"<html>"), Step(200, body=b'{"outputs": 3}'), Step(503, {}, b"[]")):
        script.steps, script.came = [step] * 4, []
        with opening(script.url, retries=Waits().retries()) as client:
            error = failed(client, "encode_text", ["ab"])
        assert isinstance(error, ServerUnavailable)
        assert error.status == step.status
        assert len(script.came) == error.num_tries == (4 if step.status == 503 else 1)


def test_the_wait_that_the_server_asks_for_is_kept_with_a_drawn_one_behind_it(script: Script, opening: Opening) -> None:
    script.steps, waits = [Step(429, {"Retry-After": "3"}), Step(503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})], Waits(drawn=0.5)
    with opening(script.url, retries=waits.retries()) as client:
        client("encode_text", ["ab"])
    assert waits.waits == [3.025, 0.05]


@pytest.mark.parametrize("where", ["call", "client"])
def test_no_wait_goes_beyond_the_callers_deadline(script: Script, opening: Opening, where: str) -> None:
    script.steps, waits = [Step(503, {"Retry-After": "3"})] * 9, Waits()
    with opening(script.url, retries=waits.retries(max_tries=9), timeout_s=10 if where == "client" else 60) as client:
        error = failed(client, "encode_text", ["ab"], timeout_s=10 if where == "call" else None)
    assert (error.status, error.retry_after_s, error.num_tries) == (503, 3, 4)
    assert waits.waits == [3.05, 3.1, 3.2]


def test_a_deadline_is_for_all_requests_of_a_call(script: Script, opening: Opening) -> None:
    script.steps, waits = [Step(503, {"Retry-After": "3"}), Step(), Step(503, {"Retry-After": "3"})], Waits(drawn=0)
    more = {"num_parallel": 1} if "asyncio" in opening.args else {}  # type: ignore[attr-defined]
    with opening(script.url, retries=waits.retries(), **more) as client:
        assert failed(client, "encode_text", ["ab"] * 8, timeout_s=5).status == 503
        client("encode_text", ["ab"] * 8)
    assert waits.waits == [3.0]
    times_us = [one.head["parameters"]["timeout"] for one in script.came]
    assert times_us == [5_000_000, 2_000_000, 2_000_000, 30_000_000, 30_000_000]


def test_a_server_that_fails_is_not_asked_much_more_for_it(script: Script, opening: Opening) -> None:
    """Without the budget 30 calls of 4 tries would be 120 requests."""
    waits = Waits()
    with opening(script.url, retries=waits.retries(burst=5, share=0.25)) as client:
        client("signature", "text_encoder")
        script.steps = [Step(503)] * 1000
        for _ in range(30):
            failed(client, "encode_text", ["ab"])
        assert len(script.came) == 30 + 5
        script.steps, script.came = [], []
        for _ in range(8):
            client("encode_text", ["ab"])
        script.steps, script.came = [Step(503)] * 1000, []
        for _ in range(10):
            failed(client, "encode_text", ["ab"])
        assert len(script.came) == 10 + 2


def test_a_port_where_nothing_listens_is_tried_again_and_named(opening: Opening) -> None:
    waits = Waits()
    with opening("http://127.0.0.1:9", retries=waits.retries()) as client:
        error = failed(client, "search_text", "ramen")
    assert (error.status, error.num_tries, len(waits.waits)) == (None, 4, 3)
    assert "http://127.0.0.1:9/collections/videos/points/query did not answer" in str(error)
    assert error.request_id


@pytest.mark.parametrize("step", [Step(wait_s=3.0), Step(drips=True)], ids=["late", "dripping"])
def test_an_answer_that_is_late_is_given_up_on(script: Script, opening: Opening, step: Step) -> None:
    with opening(script.url, retries=ONCE) as client:
        client("signature", "text_encoder")
        script.steps, start_s = [step], time.monotonic()
        error = failed(client, "encode_text", ["ab"], timeout_s=0.2)
    assert 0.2 <= time.monotonic() - start_s < 2
    assert error.status is None


def test_the_server_hears_how_long_the_caller_waits(script: Script, opening: Opening) -> None:
    script.steps, waits = [Step(), Step(503), Step(), Step(503)], Waits()
    with opening(script.url, retries=waits.retries(first_wait_s=1), timeout_s=20) as client:
        client("encode_text", ["ab"], timeout_s=0.5)
        client("encode_text", ["ab"])
        client("search_text", "ramen", timeout_s=4)
    assert [one.head["parameters"]["timeout"] for one in script.came[:3]] == [500_000, 20_000_000, 19_000_000]
    assert [one.path.partition("?")[2] for one in script.came[3:]] == ["timeout=4.000", "timeout=3.000"]


def test_key_trace_and_one_id_for_all_tries_go_with_every_request(script: Script, opening: Opening) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    script.steps = [Step(503), Step(503), Step(), Step(503), Step()]
    with opening(script.url, api_key="secret", retries=Waits().retries(max_tries=3)) as client:
        client("encode_text", ["ab"])
        client.for_request(request_id="r-1", traceparent=trace)("search_text", "ramen")
        script.steps = [Step(503)] * 3
        error = failed(client, "search_text", "ramen")
    assert {one.headers["api-key"] for one in script.came} == {"secret"}
    ids = [one.headers["x-request-id"] for one in script.came]
    assert len(set(ids[:3])) == len(set(ids[5:])) == 1
    assert ids[3:5] == ["r-1", "r-1"]
    assert len(set(ids)) == 3
    assert error.request_id == ids[-1]
    assert [one.headers.get("traceparent") for one in script.came] == [None] * 3 + [trace] * 2 + [None] * 3


def test_all_requests_of_a_call_have_one_id_which_the_protocol_has_too(script: Script, opening: Opening) -> None:
    with opening(script.url) as client:
        client("encode_text", ["ab"] * 12)
        client("encode_text", ["ab"] * 4)
        client.for_request(request_id="r-1")("encode_text", ["ab"] * 4)
    ids = [one.headers["x-request-id"] for one in script.came]
    assert [one.head["id"] for one in script.came] == ids
    assert len(set(ids[:3])) == 1
    assert len(set(ids)) == 3
    assert ids[4] == "r-1"


def test_a_certificate_is_trusted_when_its_authority_is_named_and_the_clients_own_is_shown(opening: Opening, tmp_path: Path) -> None:
    cert, key = (str(path) for path in write_certificate(tmp_path, "gateway"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cert)
    tls.load_cert_chain(cert, key)
    with scripted(tls) as script:
        with opening(script.url, tls=Tls(ca_file=cert)) as client:
            np.testing.assert_array_equal(client("encode_text", ["ab"]), [[2, 1]])
        with opening(script.url, retries=ONCE) as client:
            with pytest.raises(CallRefused, match="the certificate of the gateway is not to be trusted") as caught:
                client("encode_text", ["ab"])
            assert caught.value.status is None
        tls.verify_mode = ssl.CERT_REQUIRED
        with opening(script.url, tls=Tls(cert, cert, key)) as client:
            np.testing.assert_array_equal(client("encode_text", ["ab"]), [[2, 1]])
        # Whether the refusal is met while writing or while reading is a race: asked often enough, both are.
        for _ in range(12):
            with opening(script.url, tls=Tls(ca_file=cert), retries=ONCE) as client:
                failed(client, "encode_text", ["ab"])


def test_connections_are_kept(script: Script, opening: Opening) -> None:
    with opening(script.url) as client:
        for _ in range(5):
            client("encode_text", ["ab"])
            client("search_text", "ramen")
    assert len({one.connection for one in script.came}) == 1


def test_texts_travel_in_full_batches_and_come_back_in_order(script: Script, opening: Opening) -> None:
    texts = ["x" * (1 + number) for number in range(11)]
    with opening(script.url) as client:
        np.testing.assert_array_equal(client("encode_text", texts)[:, 0], np.arange(1, 12))
        assert sorted(one.head["inputs"][0]["shape"][0] for one in script.came) == [3, 4, 4]
        assert client("encode_text", []).shape == (0, 2)
    assert (len(script.came), script.described) == (3, 1)


def test_parts_of_a_call_are_under_way_together_within_the_bound_and_stop_with_the_first_that_fails(script: Script) -> None:
    async def run() -> None:
        async with AsyncServingClient(script.url, retries=ONCE, num_parallel=3) as client:
            await client.signature("text_encoder")
            script.steps = [Step(meets=3), Step(wait_s=0.1, meets=3), Step(meets=3), *[Step(wait_s=0.05)] * 4]
            vectors_QD = await client.encode_text(["x" * (1 + number) for number in range(28)])
            assert vectors_QD[:, 0].tolist() == list(range(1, 29))
            assert script.most_running == 3
            script.came, script.steps = [], [Step(503), *[Step(wait_s=0.2)] * 9]
            with pytest.raises(CallFailed):
                await client.encode_text(["x"] * 40)
            assert len(script.came) <= 3
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_vectors_of_two_spaces_are_never_put_into_one_answer(script: Script, opening: Opening) -> None:
    script.space_ids = ["space-1", "space-2"]
    with opening(script.url) as client:
        assert "promoted anew between two requests: spaces space-1, space-2" in str(failed(client, "encode_text", ["ab"] * 5))
        assert len(client("encode_text", ["ab"] * 5)) == 5


def test_after_a_refusal_the_model_is_described_anew(script: Script, opening: Opening) -> None:
    script.steps = [Step(400)]
    with opening(script.url) as client:
        with pytest.raises(CallRefused):
            client("encode_text", ["ab"] * 4)
        script.metadata, script.came = {**METADATA, "parameters": {**METADATA["parameters"], "max_batch_size": 2}}, []
        client("encode_text", ["ab"] * 4)
        client("encode_text", ["ab"] * 4)
    assert len(script.came) == 4
    assert script.described == 2


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (("encode_text", "ramen"), "expected a list of values for text_encoder, got one str"),
        (("encode_videos", [], "text_encoder"), "expected a model that makes EMBEDDING of FRAMES; text_encoder takes TEXT"),
    ],
)
def test_what_cannot_be_asked_is_refused_here(script: Script, opening: Opening, call: tuple[Any, ...], match: str) -> None:
    with opening(script.url) as client, pytest.raises(UserError, match=match):
        client(*call)
    assert script.came == []


def test_what_is_no_address_key_or_file_is_refused(opening: Opening, tmp_path: Path) -> None:
    for url in ("127.0.0.1:9", "ftp://127.0.0.1", "http://", ""):
        with pytest.raises(SettingError, match="address of the gateway"):
            opening(url)
    for more in ({"api_key": "a\nb"}, {"api_key": ""}, {"timeout_s": 0}, {"tls": Tls(ca_file=str(tmp_path / "absent.pem"))}):
        with pytest.raises(SettingError, match=next(iter(more))):
            opening("https://127.0.0.1:9", **more)
    with opening("http://127.0.0.1:9") as client:
        for more in ({"traceparent": "a\r\nb: c"}, {"request_id": "x" * 65}, {"request_id": "order 17"}):
            with pytest.raises(SettingError, match=next(iter(more))):
                client.for_request(**more)


def test_errors_survive_the_way_to_another_process() -> None:
    error = CallFailed("why", status=503, request_id="r-1", retry_after_s=2.0, may_repeat=True)
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (str(copied), vars(copied)) == (str(error), vars(error))


def test_threads_share_a_client(script: Script) -> None:
    found: dict[int, list[float]] = {}
    with ServingClient(script.url) as client:

        def ask(number: int) -> None:
            found[number] = client.encode_text(["x" * number])[0].tolist()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {number: [number, 1] for number in range(1, 9)}
