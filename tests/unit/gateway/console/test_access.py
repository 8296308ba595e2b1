"""Who gets into the console: keys with the scope admin, through a session that holds no key and ends with it."""

import re
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from reelspace.gateway.console.addresses import BEFORE_SIGN_IN, QUERY, ROOT, SESSION, SIGN_IN, SIGN_OUT, STATUS
from reelspace.gateway.console.routes import HEADERS
from reelspace.gateway.console.sessions import COOKIE, MAX_SESSIONS, SESSION_S, Sessions, cookie

from ..guarded import VECTORS, Guarded, KeysFile, guarded
from .reading import read
from .worlds import BROWSER, world


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A gateway with the collections mine and theirs."""
    directory = tmp_path_factory.mktemp("access")
    keys = KeysFile(directory / "keys.json")
    keys.add("all")
    keys.add("reader", ["read"])
    keys.add("admin", ["admin"])
    keys.add("mine", ["read", "admin"], ["mine"])
    keys.add("leaving", ["admin"])
    keys.add("expired")
    keys.expire("expired")
    with guarded(directory, keys) as gateway:
        for name in ("mine", "theirs"):
            assert gateway.ask("all", "PUT", f"/collections/{name}", VECTORS).status_code == 200
            point = {"points": [{"id": 1, "vector": [1, 1]}, {"id": 2, "vector": [2, 1]}]}
            assert gateway.ask("all", "PUT", f"/collections/{name}/points?wait=true", point).status_code == 200
        yield gateway


@pytest.fixture
def browser(gateway: Guarded) -> TestClient:
    """A browser that has not signed in, and follows nothing by itself."""
    return TestClient(gateway.app, follow_redirects=False, headers=BROWSER)


def sign_in(gateway: Guarded, browser: TestClient, key: str) -> Response:
    return browser.post(SESSION, data={"key": gateway.keys.secrets.get(key, key)})


def ask(browser: TestClient, collection: str) -> Response:
    return browser.post(QUERY, data={"collection": collection, "by": "id", "id": "1"})


def test_without_a_session_a_browser_is_led_to_the_sign_in_and_a_program_is_refused(browser: TestClient) -> None:
    for method, path in (("GET", ROOT), ("GET", STATUS), ("POST", QUERY), ("POST", SIGN_OUT), ("GET", f"{ROOT}/nothing")):
        answer = browser.request(method, path)
        assert (answer.status_code, answer.headers["location"]) == (303, SIGN_IN), path
        refused = browser.request(method, path, headers={"Accept": "*/*"})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer"), path
    for path in BEFORE_SIGN_IN:
        assert browser.get(path).status_code == 200
    assert read(browser.get(SIGN_IN).text).one("form", action=SESSION).all("input")[0].attributes["type"] == "password"


def test_a_key_with_the_scope_admin_opens_a_session_that_does_not_hold_it(gateway: Guarded, browser: TestClient) -> None:
    answer = sign_in(gateway, browser, "all")
    assert (answer.status_code, answer.headers["location"]) == (303, ROOT)
    told = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert (told["path"], told["httponly"], told["samesite"], told["secure"]) == ("/console", True, "Strict", "")
    assert int(told["max-age"]) == SESSION_S
    secret = gateway.keys.secrets["all"]
    assert secret not in answer.headers["set-cookie"]
    assert gateway.keys.lines["all"]["sha256"] not in answer.headers["set-cookie"]
    page = browser.get(ROOT)
    assert page.status_code == 200
    assert secret not in page.text
    assert [row[0] for row in read(page.text).table("Collections")] == ["mine", "theirs"]
    assert ask(browser, "theirs").status_code == 200


def test_over_tls_the_cookie_is_never_sent_without_it(gateway: Guarded) -> None:
    browser = TestClient(gateway.app, "https://testserver", follow_redirects=False, headers=BROWSER | {"Origin": "https://testserver"})
    assert "; Secure" in sign_in(gateway, browser, "all").headers["set-cookie"]
    assert browser.get(ROOT).status_code == 200


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [
        ("reader", 403, "no scope admin"),
        ("wrong", 401, "none that is valid"),
        ("expired", 401, "none that is valid"),
        ("", 401, "none that is valid"),
    ],
)
def test_other_keys_open_none_and_are_told_so_on_the_page_of_the_sign_in(
    gateway: Guarded, browser: TestClient, key: str, status: int, words: str
) -> None:
    answer = sign_in(gateway, browser, key)
    assert (answer.status_code, "set-cookie" in answer.headers) == (status, False)
    page = read(answer.text)
    assert words in page.text
    assert page.one("form", action=SESSION)
    assert browser.get(ROOT).status_code == 303


def test_the_hash_of_a_key_is_no_key(gateway: Guarded, browser: TestClient) -> None:
    assert sign_in(gateway, browser, gateway.keys.lines["all"]["sha256"]).status_code == 401
    browser.cookies.set(COOKIE, gateway.keys.lines["all"]["sha256"], path="/console")
    assert browser.get(ROOT).status_code == 303


def test_a_session_is_for_the_console_alone(gateway: Guarded, browser: TestClient) -> None:
    token = SimpleCookie(sign_in(gateway, browser, "all").headers["set-cookie"])[COOKIE].value
    shown = {"Cookie": f"{COOKIE}={token}", "Accept": "*/*"}
    assert browser.get(ROOT, headers=shown).status_code == 200
    for method, path in (("GET", "/collections"), ("DELETE", "/collections/theirs"), ("GET", "/consoles"), ("GET", "/v2")):
        assert browser.request(method, path, headers=shown).status_code == 401, path


def test_a_key_in_a_header_needs_no_session_and_gets_none(gateway: Guarded, browser: TestClient) -> None:
    shown = {"api-key": gateway.keys.secrets["all"]}
    assert browser.get(ROOT, headers=shown).status_code == 200
    answer = browser.post(SESSION, headers=shown)
    assert (answer.status_code, "set-cookie" in answer.headers) == (400, False)
    for path in (ROOT, STATUS):
        assert browser.get(path, headers={"api-key": gateway.keys.secrets["reader"]}).status_code == 403
    assert browser.get(ROOT, headers={"api-key": "wrong"}).status_code == 303


def test_a_key_of_one_collection_sees_that_one_alone(gateway: Guarded, browser: TestClient) -> None:
    sign_in(gateway, browser, "mine")
    page = browser.get(ROOT)
    assert [row[0] for row in read(page.text).table("Collections")] == ["mine"]
    assert "theirs" not in page.text
    for name in ("theirs", "nowhere"):
        assert browser.get(ROOT, params={"collection": name}).status_code == 403
        assert browser.get(STATUS, params={"collection": name}).status_code == 403
        assert ask(browser, name).status_code == 403
    assert ask(browser, "mine").status_code == 200


def test_a_key_that_may_not_read_gets_no_rows(gateway: Guarded, browser: TestClient) -> None:
    sign_in(gateway, browser, "admin")
    assert "no scope read" in browser.get(ROOT).text
    answer = ask(browser, "mine")
    assert (answer.status_code, "no scope read" in answer.text) == (403, True)


def test_a_session_ends_with_its_key_within_a_second_or_two(gateway: Guarded, browser: TestClient) -> None:
    sign_in(gateway, browser, "leaving")
    assert browser.get(ROOT).status_code == 200
    del gateway.keys.lines["leaving"]
    gateway.keys.write()
    limit_s = time.monotonic() + 5
    while browser.get(ROOT).status_code == 200:
        assert time.monotonic() < limit_s
        time.sleep(0.05)
    assert browser.get(ROOT).headers["location"] == SIGN_IN


def test_a_sign_out_ends_the_session_and_not_only_the_cookie(gateway: Guarded, browser: TestClient) -> None:
    token = SimpleCookie(sign_in(gateway, browser, "all").headers["set-cookie"])[COOKIE].value
    answer = browser.post(SIGN_OUT)
    assert (answer.status_code, answer.headers["location"]) == (303, SIGN_IN)
    assert SimpleCookie(answer.headers["set-cookie"])[COOKIE]["max-age"] == "0"
    assert COOKIE not in browser.cookies
    assert browser.get(ROOT, headers={"Cookie": f"{COOKIE}={token}"}).status_code == 303


def test_every_answer_bounds_what_its_page_may_do(gateway: Guarded, browser: TestClient) -> None:
    sign_in(gateway, browser, "all")
    answers = [browser.get(path) for path in (ROOT, STATUS, SIGN_IN, *BEFORE_SIGN_IN, f"{ROOT}?collection=nowhere")]
    answers += [ask(browser, "mine"), ask(browser, "nowhere"), sign_in(gateway, browser, "wrong")]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.url
        assert "access-control-allow-origin" not in answer.headers
    assert re.match(r"default-src 'self';", HEADERS["Content-Security-Policy"])


def test_without_keys_nobody_signs_in(tmp_path: Path) -> None:
    with world(tmp_path) as one:
        assert one.page().status_code == 200
        assert "Sign out" not in one.page().text
        for answer in (
            one.client.get(SIGN_IN, follow_redirects=False),
            one.client.post(SESSION, headers=BROWSER, follow_redirects=False),
        ):
            assert (answer.status_code, answer.headers["location"], "set-cookie" in answer.headers) == (303, ROOT, False)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def header(token: str) -> str:
    return f"other=1; {cookie(token, secure=False).partition(';')[0]}; more=2"


def test_a_session_lasts_eight_hours_and_nothing_else_is_one() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    token = sessions.begin("ab" * 32)
    assert sessions.key_of(header(token)) == "ab" * 32
    assert [sessions.key_of(one) for one in (None, "", header(""), header(token[:-1]), header(token + "x"), "\udc80=1")] == [None] * 6
    clock.now_s = SESSION_S - 1
    assert sessions.key_of(header(token)) is not None
    clock.now_s = SESSION_S
    assert sessions.key_of(header(token)) is None


def test_sessions_are_bounded_and_the_oldest_goes_first() -> None:
    sessions = Sessions(Clock())
    tokens = [sessions.begin(f"{number:064x}") for number in range(MAX_SESSIONS + 3)]
    assert [sessions.key_of(header(token)) is None for token in tokens[:5]] == [True] * 3 + [False] * 2
    assert sessions.key_of(header(tokens[-1])) == f"{MAX_SESSIONS + 2:064x}"
    assert len({*tokens}) == len(tokens)
