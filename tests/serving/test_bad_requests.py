"""What clients get wrong, over both faces: refused by its field, and Triton never hears of it."""

import pytest

from .bad_requests import SLOW_RAW, Bad, numbers, table
from .double import Double
from .served import Served

TABLE = table()
KINDS = list(range(1, 23))


@pytest.mark.parametrize("bad", TABLE.http, ids=[f"{bad.number}-{bad.name}" for bad in TABLE.http])
def test_a_bad_request_is_4xx_naming_the_field_and_never_reaches_triton(served: Served, double: Double, bad: Bad) -> None:
    check(served, double, bad)


@pytest.mark.parametrize("bad", TABLE.grpc, ids=[f"{bad.number}-{bad.name}" for bad in TABLE.grpc])
def test_a_bad_call_has_the_code_of_its_kind_and_names_the_field_and_never_reaches_triton(served: Served, double: Double, bad: Bad) -> None:
    check(served, double, bad)


def check(served: Served, double: Double, bad: Bad) -> None:
    came = len(double.came)
    status, message = bad.send(served)
    assert (status, message[: len(bad.field)]) == (bad.status, bad.field), message
    assert message == "" or message[len(bad.field)] == ":", message
    assert len(message) < 1_000
    assert [one for one in double.came[came:] if one.raw != SLOW_RAW] == [], "what is too slow alone may reach Triton"


def test_after_all_of_them_good_requests_are_answered_and_nothing_was_a_bug_of_ours(served: Served) -> None:
    served.check_alive()
    assert 'status="500"' not in served.http.get("/metrics").text
    assert "INTERNAL" not in served.http.get("/metrics").text


def test_every_kind_of_request_is_tried_over_both_faces() -> None:
    assert list(numbers(TABLE.http)) == KINDS
    assert list(numbers(TABLE.grpc)) == KINDS
