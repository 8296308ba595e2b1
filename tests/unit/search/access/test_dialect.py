"""The official client on a gateway, over shards and over their oracles, against the same client's own memory."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from qdrant_client import QdrantClient

from reelspace.core.local_store import LocalStore
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector

from ..oracle_shard import OracleBackend
from .histories import NAME, NAMED, SINGLE, History, alike, outcome
from .serving import connect_to, serving


@pytest.fixture(scope="module")
def oracle_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = LocalStore(tmp_path_factory.mktemp("store"))
    with serving(store, connect_to(OracleBackend(store))) as url:
        yield url


@pytest.fixture(scope="module")
def own_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = LocalStore(tmp_path_factory.mktemp("store"))
    with serving(store, connector(GatewaySettings(store=store.url, backend="local"), store)) as url:
        yield url


def compare(url: str, seed: int, num_operations: int, vectors: Any) -> int:
    """Do a random history to a gateway and to the client's memory; gives the number of operations that were not refused."""
    client, memory = QdrantClient(url=url, check_compatibility=False), QdrantClient(":memory:")
    history, num_answered = History(seed, vectors), 0
    with closing(client), closing(memory):
        for one in (client, memory):
            one.delete_collection(NAME)
            one.create_collection(NAME, vectors_config=vectors, shard_number=1 + seed % 3)
        for step in range(num_operations):
            do = history.operation()
            own, expected = outcome(do, client), outcome(do, memory)
            assert alike(own, expected), (seed, step, own, expected)
            num_answered += expected is not None
    return num_answered


@pytest.mark.parametrize(("seed", "vectors"), [(1, SINGLE), (4, NAMED)])
def test_a_random_history_over_oracles_is_answered_as_the_official_client_answers_it(oracle_url: str, seed: int, vectors: Any) -> None:
    assert compare(oracle_url, seed, 70, vectors) > 35


@pytest.mark.parametrize(("seed", "vectors"), [(2, SINGLE), (5, NAMED)])
def test_a_random_history_over_shards_is_answered_as_the_official_client_answers_it(own_url: str, seed: int, vectors: Any) -> None:
    assert compare(own_url, seed, 70, vectors) > 35


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 160))
def test_many_random_histories_are_answered_as_the_official_client_answers_them(own_url: str, oracle_url: str, seed: int) -> None:
    assert compare(own_url if seed % 4 < 2 else oracle_url, seed, 300, SINGLE if seed % 2 else NAMED) > 150
