"""Schemathesis on a real gateway process: requests made from its own /openapi.json, and made to break it."""

import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from reelspace.core.processes import child, stop

from ..search.access.described import BEYOND, narrowed, operations, wholes

schemathesis = pytest.importorskip("schemathesis", reason="requests are made by schemathesis, which the development lock has")

NAME, MADE = "things", "made"
POINT = {"id": 7, "vector": {"": [1, 2], "cover": [3, 4]}, "payload": {"a": {"b": 1}}}
VECTORS = {"": {"size": 2, "distance": "Dot"}, "cover": {"size": 2, "distance": "Euclid"}}
MISSING, LATE = (404, 409), (408, 504)
HASTE = re.compile(r"(within|waited) (0\.\d+|[\d.]+e-\d+) s")
# What hangs on what is there, and an earlier request may have changed.
UNMET = ("no text encoder was promoted", "has no vector")


@dataclass
class Gateway:
    """A gateway process, and how it answered."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    documents: dict[str, dict[str, Any]]
    answers: "Counter[int]" = field(default_factory=Counter)

    def restore(self) -> None:
        """Let the collection be as it was, whatever was done to it."""
        put = httpx.put(f"{self.url}/collections/{NAME}/points?wait=true", json={"points": [POINT]})
        assert put.status_code == 200, put.text

    def check_unharmed(self) -> None:
        """Expect the process to live, to have told of no bug, and to answer a good query."""
        assert self.process.poll() is None
        assert "Traceback" not in self.log.read_text()
        assert "request_failed" not in self.log.read_text()
        self.restore()
        found = httpx.get(f"{self.url}/collections/{NAME}/points/7").json()["result"]
        assert found == POINT


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("openapi")
    command = [sys.executable, "-m", "reelspace.gateway", "--store", str(directory / "store"), "--backend", "local", "--port", "0"]
    with (directory / "log").open("wb") as log:
        process = child(command, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        made = httpx.put(f"{url}/collections/{NAME}", json={"vectors": VECTORS})
        assert made.status_code == 200, made.text
        yield Gateway(url, process, directory / "log", made_from(httpx.get(f"{url}/openapi.json").json()))
    finally:
        stop(process)
        process.stdout.close()


def made_from(full: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give what good and bad requests are made from."""
    return {"POSITIVE": small(full, short=True), "NEGATIVE": small(full, short=False)}


def small(full: dict[str, Any], *, short: bool) -> dict[str, Any]:
    """Narrow a document to the collection, and what makes and deletes collections to another one."""
    narrow, paths = narrowed(full, short=short), {}
    for path, methods in narrow["paths"].items():
        for described in methods.values():
            described["parameters"] = [one for one in described.get("parameters", []) if one["name"] != "collection"]
        paths[path.replace("{collection}", MADE if path.endswith("{collection}") else NAME)] = methods
    return narrow | {"paths": paths}


def ask(gateway: Gateway, path: str, method: str, mode: str, num_requests: int, start: int) -> None:
    """Make requests of one operation and check what is answered."""
    api = schemathesis.openapi.from_dict(gateway.documents[mode])
    checks = schemathesis.checks
    strategy = api[path][method].as_strategy(generation_mode=getattr(schemathesis.GenerationMode, mode))

    @seed(start)
    @given(strategy)
    @settings(max_examples=num_requests, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)
    def make(case: Any) -> None:
        if mode == "POSITIVE":
            case.body = wholes(case.body)
        response = case.call(base_url=gateway.url)
        gateway.answers[response.status_code] += 1
        check_answer(response.status_code, response.text)
        if response.status_code in LATE:
            return
        conform = [checks.response_schema_conformance, checks.content_type_conformance]
        must_refuse = mode == "NEGATIVE" and not has_nulls(case.body)
        case.validate_response(response, checks=[*conform, checks.negative_data_rejection] if must_refuse else conform)
        if mode == "POSITIVE" and response.status_code >= 400 and response.status_code not in MISSING:
            assert any(reason in response.text for reason in (*BEYOND, *UNMET)), (response.text, case.as_curl_command())

    make()


def has_nulls(body: Any) -> bool:
    """Tell whether a key is null: it counts as left out, whatever it is called, so nothing need be wrong with it."""
    if isinstance(body, dict):
        return None in body.values() or any(map(has_nulls, body.values()))
    return isinstance(body, list) and any(map(has_nulls, body))


def check_answer(status: int, text: str) -> None:
    """Expect no failure of ours, and nothing that is for us alone; a client may ask for less time than anything takes."""
    assert status < 500 or (status == 501 and "not served here" in text) or (status == 504 and HASTE.search(text)), (status, text)
    assert "Traceback" not in text
    assert ".py" not in text
    assert len(text) < 1 << 20


def ask_all(gateway: Gateway, num_requests: int, start: int) -> None:
    """Make requests of every operation of the dialect, good ones and bad ones."""
    for path, method, described in operations(gateway.documents["POSITIVE"]):
        if not path.startswith(("/collections", "/aliases")):
            continue
        for mode in ("POSITIVE", "NEGATIVE") if described["parameters"] or "requestBody" in described else ("POSITIVE",):
            gateway.restore()
            ask(gateway, path, method, mode, num_requests, start)


def test_made_requests_are_answered_as_the_document_says(gateway: Gateway) -> None:
    ask_all(gateway, 2, start=0)
    print(dict(gateway.answers))
    gateway.check_unharmed()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_tens_of_thousands_of_made_requests_are_answered_as_the_document_says(gateway: Gateway) -> None:
    ask_all(gateway, 500, start=random.randrange(10**6))
    print(dict(gateway.answers))
    gateway.check_unharmed()
