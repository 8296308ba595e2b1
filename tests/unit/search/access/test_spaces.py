"""Two spaces side by side: encoders and rows change together, who pins the one before goes on with it, and no vector meets another."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.access.backend import Surroundings
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.collection_service import CollectionService
from reelspace.search.access.current_request import CurrentRequest, begin
from reelspace.search.access.fanout import FanoutSettings
from reelspace.search.access.query_request import parse_query
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.targets import Encoder
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, json_bytes

from ..oracle_shard import OracleBackend, create_without_generations
from .serving import connect_to, serving
from .worlds import TIME_S, Constant, points, write

SPACES = "1" * 16, "2" * 16, "3" * 16
WORDS = {"query": {"text": "words", "model": "text_encoder"}, "limit": 1}


def promote(store: LocalStore, space: str, before: SpacePointer | None = None) -> SpacePointer:
    """Promote an empty collection of a space, whose encoder is counted by the space's digit."""
    made = Collection(name="videos", space_id=space, vectors={"": VectorSettings(dimension=2, metric="euclid")}, num_shards=1)
    create_without_generations(store, made)
    pointer = SpacePointer(
        space_id=space,
        encoders={"text_encoder": int(space[0])},
        collection=made.full_name,
        alias="videos",
        generation=1,
        previous=None if before is None else before.model_dump(mode="json", exclude={"previous"}),
    )
    store.put(SPACE_POINTER, json_bytes(pointer))
    return pointer


def encoders(pointer: SpacePointer) -> Mapping[str, Encoder]:
    """Embed every text of a space at ten times its digit."""
    return {"text_encoder": Constant(10.0 * pointer.encoders["text_encoder"], 0.0)}


async def found(service: CollectionService) -> int:
    return int((await service.query(parse_query(WORDS, service.fields), TIME_S)).ids[0])  # type: ignore[arg-type]


def test_encoders_and_rows_change_together_and_the_space_before_goes_on_by_its_full_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first = promote(store, SPACES[0])

    async def run() -> None:
        catalog = Catalog(store, Surroundings(OracleBackend(store), encoders), create_without_generations, FanoutSettings())
        await catalog.start()
        service = await catalog.service("videos")
        await service.write(write(service, points(10, 20, 30)), TIME_S)
        assert await found(service) == 10
        second = promote(store, SPACES[1], first)
        other = await catalog.open(second.collection)
        await other.write(write(other, points(11, 21, 31)), TIME_S)
        async with asyncio.timeout(5):
            while (service := await catalog.service("videos")).collection.space_id == SPACES[0]:
                assert await found(service) == 10
                await asyncio.sleep(0.02)
        for _ in range(3):
            assert await found(await catalog.service("videos")) == 21
            assert await found(await catalog.service(first.collection)) == 10
        promote(store, SPACES[2], second)
        async with asyncio.timeout(5):
            while await catalog.exists(first.collection):
                await asyncio.sleep(0.02)
        assert await found(await catalog.service(second.collection)) == 21
        await catalog.close()

    asyncio.run(run())


def test_the_space_before_is_served_also_by_a_gateway_that_starts_after_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first = promote(store, SPACES[0])
    promote(store, SPACES[1], first)

    async def run() -> None:
        catalog = Catalog(store, Surroundings(OracleBackend(store), encoders), create_without_generations, FanoutSettings())
        await catalog.start()
        service = await catalog.service(first.collection)
        await service.write(write(service, points(10, 20)), TIME_S)
        assert await found(service) == 10
        await catalog.close()

    asyncio.run(run())


def test_a_request_of_another_space_is_refused_by_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first = promote(store, SPACES[0])

    async def run() -> None:
        catalog = Catalog(store, Surroundings(OracleBackend(store), encoders), create_without_generations, FanoutSettings())
        await catalog.start()
        begin(CurrentRequest("a", space_id=SPACES[0]))
        service = await catalog.service("videos")
        assert catalog.service_now("videos") is service
        begin(CurrentRequest("b", space_id=SPACES[1]))
        assert catalog.service_now("videos") is None
        with pytest.raises(RequestRefused, match=f"holds vectors of the space {SPACES[0]}, the request is of '{SPACES[1]}'") as refused:
            await catalog.service("videos")
        assert refused.value.status == 412
        promote(store, SPACES[1], first)
        async with asyncio.timeout(5):
            while catalog.meaning("videos") == first.collection:
                await asyncio.sleep(0.02)
        assert (await catalog.service("videos")).collection.space_id == SPACES[1]
        begin(CurrentRequest("c", space_id=SPACES[0]))
        assert (await catalog.service(first.collection)).collection.space_id == SPACES[0]
        await catalog.close()

    asyncio.run(run())


def test_the_space_of_a_request_stands_in_its_header(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    promote(store, SPACES[0])
    body = {"query": [1.0, 0.0]}
    with serving(store, connect_to(OracleBackend(store))) as url, httpx.Client(base_url=url, trust_env=False) as client:
        own, other = (client.post("/collections/videos/points/query", json=body, headers={"space-id": space}) for space in SPACES[:2])
        assert (own.status_code, own.json()["result"]["space_id"]) == (200, SPACES[0])
        assert other.status_code == 412
        assert other.json()["status"]["error"].startswith(f"space-id: collection videos@{8 * '1'} holds vectors of the space {SPACES[0]}")
        point = {"points": [{"id": 1, "vector": [1.0, 0.0]}]}
        assert client.put("/collections/videos/points?wait=true", json=point, headers={"space-id": SPACES[1]}).status_code == 412
        assert client.post("/collections/videos/points/count", json={}).json()["result"]["count"] == 0
