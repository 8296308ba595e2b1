"""What /openapi.json says holds for every request of the official client, and for every answer it gets."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from openapi_spec_validator import validate
from qdrant_client import QdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import ResponseHandlingException

from reelspace.core.local_store import LocalStore

from ..oracle_shard import OracleBackend
from .described import PARSERS, answer_of, body_of, document, operations, validator
from .histories import NAME, NAMED, SINGLE, History, outcome
from .serving import connect_to, serving

GUIDE = (Path(__file__).resolve().parents[4] / "docs" / "guides" / "vector-search.md").read_text()


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    return document()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = LocalStore(tmp_path_factory.mktemp("store"))
    with serving(store, connect_to(OracleBackend(store))) as url:
        yield url


def test_the_document_is_openapi_and_every_body_has_a_schema_with_a_parser(full: dict[str, Any]) -> None:
    validate(full)
    bodies = {body_of(described) for _, method, described in operations(full) if method in ("POST", "PUT")}
    assert bodies == set(PARSERS)
    for path, method, described in operations(full):
        if path != "/":
            assert answer_of(described, 200)["properties"].keys() == {"result", "status", "time"}, (path, method)
            assert answer_of(described, 404) == {"$ref": "#/components/schemas/Refusal"}, (path, method)


def test_the_document_is_served(url: str, full: dict[str, Any]) -> None:
    served = httpx.get(f"{url}/openapi.json").json()
    assert served["components"] == full["components"]
    assert {path: served["paths"][path] for path in full["paths"]} == full["paths"]


class Checked:
    """Compares what passes by with the document: refused or answered, a body that the parsers take fits, and so does every answer."""

    def __init__(self, full: dict[str, Any]) -> None:
        self._full = full
        self._paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), method, one) for path, method, one in operations(full)]
        self.seen: Counter[str] = Counter()

    def check(self, response: httpx.Response) -> None:
        request = response.request
        path, method = request.url.path, request.method
        described = next(one for form, known, one in self._paths if known == method and form.fullmatch(path))
        self.seen[described["summary"]] += 1
        body = body_of(described)
        if body is not None and response.status_code == 200:
            schema = {"$ref": f"#/components/schemas/{body}"}
            validator(self._full, schema).validate(orjson.loads(request.content))
        validator(self._full, answer_of(described, response.status_code)).validate(response.json())


@contextmanager
def checked(full: dict[str, Any]) -> Iterator[Checked]:
    """Check all that clients of this thread send and get."""
    checks, send = Checked(full), httpx.Client.send

    def checking(client: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        response = send(client, request, **more)
        if request.url.path != "/":
            response.read()
            checks.check(response)
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "send", checking)
        yield checks


@pytest.mark.parametrize(("seed", "vectors"), [(21, SINGLE), (22, NAMED)])
def test_what_the_official_client_sends_and_gets_fits(url: str, full: dict[str, Any], seed: int, vectors: Any) -> None:
    client = QdrantClient(url=url, check_compatibility=False)
    with closing(client), checked(full) as checks:
        client.create_collection(NAME, vectors_config=vectors, shard_number=2)
        client.update_collection_aliases([m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name=NAME, alias_name="other"))])
        client.create_payload_index(NAME, "a", m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD))
        history = History(seed, vectors)
        for _ in range(60):
            outcome(history.operation(), client)
        client.query_batch_points("other", [m.QueryRequest(query=[1.0, 2, 3, 4], using=None if vectors is SINGLE else "text")] * 2)
        for one in (client.get_collection, client.get_collection_aliases, client.collection_exists):
            one("other")
        client.get_collections()
        client.get_aliases()
        client.delete_payload_index(NAME, "a")
        assert client.delete_collection(NAME)
    assert len(checks.seen) >= 20, checks.seen


def follow_guide(url: str, full: dict[str, Any]) -> Checked:
    [block] = [one for one in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "QdrantClient" in one]
    httpx.delete(f"{url}/collections/works")
    with checked(full) as checks:
        exec(block.replace("http://127.0.0.1:6333", url), {})  # noqa: S102
    return checks


def test_the_examples_of_the_guide_fit(url: str, full: dict[str, Any]) -> None:
    assert {"Create", "Upsert", "Query"} <= set(follow_guide(url, full).seen)


@pytest.mark.parametrize("name", ["Hits", "Upsert"])
def test_a_wrong_schema_is_found(url: str, full: dict[str, Any], name: str) -> None:
    wrong = {**full, "components": {"schemas": full["components"]["schemas"] | {name: {"type": "array"}}}}
    with pytest.raises(ResponseHandlingException, match="is not of type 'array'"):
        follow_guide(url, wrong)
