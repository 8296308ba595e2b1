"""Who gets in over HTTP and gRPC: every route and every method, with every kind of key."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from fastapi.routing import APIRoute
from qdrant_client.grpc import collections_pb2, points_pb2

from reelspace.core.errors import InternalError, SettingError
from reelspace.core.settings import read
from reelspace.gateway.http_entrance import OPEN_PATHS
from reelspace.gateway.keys import EVERY, KeyRing, new_key, parse_keys, read_keys
from reelspace.gateway.operations import SCOPES, operation_of, scope_of
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access.messages.methods import dialect_methods

from .guarded import VECTORS, Guarded, KeysFile, guarded

CLAIMS = "eyJzdWIiOiJhbGwiLCJzY29wZXMiOlsicmVhZCIsIndyaXRlIiwiYWRtaW4iXX0"
# Our keys are no JWT: one that says so of itself, signed by nothing (alg none) or by a secret of its own (HS256), is a wrong key.
NOT_LET_IN = (None, "", "wrong", "expired", "revoked", f"eyJhbGciOiJub25lIn0.{CLAIMS}.", f"eyJhbGciOiJIUzI1NiJ9.{CLAIMS}.c2lnbmVk")
CREATE = collections_pb2.CreateCollection(
    vectors_config=collections_pb2.VectorsConfig(params=collections_pb2.VectorParams(size=2, distance=collections_pb2.Distance.Dot))
)
INDEX = points_pb2.CreateFieldIndexCollection(field_name="kind", field_type=points_pb2.FieldType.FieldTypeKeyword)
UNINDEX = points_pb2.DeleteFieldIndexCollection(field_name="kind")
BODIES = {"Collections/Create": CREATE, "Points/CreateFieldIndex": INDEX, "Points/DeleteFieldIndex": UNINDEX}
OF_ALL = {"collections.list", "collections.aliases", "collections.change_aliases"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A gateway with the collections mine (alias own) and theirs, and a key of every kind."""
    directory = tmp_path_factory.mktemp("guarded")
    keys = KeysFile(directory / "keys.json")
    keys.add("all")
    for scope in ("read", "write", "admin"):
        keys.add(f"mine-{scope}", [scope], ["mine"])
        keys.add(f"theirs-{scope}", [scope], ["theirs", "later"])
    keys.add("by-alias", ["read", "admin"], ["own", "own2"])
    keys.add("expired")
    keys.expire("expired")
    keys.add("revoked")
    with guarded(directory, keys) as gateway:
        for name in ("mine", "theirs"):
            assert gateway.ask("all", "PUT", f"/collections/{name}", VECTORS).status_code == 200
        for collection, alias in (("mine", "own"), ("theirs", "foreign")):
            action = {"create_alias": {"collection_name": collection, "alias_name": alias}}
            assert gateway.ask("all", "POST", "/collections/aliases", {"actions": [action]}).status_code == 200
        assert gateway.ask("revoked", "GET", "/collections").status_code == 200
        del keys.lines["revoked"]
        keys.write()
        limit_s = time.monotonic() + 5
        while gateway.ask("revoked", "GET", "/collections").status_code == 200:
            assert time.monotonic() < limit_s, "a key that is taken out of the file must go within a second or two"
            time.sleep(0.05)
        yield gateway


def routes(gateway: Guarded) -> list[tuple[str, str, Any]]:
    """Give method, path and handler of every route that the application itself has."""
    found = []
    for route in gateway.app.routes:
        for one in getattr(getattr(route, "original_router", None), "routes", [route]):
            if isinstance(one, APIRoute):
                found += [(method, one.path, one.endpoint) for method in sorted(one.methods)]
    return found


def address(path: str, collection: str) -> str:
    parts = {"collection": collection, "feature:path": f"{collection}/points/search", "point": "1", "key": "kind", "model": "text_encoder"}
    parts |= {"version": "1", "call:path": "nothing"}
    return re.sub(r"\{([^}]*)\}", lambda found: parts[found[1]], path)


def methods() -> dict[str, Any]:
    return dialect_methods(lambda: pytest.fail("nothing is asked"))


def message(path: str, collection: str) -> bytes:
    """Make a message for a method; a collection's name is field 1 of all of them."""
    if path.endswith("UpdateAliases"):
        action = collections_pb2.CreateAlias(collection_name=collection, alias_name="foreign" if collection == "theirs" else "mine")
        return collections_pb2.ChangeAliases(actions=[collections_pb2.AliasOperations(create_alias=action)]).SerializeToString()
    if operation_of(methods()[path]) in OF_ALL:
        return b""
    body = BODIES.get(path.removeprefix("/qdrant."))
    name = bytes([0x0A, len(collection)]) + collection.encode()
    return name + (b"" if body is None else body.SerializeToString())


def test_every_route_and_method_is_an_operation_with_a_scope_and_every_scope_is_of_one(gateway: Guarded) -> None:
    probes = {"/livez", "/healthz", "/readyz", "/startupz", "/metrics"}
    handlers = [handler for _, path, handler in routes(gateway) if path not in probes] + list(methods().values())
    assert {operation_of(handler) for handler in handlers} == set(SCOPES)
    assert {path for _, path, handler in routes(gateway) if path in probes or scope_of(handler) is None} == OPEN_PATHS

    async def new(collection: str) -> None: ...

    with pytest.raises(InternalError, match="new has no scope"):
        scope_of(new)


def test_no_route_answers_without_a_valid_key_and_all_refusals_look_the_same(gateway: Guarded) -> None:
    tried, bodies = 0, set()
    for method, path, _ in routes(gateway):
        if path in OPEN_PATHS:
            assert gateway.ask(None, method, path).status_code in (200, 503)
            continue
        for key in (*NOT_LET_IN, gateway.keys.lines["all"]["sha256"]):
            answer = gateway.ask(key, method, address(path, "mine"))
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), (method, path, key)
            bodies.add(re.sub(r'"(time|request_id)":("\w+"|[0-9.e-]+)', "", answer.text))
            tried += 1
    assert tried > 200
    assert len(bodies) == 2, "one in the dialect's shape, one in that of V2"
    assert gateway.ask(None, "GET", "/no/such/place").status_code == 401
    assert gateway.ask(None, "GET", "/openapi.json").status_code == 401


def test_no_method_answers_without_a_valid_key(gateway: Guarded) -> None:
    for path, method in methods().items():
        for key in NOT_LET_IN:
            expected = grpc.StatusCode.OK if scope_of(method) is None else grpc.StatusCode.UNAUTHENTICATED
            assert gateway.call(key, path, b"" if scope_of(method) is None else message(path, "mine")).code() == expected, (path, key)


def test_routes_want_their_scope_and_a_key_of_the_collection(gateway: Guarded) -> None:
    for method, path, handler in routes(gateway):
        scope = None if path in OPEN_PATHS else scope_of(handler)
        if scope is None or operation_of(handler) == "collections.delete":
            continue
        for owner in ("mine", "theirs"):
            for given in ("read", "write", "admin"):
                status = gateway.ask(f"{owner}-{given}", method, address(path, "mine")).status_code
                may = given == scope and (owner == "mine" or ("{collection}" not in path and "{feature" not in path))
                assert (status != 403) == may, (method, path, owner, given, status)
                assert status < 500 or status == 501 or path.startswith("/v2")


def test_methods_want_their_scope_and_a_key_of_the_collection(gateway: Guarded) -> None:
    denied = grpc.StatusCode.PERMISSION_DENIED
    for path, method in methods().items():
        scope, operation = scope_of(method), operation_of(method)
        if scope is None or operation == "collections.delete":
            continue
        for owner in ("mine", "theirs"):
            for given in ("read", "write", "admin"):
                code = gateway.call(f"{owner}-{given}", path, message(path, "mine")).code()
                may = given == scope and (owner == "mine" or operation in OF_ALL - {"collections.change_aliases"})
                assert (code != denied) == may, (path, owner, given, code)
                assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


def test_a_key_learns_nothing_of_what_it_may_not_see(gateway: Guarded) -> None:
    def told(path: str) -> str:
        return re.sub(r'"(time|request_id)":("\w+"|[0-9.e-]+)', "", gateway.ask("mine-read", "GET", path).text)

    assert told("/collections/theirs") == told("/collections/nowhere")
    assert told("/collections/theirs/exists") == told("/collections/nowhere/exists")
    details = {
        gateway.call("mine-read", "/qdrant.Points/Count", message("/qdrant.Points/Count", name)).details() for name in ("theirs", "nowhere")
    }
    assert len(details) == 1
    assert not details.pop().count("theirs")


def test_lists_hold_what_the_key_sees(gateway: Guarded) -> None:
    def seen(key: str) -> tuple[list[str], list[str]]:
        names = gateway.ask(key, "GET", "/collections").json()["result"]["collections"]
        aliases = gateway.ask(key, "GET", "/aliases").json()["result"]["aliases"]
        return [one["name"] for one in names], [one["alias_name"] for one in aliases]

    assert seen("all") == (["mine", "theirs"], ["foreign", "own"])
    assert seen("mine-read") == seen("by-alias") == (["mine"], ["own"])
    assert seen("theirs-read") == (["theirs"], ["foreign"])
    answer = gateway.channel.unary_unary("/qdrant.Collections/List")(b"", metadata=[("api-key", gateway.keys.secrets["theirs-read"])])
    assert [one.name for one in collections_pb2.ListCollectionsResponse.FromString(answer).collections] == ["theirs"]


def test_a_key_for_an_alias_sees_its_collection_and_only_names_it_lists_get_another_meaning(gateway: Guarded) -> None:
    assert gateway.ask("by-alias", "GET", "/collections/mine").status_code == 200

    def alias(key: str, collection: str, name: str) -> int:
        action = {"create_alias": {"collection_name": collection, "alias_name": name}}
        return gateway.ask(key, "POST", "/collections/aliases", {"actions": [action]}).status_code

    assert alias("by-alias", "theirs", "own2") == 403
    assert alias("by-alias", "mine", "unlisted") == 403
    assert alias("by-alias", "mine", "own2") == 200
    renamed = {"rename_alias": {"old_alias_name": "foreign", "new_alias_name": "own2"}}
    assert gateway.ask("by-alias", "POST", "/collections/aliases", {"actions": [renamed]}).status_code == 403
    deleted = {"delete_alias": {"alias_name": "own2"}}
    assert gateway.ask("theirs-admin", "POST", "/collections/aliases", {"actions": [deleted]}).status_code == 403
    assert gateway.ask("by-alias", "POST", "/collections/aliases", {"actions": [deleted]}).status_code == 200


def test_collections_are_made_and_deleted_by_keys_that_list_them(gateway: Guarded) -> None:
    assert gateway.ask("mine-admin", "PUT", "/collections/later", VECTORS).status_code == 403
    assert gateway.ask("theirs-admin", "PUT", "/collections/later", VECTORS).status_code == 200
    assert gateway.ask("mine-admin", "DELETE", "/collections/later").status_code == 403
    name = message("/qdrant.Collections/Delete", "later")
    assert gateway.call("mine-admin", "/qdrant.Collections/Delete", name).code() == grpc.StatusCode.PERMISSION_DENIED
    assert gateway.call("theirs-admin", "/qdrant.Collections/Delete", name).code() == grpc.StatusCode.OK
    assert gateway.ask("theirs-read", "GET", "/collections/later/exists").json()["result"] == {"exists": False}


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "Bearer  {} "])
def test_keys_come_as_bearers_too(gateway: Guarded, header: str) -> None:
    value = header.format(gateway.keys.secrets["mine-read"])
    assert gateway.ask(None, "GET", "/collections/mine", Authorization=value).status_code == 200
    assert gateway.call(None, "/qdrant.Collections/Get", b"\x0a\x04mine", authorization=value.strip()).code() == grpc.StatusCode.OK
    assert gateway.ask(None, "GET", "/collections/mine", Authorization=value.partition(" ")[2]).status_code == 401


def test_a_file_of_keys_that_is_broken_later_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = KeysFile(tmp_path / "keys.json")
    keys.add("first")
    with guarded(tmp_path, keys) as gateway:
        keys.path.write_text('[{"name": "half"')
        limit_s, told = time.monotonic() + 5, ""
        while "file_not_taken" not in told:
            assert time.monotonic() < limit_s
            time.sleep(0.05)
            told += capsys.readouterr().err
        assert str(keys.path) in told
        assert gateway.ask("first", "GET", "/collections").status_code == 200


LINE = {"name": "a", "sha256": "0" * 64, "scopes": ["read"], "collections": ["*"]}


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ([LINE | {"sha256": "the-key-itself"}], "keys.0.sha256"),
        ([LINE | {"scopes": ["root"]}], "keys.0.scopes"),
        ([LINE | {"scopes": []}], "keys.0.scopes"),
        ([LINE | {"collections": "*"}], "keys.0.collections"),
        ([LINE | {"expires_at": "2026-01-01T00:00:00"}], "keys.0.expires_at"),
        ([LINE | {"name": "a b"}], "keys.0.name"),
        ([LINE | {"key": "the-key-itself"}], "keys.0.key"),
        ([LINE, LINE | {"sha256": "1" * 64}], "name of key 'a'"),
        ([LINE, LINE | {"name": "b"}], "sha256 of key 'b'"),
        ({"keys": []}, "keys"),
    ],
)
def test_a_wrong_line_is_refused_by_its_place_and_its_values_are_not_repeated(tmp_path: Path, lines: object, place: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(lines))
    with pytest.raises(SettingError) as refused:
        read_keys(path)
    assert place in str(refused.value)
    assert str(path) in str(refused.value)
    assert "the-key-itself" not in str(refused.value)


def test_a_file_of_keys_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        read_keys(tmp_path / "none.json")


def test_a_new_key_is_found_by_its_secret_and_by_nothing_else() -> None:
    secret, key = new_key("a", ["read"], [EVERY])
    other, second = new_key("b", ["write"], ["things"])
    ring = KeyRing(parse_keys(f"[{key.model_dump_json()}, {second.model_dump_json()}]"))
    assert (ring.find(secret), ring.find(other)) == (key, second)
    assert len(secret) >= 43
    assert not {ring.find(one) for one in ("", secret[:-1], secret + "x", key.sha256, "\udc80")} - {None}
    assert KeyRing([]).find(secret) is None


def test_a_host_that_others_reach_wants_keys_or_a_word_of_consent() -> None:
    common = {"store": "unused", "backend": "local"}
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert read(GatewaySettings, common | {"host": host}).host == host
    for host in ("0.0.0.0", "::", "10.0.0.1", "gateway.example"):
        with pytest.raises(SettingError, match="without_keys"):
            read(GatewaySettings, common | {"host": host})
        for more in ({"without_keys": True}, {"keys_file": "keys.json"}):
            assert read(GatewaySettings, common | {"host": host} | more).host == host
