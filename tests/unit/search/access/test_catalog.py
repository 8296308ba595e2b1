"""Collections by name, over oracle shards and one or two gateways."""

import asyncio
import errno
import gc
from pathlib import Path

import pytest

from reelspace.core.errors import StoreUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store
from reelspace.search.access import catalog as catalog_module
from reelspace.search.access.catalog import Catalog, read_known
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.requests import CreateAlias, DeleteAlias, RenameAlias
from reelspace.search.access.shard_client import ShardTimeout
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, collection_key, json_bytes
from reelspace.search.storage.names import NAMES_KEY

from ..oracle_shard import OracleBackend, create_without_generations
from .worlds import PLAIN, TIME_S, Constant, ids_of, made, near, points, running, write

SPACE, OTHER_SPACE = "0123456789abcdef", "fedcba9876543210"


def promote(store: Store, space: str = SPACE, alias: str = "videos") -> str:
    """Promote an empty collection and give its full name."""
    collection = Collection(name="videos", space_id=space, vectors={"": VectorSettings(dimension=2)}, num_shards=1)
    create_without_generations(store, collection)
    pointer = SpacePointer(
        space_id=space, encoders={"text_encoder": 1}, collection=collection.full_name, alias=alias, generation=1, previous=None
    )
    store.put(SPACE_POINTER, json_bytes(pointer))
    return collection.full_name


async def refused(call: object, status: int, match: str | None = None) -> None:
    with pytest.raises(RequestRefused, match=match) as caught:
        await call  # type: ignore[misc]
    assert caught.value.status == status


def test_a_collection_is_reached_by_its_name_its_aliases_and_its_full_name(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(LocalStore(tmp_path), OracleBackend(LocalStore(tmp_path))) as catalog:
            service = await made(catalog)
            await catalog.change_aliases((CreateAlias("one", "things"), CreateAlias("two", "things")), TIME_S)
            for name in ("things", "one", "two", service.collection.full_name):
                assert await catalog.service(name) is service
                assert await catalog.exists(name)
            await refused(catalog.service("thing"), 404, "Collection `thing` doesn't exist")
            assert not await catalog.exists("thing")
            assert await catalog.aliases("things") == [("one", "things"), ("two", "things")]
            await catalog.change_aliases((RenameAlias("one", "three"), DeleteAlias("two"), DeleteAlias("four")), TIME_S)
            assert await catalog.aliases() == [("three", "things")]
            await refused(catalog.service("one"), 404)

    asyncio.run(run())


def test_actions_on_aliases_take_effect_together_or_not_at_all(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(LocalStore(tmp_path), OracleBackend(LocalStore(tmp_path))) as catalog:
            await made(catalog)
            await made(catalog, "others")
            bad = [
                (CreateAlias("a", "nothing"), 404),
                (CreateAlias("others", "things"), 409),
                (RenameAlias("b", "c"), 404),
                (CreateAlias("a", "alias"), 404),
            ]
            for action, status in bad:
                await refused(catalog.change_aliases((CreateAlias("alias", "things"), action), TIME_S), status)
                assert await catalog.aliases() == []
            await catalog.change_aliases((CreateAlias("alias", "things"), CreateAlias("alias", "others")), TIME_S)
            assert await catalog.aliases() == [("alias", "others")]
            await refused(catalog.create("alias", PLAIN, TIME_S), 409)

    asyncio.run(run())


def test_a_name_that_is_deleted_and_made_again_is_another_collection_without_the_rows(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            first = await made(catalog)
            await first.write(write(first, points(1, 2)), TIME_S)
            await catalog.change_aliases((CreateAlias("alias", "things"),), TIME_S)
            await refused(catalog.create("things", PLAIN, TIME_S), 409, "already exists")
            assert await catalog.delete("things", TIME_S)
            assert not await catalog.delete("things", TIME_S)
            await refused(catalog.service("alias"), 404)
            assert not store.exists(collection_key(first.collection.full_name))
            while list(store.list(f"collections/{first.collection.full_name}/")):
                await asyncio.sleep(0.01)
            second = await made(catalog)
            assert second.collection.full_name != first.collection.full_name
            assert await ids_of(second) == []
            assert await catalog.aliases() == []

    asyncio.run(run())


def test_what_one_gateway_does_another_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "REFRESH_S", 0.05)
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as one, running(store, OracleBackend(store)) as other:
            await made(one)
            first = await other.service("things")
            await one.delete("things", TIME_S)
            await made(one)
            await asyncio.sleep(0.3)
            assert other.names() == ["things"]
            assert (await other.service("things")).collection.space_id != first.collection.space_id
            await one.delete("things", TIME_S)
            await asyncio.sleep(0.3)
            await refused(other.service("things"), 404)

    asyncio.run(run())


def test_of_gateways_that_make_one_name_at_a_time_one_wins(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    backend = OracleBackend(store)

    async def make(catalog: Catalog, name: str) -> int:
        try:
            await catalog.create(name, PLAIN, TIME_S)
        except RequestRefused as error:
            return error.status
        return 200

    async def run() -> None:
        async with running(store, backend) as one, running(store, backend) as two, running(store, backend) as three:
            for number in range(5):
                answers = await asyncio.gather(*(make(catalog, f"things-{number}") for catalog in (one, two, three)))
                assert sorted(answers) == [200, 409, 409]
            assert list(read_known(store).names.collections) == [f"things-{number}" for number in range(5)]
            kept = {key.split("/")[1] for key in store.list("collections/") if key != NAMES_KEY}
            assert kept == set(read_known(store).names.collections.values())

    asyncio.run(run())


def test_the_promoted_collection_is_one_of_the_catalog_with_its_encoder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    full_name = promote(store)

    async def run() -> None:
        async with running(store, OracleBackend(store), {"text_encoder": Constant(0, 1)}) as catalog:
            await made(catalog)
            assert catalog.names() == [full_name, "things"]
            service = await catalog.service("videos")
            assert await catalog.service(full_name) is service
            await service.write(write(service, {"upsert": {"points": [{"id": id, "vector": [id, 1]} for id in range(3)]}}), TIME_S)
            words = near(service, 0, query={"text": "up", "model": "text_encoder"})
            assert (await service.query(words, TIME_S)).ids == [0, 1, 2]
            await catalog.change_aliases((CreateAlias("best", "videos"),), TIME_S)
            assert await catalog.service("best") is service
            assert (await catalog.describe("best", TIME_S)).aliases == ("videos", "best")
            for call in (catalog.create("videos", PLAIN, TIME_S), catalog.change_aliases((CreateAlias("videos", "things"),), TIME_S)):
                await refused(call, 409)
            await refused(catalog.delete("videos", TIME_S), 501, "DELETE of the promoted collection")
            plain = await catalog.service("things")
            await refused(plain.query(near(plain, 0, query={"text": "up", "model": "text_encoder"}), TIME_S), 400, "no text encoder")

    asyncio.run(run())


def test_the_next_promoted_collection_answers_when_it_is_loaded_and_the_one_before_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "REFRESH_S", 0.05)
    store = LocalStore(tmp_path)
    promote(store)

    class SlowBackend(OracleBackend):
        loaded = asyncio.Event()

        async def open(self, collection: Collection) -> object:  # type: ignore[override]
            if collection.space_id == OTHER_SPACE:
                await self.loaded.wait()
            return await super().open(collection)

    async def run() -> None:
        backend = SlowBackend(store)
        async with running(store, backend) as catalog:
            assert (await catalog.service("videos")).collection.space_id == SPACE
            promote(store, OTHER_SPACE)
            await asyncio.sleep(0.2)
            assert (await catalog.service("videos")).collection.space_id == SPACE
            backend.loaded.set()
            await asyncio.sleep(0.2)
            assert (await catalog.service("videos")).collection.space_id == OTHER_SPACE

    asyncio.run(run())


def test_names_go_on_meaning_what_they_did_while_the_store_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "REFRESH_S", 0.05)

    class FailingStore(LocalStore):
        away = False

        def get(self, key: str) -> bytes:
            if self.away:
                raise StoreUnavailable("away")
            return super().get(key)

    store = FailingStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            service = await made(catalog)
            store.away = True
            await asyncio.sleep(0.2)
            assert await catalog.service("things") is service
            with pytest.raises(StoreUnavailable):
                await catalog.service("others")
            store.away = False
            await asyncio.sleep(0.2)
            await made(catalog, "others")

    asyncio.run(run())


def test_indexed_keys_are_kept_in_the_store_with_their_kind(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    async def run() -> None:
        async with running(store, OracleBackend(store)) as one, running(store, OracleBackend(store)) as other:
            service = await made(one)
            await service.write(write(service, points(1, 2, color="red"), points(3)), TIME_S)
            await one.index_key("things", "color", "keyword", TIME_S)
            await other.index_key("things", "size", "integer", TIME_S)
            facts = await one.describe("things", TIME_S)
            assert {key: (one.kind, one.num_points) for key, one in facts.payload_schema.items()} == {
                "color": ("keyword", 2),
                "size": ("integer", 0),
            }
            assert facts.num_rows == 3
            await other.drop_key("things", "color", TIME_S)
            await other.drop_key("things", "nothing", TIME_S)
            assert list((await one.describe("things", TIME_S)).payload_schema) == ["size"]

    asyncio.run(run())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-a", "a" * 65, "猫", "a@0123abcd", "a\0"])
def test_a_name_that_cannot_be_part_of_a_key_is_refused(tmp_path: Path, name: str) -> None:
    async def run() -> None:
        async with running(LocalStore(tmp_path), OracleBackend(LocalStore(tmp_path))) as catalog:
            await refused(catalog.create(name, PLAIN, TIME_S), 400, "name")

    asyncio.run(run())


def test_a_collection_that_cannot_be_opened_is_tried_again_once_a_refresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "REFRESH_S", 0.1)
    store = LocalStore(tmp_path)

    class FailingBackend(OracleBackend):
        num_tries = 0

        async def open(self, collection: Collection) -> object:  # type: ignore[override]
            self.num_tries += 1
            if self.num_tries < 3:
                raise StoreUnavailable("away")
            return await super().open(collection)

    async def run() -> None:
        backend = FailingBackend(store)
        async with running(store, backend) as catalog:
            await catalog.create("things", PLAIN, TIME_S)
            for _ in range(10):
                with pytest.raises(StoreUnavailable):
                    await catalog.service("things")
            assert backend.num_tries == 1
            await asyncio.sleep(0.15)
            with pytest.raises(StoreUnavailable):
                await catalog.service("things")
            await asyncio.sleep(0.15)
            await catalog.service("things")

    asyncio.run(run())


def test_a_change_that_is_refused_when_nobody_waits_any_more_is_logged_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> list[object]:
        strays: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: strays.append(context))
        async with running(LocalStore(tmp_path), OracleBackend(LocalStore(tmp_path))) as catalog:
            await made(catalog)
            with pytest.raises(ShardTimeout, match="it goes on"):
                await catalog.create("things", PLAIN, 1e-9)
            told = ""
            while "failed_unheard" not in told:
                await asyncio.sleep(0.01)
                told += capsys.readouterr().err
        gc.collect()
        assert "already exists" in told
        return strays

    assert asyncio.run(asyncio.wait_for(run(), 20)) == []


def test_what_could_be_made_of_a_collection_before_the_disk_was_full_is_removed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    def half_made(to: Store, collection: Collection) -> None:
        to.put(collection_key(collection.full_name), b"{}")
        raise OSError(errno.ENOSPC, "No space left on device")

    async def run() -> None:
        async with running(store, OracleBackend(store)) as catalog:
            catalog._create = half_made
            with pytest.raises(OSError, match="No space left"):
                await catalog.create("things", PLAIN, TIME_S)
            assert list(store.list("collections/")) == []
            catalog._create = create_without_generations
            assert (await made(catalog)).collection.name == "things"

    asyncio.run(run())
