from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client.local.datetime_utils import parse

from reelspace.search.compute.payload_times import parse_time

from .random_filters import TIMES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
days = st.sampled_from(["2020-02-29", "2021-02-29", "0001-01-01", "9999-12-31", "0000-01-01", "2020-1-2", "20-01-02", "2020-13-01"])
clocks = st.sampled_from(
    ["", "T03:04", " 03:04:05", "t03:04:05", "T3:4:5", "  03:04:05", "T24:00:00", "T03:60:05", "T03:04:60", "T03", "T03:04:"]
)
fractions = st.sampled_from(["", ".", ".5", ".123456", ".123456789", ".000001"])
zones = st.sampled_from(["", "Z", "z", " UTC", "UTC", "+02:00", "-1130", " +02:00", "+02", "-10", "+2", "+24:00", "+02:60", " ", "Q"])


def microseconds(text: str) -> int | None:
    moment = parse(text)
    return None if moment is None else (moment - EPOCH) // (datetime.resolution)


@settings(deadline=None, max_examples=1000)
@given(st.sampled_from(["", " ", "x"]), days, clocks, fractions, zones)
def test_times_are_read_as_the_official_client_reads_them(before: str, day: str, clock: str, fraction: str, zone: str) -> None:
    text = before + day + clock + fraction + zone
    assert parse_time(text) == microseconds(text)


@pytest.mark.parametrize("text", TIMES)
def test_times_of_the_random_filters_agree(text: str) -> None:
    assert parse_time(text) == microseconds(text)


def test_known_times() -> None:
    assert parse_time("1970-01-01") == 0
    assert parse_time("1970-01-01T00:00:01.5+00:30") == 1_500_000 - 1_800_000_000
    assert parse_time("soon") is None
    assert parse_time("") is None


def test_digits_of_other_scripts_are_no_time() -> None:
    # The client's local mode reads them, the server does not.
    assert parse_time("２020-01-01") is None
