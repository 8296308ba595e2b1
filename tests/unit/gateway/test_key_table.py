"""The table of keys as the running gateway has it: whatever it serves, by whichever face, has a row, and every row refuses."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest
from fastapi.routing import APIRoute

from reelspace.gateway.grpc_application import GrpcApplication
from reelspace.gateway.http_entrance import OPEN_PATHS
from reelspace.gateway.operations import SCOPES, scope_of
from reelspace.search.access.messages.call import Method, MethodNow
from reelspace.search.access.messages.methods import dialect_methods
from reelspace.serving.endpoint import Endpoint
from reelspace.serving.grpc_routes import SERVICE, v2_methods
from reelspace.serving.upstream import Upstream

from .guarded import VECTORS, Guarded, KeysFile, guarded

OPEN_METHODS = {"/qdrant.Qdrant/HealthCheck", f"{SERVICE}ServerLive", f"{SERVICE}ServerReady"}
NO_KEY = (None, "", "wrong", "expired")
PARTS = {"collection": "mine", "feature:path": "mine/points/search", "point": "1", "key": "kind", "model": "text_encoder", "version": "1"}
PARTS |= {"call:path": "repository/models/text_encoder/unload"}
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


class Recorded(GrpcApplication):
    """The gateway's own application, which keeps the paths that it was given."""

    served: tuple[set[str], ...] = ()

    def __init__(
        self,
        methods: Mapping[str, Method],
        max_message_bytes: int,
        count: Callable[[str, str, float], None],
        methods_now: Mapping[str, MethodNow] | None = None,
    ) -> None:
        type(self).served = (set(methods), set(methods_now or {}))
        super().__init__(methods, max_message_bytes, count, methods_now or {})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("table")
    keys = KeysFile(directory / "keys.json")
    keys.add("all")
    keys.add("expired")
    keys.expire("expired")
    for scope in ("read", "write", "admin"):
        keys.add(f"mine-{scope}", [scope], ["mine"])
    keys.add("theirs", ["read", "write", "admin"], ["theirs"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reelspace.gateway.grpc_dialect.GrpcApplication", Recorded)
        with guarded(directory, keys) as gateway:
            assert gateway.ask("all", "PUT", "/collections/mine", VECTORS).status_code == 200
            yield gateway


def methods() -> dict[str, Any]:
    endpoint = Endpoint(Upstream("http://127.0.0.1:9", 1.0), {})
    return {**dialect_methods(lambda: pytest.fail("nothing is asked")), **v2_methods(endpoint)}


def routes(gateway: Guarded) -> list[tuple[str, str, Any]]:
    """Give method, template and handler of everything that the application answers."""
    found = []
    for route in gateway.app.routes:
        for one in getattr(getattr(route, "original_router", None), "routes", [route]):
            if isinstance(one, APIRoute):
                found += [(method, one.path, one.endpoint) for method in sorted(one.methods)]
    return found


def address(template: str) -> str:
    return re.sub(r"\{([^}]*)\}", lambda one: PARTS[one[1]], template)


def message(path: str) -> bytes:
    """Make a message in which field 1, where it is a name, is that of the collection."""
    return b"" if path.startswith(SERVICE) or path.endswith("UpdateAliases") else b"\x0a\x04mine"


def test_every_method_that_is_served_has_a_row_and_none_is_answered_before_its_key_is_looked_at(gateway: Guarded) -> None:
    served, served_now = Recorded.served
    assert served == set(methods())
    assert served_now == set(), "what is answered on the spot would be answered without a key"
    assert {path for path, method in methods().items() if scope_of(method) is None} == OPEN_METHODS
    assert {scope for scope in SCOPES.values() if scope is not None} == {"read", "write", "admin"}


@pytest.mark.parametrize("key", NO_KEY)
def test_without_a_valid_key_nothing_is_answered_but_health(gateway: Guarded, key: str | None) -> None:
    answers = {(method, path): gateway.ask(key, method, address(path)).status_code for method, path, _ in routes(gateway)}
    assert {one: status for one, status in answers.items() if status != 401 and one[1] not in OPEN_PATHS} == {}
    codes = {path: gateway.call(key, path, message(path)).code() for path in Recorded.served[0]}
    assert {path: code for path, code in codes.items() if code != UNAUTHENTICATED and path not in OPEN_METHODS} == {}
    assert (len(answers) > 50, len(codes) > 40) == (True, True)


def test_a_read_only_key_changes_nothing_and_administers_nothing(gateway: Guarded) -> None:
    changing = [(method, path) for method, path, handler in routes(gateway) if _scope(path, handler) in ("write", "admin")]
    assert {one: gateway.ask("mine-read", one[0], address(one[1])).status_code for one in changing} == dict.fromkeys(changing, 403)
    paths = [path for path, method in methods().items() if scope_of(method) in ("write", "admin")]
    assert {path: gateway.call("mine-read", path, message(path)).code() for path in paths} == dict.fromkeys(paths, DENIED)
    assert (len(changing) >= 10, len(paths) >= 10) == (True, True)


def test_calls_for_operators_of_triton_are_refused_to_every_key(gateway: Guarded) -> None:
    calls = [f"{SERVICE}{name}" for name in ("RepositoryModelLoad", "SystemSharedMemoryRegister", "TraceSetting")]
    for key in ("all", "mine-admin", "mine-read"):
        assert gateway.ask(key, "POST", "/v2/repository/models/text_encoder/unload").status_code == 403
        assert {gateway.call(key, path).code() for path in calls} == {DENIED}


def test_a_key_of_another_collection_is_refused_wherever_a_collection_is_named(gateway: Guarded) -> None:
    named = [(method, path) for method, path, _ in routes(gateway) if "{collection}" in path]
    assert {one: gateway.ask("theirs", one[0], address(one[1])).status_code for one in named} == dict.fromkeys(named, 403)
    assert len(named) >= 20


def test_models_belong_to_no_collection_so_every_reader_may_ask_them(gateway: Guarded) -> None:
    for key in ("mine-read", "theirs"):
        assert gateway.ask(key, "GET", "/v2").status_code == 200
        assert gateway.ask(key, "GET", "/v2/models/absent").status_code == 404
    for key in ("mine-write", "mine-admin"):
        assert gateway.ask(key, "GET", "/v2").status_code == 403


def _scope(path: str, handler: Any) -> str | None:
    return None if path in OPEN_PATHS else scope_of(handler)
