"""Schemas and parsers agree on bodies that nobody thought of: made from the schemas, and made to break them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from reelspace.search.access.http_request import parse_json
from reelspace.search.access.refusal import RequestRefused

from .described import BEYOND, PARSERS, body_of, document, narrowed, operations, validator, wholes

schemathesis = pytest.importorskip("schemathesis", reason="bodies are made by schemathesis, which the development lock has")
MADE_OF_OTHERS = ("Queries", "GroupsQuery", "Operations")
NARROW = narrowed(document())
ROUTES = {}
for path, method, described in operations(NARROW):
    described["parameters"] = []  # what is wrong shall be in the body
    if "requestBody" in described:
        ROUTES[body_of(described)] = path, method


def bodies(name: str, mode: str, num_bodies: int, start: int) -> Iterator[Any]:
    """Make bodies, as JSON has them."""
    path, method = ROUTES[name]
    kind = getattr(schemathesis.GenerationMode, mode)
    strategy = schemathesis.openapi.from_dict(NARROW)[path][method].as_strategy(generation_mode=kind)
    made: list[Any] = []

    @seed(start)
    @given(strategy)
    @settings(max_examples=num_bodies, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)
    def make(case: Any) -> None:
        made.append(wholes(case.body))

    make()
    for body in made:
        try:
            data = orjson.dumps(body)
        except TypeError:
            continue  # no body, half a character, or a number that JSON of 64 bits has not
        yield parse_json(data)


def compare(name: str, num_bodies: int, start: int = 0) -> "Counter[str]":
    """Try made bodies on the schema and on the parser; gives how many fitted, how many did not, and how many only JSON Schema took."""
    fits = validator(narrowed(document(), nulls=True, short=False), {"$ref": f"#/components/schemas/{name}"})
    told = Counter[str]()
    for mode in ("POSITIVE", "NEGATIVE"):
        for body in bodies(name, mode, num_bodies, start):
            refusal = None
            try:
                PARSERS[name](body)
            except RequestRefused as error:
                refusal = error
            if not fits.is_valid(body):
                assert refusal is not None, body
                told["bad"] += 1
            elif refusal is None:
                told["good"] += 1
            else:
                assert is_beyond(str(refusal), body), (str(refusal), body)
                told["beyond"] += 1
    return told


def is_beyond(refusal: str, body: Any) -> bool:
    """Tell whether a refusal is for what JSON Schema cannot say; which characters are letters it can only of ASCII."""
    strange_letter = "expected a key as" in refusal and not orjson.dumps(body).isascii()
    return strange_letter or any(reason in refusal for reason in BEYOND)


@pytest.mark.parametrize("name", [name for name in PARSERS if name not in MADE_OF_OTHERS])
def test_what_fits_a_schema_is_taken_and_what_does_not_is_refused(name: str) -> None:
    assert compare(name, 6)["good"]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", PARSERS)
def test_what_fits_a_schema_is_taken_and_what_does_not_is_refused_1000_times(name: str) -> None:
    print(f"{name}: {dict(compare(name, 1000, start=1))}")
