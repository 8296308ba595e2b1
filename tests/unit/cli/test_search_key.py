"""`reelspace search key` and how commands show a key."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from reelspace.cli.main import app
from reelspace.core.errors import SettingError, UserError
from reelspace.gateway.keys import KeyRing, parse_keys


def test_the_line_that_is_printed_lets_the_printed_key_in_for_its_days() -> None:
    words = ["search", "key", "robot", "--scope", "read", "--scope", "write", "--collection", "works", "--days", "3"]
    told = CliRunner().invoke(app, [*words]).stdout
    secret = told.splitlines()[0].rpartition(" ")[2]
    [key] = parse_keys(f"[{told.splitlines()[1].partition(':')[2]}]")
    assert KeyRing([key]).find(secret) == key
    assert (key.name, key.scopes, key.collections) == ("robot", ("read", "write"), ("works",))
    assert key.expires_at is not None
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert found["key"] != secret
    assert KeyRing(parse_keys(json.dumps([found["line"]]))).find(found["key"]) is not None


@pytest.mark.parametrize(("option", "value"), [("--scope", "root"), ("--collection", None)])
def test_a_key_for_nothing_is_refused(option: str, value: str | None) -> None:
    words = {"--scope": "read", "--collection": "*"} | {option: value}
    given = [word for name, one in words.items() if one is not None for word in (name, one)]
    result = CliRunner().invoke(app, ["search", "key", "robot", *given])
    assert result.exit_code != 0
    assert value is None or isinstance(result.exception, SettingError)


@pytest.mark.parametrize("words", [["query", "cats"], ["inspect"], ["export", "rows.parquet", "--collection", "a"]])
def test_commands_show_the_key_of_the_environment(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str | None] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers["api-key"])
            self.send_error(401)

        def log_message(self, *_: object) -> None: ...

        do_POST = do_GET

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for key in ("the-key", None):
            if key:
                monkeypatch.setenv("REELSPACE_API_KEY", key)
            else:
                monkeypatch.delenv("REELSPACE_API_KEY")
            assert isinstance(CliRunner().invoke(app, ["search", *words, "--url", url]).exception, UserError)
        server.shutdown()
    assert shown == ["the-key", None]
