"""A stand-in for Triton, and a gateway process in front of it that lets everyone in."""

from collections.abc import Iterator

import pytest

from .double import Double, running_double
from .served import Served, serving

ARRIVAL_S = 1.0


@pytest.fixture(scope="session")
def double() -> Iterator[Double]:
    with running_double() as running:
        yield running


@pytest.fixture(scope="session")
def served(double: Double, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    versions = {"doubling": None, "text_encoder": 3}
    with serving(tmp_path_factory.mktemp("served"), double.address, versions, v2={"arrival_s": ARRIVAL_S}) as gateway:
        yield gateway
