"""No other site can make a browser do something at the console, whatever cookies the browser would send along."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from reelspace.gateway.console.addresses import QUERY, ROOT, SESSION, SIGN_IN, SIGN_OUT
from reelspace.gateway.console.sessions import COOKIE

from ..guarded import VECTORS, Guarded, KeysFile, guarded
from .worlds import world

OURS: list[Mapping[str, str]] = [
    {"Origin": "http://testserver"},
    {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]
THEIRS: list[Mapping[str, str]] = [
    {},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "http://testserver.evil.example"},
    {"Origin": "http://testserver:81"},
    {"Origin": "http://evil.example", "Host": "evil.example:8000"},
    {"Origin": "http://[::1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
    {"Referer": "http://testserver/console"},
]
QUESTION = {"collection": "things", "by": "id", "id": "1"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("forgery")
    keys = KeysFile(directory / "keys.json")
    keys.add("all")
    with guarded(directory, keys) as gateway:
        assert gateway.ask("all", "PUT", "/collections/things", VECTORS).status_code == 200
        point = {"points": [{"id": 1, "vector": [1, 1]}]}
        assert gateway.ask("all", "PUT", "/collections/things/points?wait=true", point).status_code == 200
        yield gateway


def signed_in(gateway: Guarded) -> TestClient:
    """Give a browser with a session, that sends its cookie wherever it is told to."""
    browser = TestClient(gateway.app, follow_redirects=False, headers={"Accept": "text/html"})
    answer = browser.post(SESSION, data={"key": gateway.keys.secrets["all"]}, headers=OURS[0])
    assert (answer.status_code, COOKIE in browser.cookies) == (303, True)
    return browser


@pytest.mark.parametrize("headers", THEIRS)
def test_what_another_site_sends_is_refused_and_changes_nothing(gateway: Guarded, headers: Mapping[str, str]) -> None:
    browser = signed_in(gateway)
    host = {} if "Host" not in headers else {"Host": "testserver"}
    for path, form in ((QUERY, QUESTION), (SIGN_OUT, {}), (SESSION, {"key": gateway.keys.secrets["all"]})):
        answer = browser.post(path, data=form, headers=dict(headers) | host)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), path
    assert browser.get(ROOT).status_code == 200, "it is signed in as before"


@pytest.mark.parametrize("headers", OURS)
def test_what_the_console_itself_sends_is_done(gateway: Guarded, headers: Mapping[str, str]) -> None:
    browser = signed_in(gateway)
    assert browser.post(QUERY, data=QUESTION, headers=headers).status_code == 200
    answer = browser.post(SIGN_OUT, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, SIGN_IN)


def test_a_program_that_shows_its_key_needs_no_origin(gateway: Guarded) -> None:
    browser = TestClient(gateway.app)
    assert browser.post(QUERY, data=QUESTION, headers={"api-key": gateway.keys.secrets["all"]}).status_code == 200
    bearer = {"Authorization": f"Bearer {gateway.keys.secrets['all']}", "Origin": "http://elsewhere"}
    assert browser.post(QUERY, data=QUESTION, headers=bearer).status_code == 200


@pytest.mark.parametrize("headers", THEIRS)
def test_a_gateway_without_keys_is_asked_by_no_other_site_either(tmp_path: Path, headers: Mapping[str, str]) -> None:
    with world(tmp_path) as one:
        one.make("things", [1])
        assert one.ask("things", "id", id="1", headers=headers).status_code == 403
        assert one.ask("things", "id", id="1", headers=OURS[0]).status_code == 200


def test_addresses_that_are_read_change_nothing(gateway: Guarded) -> None:
    browser = signed_in(gateway)
    for path in (QUERY, SESSION, SIGN_OUT):
        assert browser.get(path).status_code == 405
    assert browser.get(ROOT).status_code == 200
