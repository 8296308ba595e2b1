"""What the S3 store does when the server is wrong, away, or careless."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from minio import Minio

from reelspace.core.errors import PreconditionFailed, SettingError, StoreUnavailable
from reelspace.core.s3_store import S3Place, S3Store, credentials_of
from reelspace.core.store import open_store

ENVIRONMENT = {"REELSPACE_S3_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


class Careless(BaseHTTPRequestHandler):
    """An S3 server that stores whatever it is given and looks at no condition."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("ETag", '"0123"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Literal(Careless):
    """An S3 server with one object, as Ceph is: it takes the quotes around the tag of a condition for a part of the tag."""

    stored: str | None = None

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = self.headers["If-Match"]
        met = type(self).stored is None if self.headers["If-None-Match"] else wanted is None or wanted == type(self).stored
        if met:
            type(self).stored = md5(body).hexdigest()
        self.send_response(200 if met else 412)
        self.send_header("ETag", f'"{type(self).stored}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        type(self).stored = None
        self._answer(204)


class Broken(Careless):
    """An S3 server that cannot write now."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(503)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in {**ENVIRONMENT, "REELSPACE_S3_ENDPOINT": endpoint}.items():
        monkeypatch.setenv(name, value)


def test_a_server_that_ignores_conditions_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Careless) as endpoint:
        environment(monkeypatch, endpoint)
        with pytest.raises(SettingError, match=f"{endpoint} ignores conditional writes"):
            open_store("s3://bucket/prefix")


def test_a_server_that_compares_quotes_of_tags_too_is_given_tags_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Literal) as endpoint:
        environment(monkeypatch, endpoint)
        store = open_store("s3://bucket/prefix")
        first = store.put_if_absent("key", b"1")
        second = store.put_if_match("key", b"2", first)
        assert (first, second) == (md5(b"1").hexdigest(), md5(b"2").hexdigest())
        with pytest.raises(PreconditionFailed):
            store.put_if_match("key", b"3", first)


def test_a_server_that_answers_503_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Broken) as endpoint:
        environment(monkeypatch, endpoint)
        with pytest.raises(StoreUnavailable, match="503"):
            open_store("s3://bucket/prefix")


def test_a_server_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        environment(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(StoreUnavailable, match="did not answer"):
            open_store("s3://bucket/prefix")


def test_a_bucket_that_does_not_exist_is_a_setting_error(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, s3_endpoint)
    with pytest.raises(SettingError, match="NoSuchBucket"):
        open_store("s3://no-such-bucket/prefix")


def test_opening_leaves_nothing_in_the_bucket(s3_endpoint: str, s3_url: str) -> None:
    open_store(s3_url)
    whole = Minio(s3_endpoint.removeprefix("http://"), "key", "secret", secure=False)
    assert list(whole.list_objects(s3_url.split("/")[2], recursive=True)) == []


def test_a_conditional_write_stores_its_body(s3_url: str) -> None:
    store = open_store(s3_url)
    etag = store.put_if_absent("key", b"a=1&b=2")
    assert store.get("key") == b"a=1&b=2"
    store.put_if_match("key", b"c=3", etag)
    assert store.get("key") == b"c=3"


def test_keys_lie_below_the_prefix(s3_url: str) -> None:
    open_store(s3_url).put("a/b", b"1")
    whole = open_store("/".join(s3_url.split("/")[:3]))
    assert list(whole.list("")) == ["some/prefix/a/b"]
    assert whole.get("some/prefix/a/b") == b"1"


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "ftp://host", "http://"])
def test_an_endpoint_without_scheme_or_host_is_a_setting_error(endpoint: str) -> None:
    with pytest.raises(SettingError, match="REELSPACE_S3_ENDPOINT"):
        S3Place.from_environment("s3://bucket", {"REELSPACE_S3_ENDPOINT": endpoint})


def test_the_place_is_read_from_the_environment() -> None:
    place = S3Place.from_environment("s3://bucket/a/b/", {**ENVIRONMENT, "AWS_REGION": "eu-north-1"})
    assert (place.bucket, place.prefix, place.region) == ("bucket", "a/b/", "eu-north-1")
    assert S3Store(place).url == "s3://bucket/a/b"
    assert S3Place.from_environment("s3://bucket", {}).endpoint == "https://s3.amazonaws.com"


@pytest.mark.parametrize("url", ["s3://b/p", "s3://", "s3:///p", f"s3://{'b' * 64}/p", "s3://-bucket/p", "s3://a@b.c/p"])
def test_a_bucket_of_another_name_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="expected s3://bucket/prefix"):
        S3Place.from_environment(url, ENVIRONMENT)


def test_keys_come_from_a_file_that_is_read_again_and_those_of_variables_come_first(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(path)}
    place = S3Place.from_environment("s3://bucket", environment)
    with pytest.raises(SettingError, match="AWS_SHARED_CREDENTIALS_FILE: access key does not exist"):
        S3Store(place)
    path.write_text("no section\n")
    with pytest.raises(SettingError, match="AWS_SHARED_CREDENTIALS_FILE"):
        S3Store(place)
    for key in ("first", "second"):
        path.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")
        provider = credentials_of(place)
        assert provider is not None
        assert provider.retrieve().access_key == key
    given = credentials_of(S3Place.from_environment("s3://bucket", ENVIRONMENT | environment))
    assert given is not None
    assert given.retrieve().access_key == "key"
