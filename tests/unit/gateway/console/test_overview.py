"""What the page says of a running gateway: rows, changes, servers and refusals as they are, without a look at the store."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.gateway.console.recall_history import sampling
from reelspace.search.access.shard_client import ShardFailed
from reelspace.search.compute.queries import ShardFacts

from ...search.access.worlds import Constant
from .reading import Element, read
from .worlds import BROWSER, PROMOTED, World, world


@pytest.fixture
def one(tmp_path: Path) -> Iterator[World]:
    with world(
        tmp_path, backend="triton", triton_grpc="10.0.0.1:8001", triton_http="10.0.0.1:8000", triton_replicas=["10.0.0.2:8001"]
    ) as one:
        yield one


def shown(one: World, collection: str | None = None) -> Element:
    return read(one.page(collection).text)


def test_rows_are_those_that_are_there_now(one: World) -> None:
    one.make("works", range(7))
    assert shown(one, "works").table("Collections")[0][2] == "7"
    one.put("works", [100, 101])
    page = shown(one, "works")
    assert sum(int(row[4]) for row in page.table("Shards")) == 9
    assert page.table("Collections")[0][:3] == ["works", "well", "9"]


def test_what_was_written_here_and_is_not_applied_is_behind(one: World) -> None:
    one.make("works", range(8), num_shards=1)
    points = {"points": [{"id": 50, "vector": [1, 1]}]}
    shard = next(iter(one.backend.shards.values()))[0]
    applied, shard.poll = shard.poll, lambda: None  # type: ignore[method-assign]
    assert one.client.put("/collections/works/points", json=points).status_code == 200
    (row,) = shown(one, "works").table("Shards")
    assert (row[7], row[8], row[1]) == ("1", "1", "behind")
    shard.poll = applied  # type: ignore[method-assign]
    shard.poll()
    (row,) = shown(one, "works").table("Shards")
    assert (row[7], row[8], row[1]) == ("2", "0", "well")


def test_the_first_collection_is_chosen_and_only_what_is_asked_for_is_opened(one: World) -> None:
    for name in ("b", "a", "c"):
        one.make(name, [])
    assert one.backend.shards == {}
    page = shown(one)
    assert [row[0] for row in page.table("Collections")] == ["a", "b", "c"]
    assert [row[1].startswith("not open") for row in page.table("Collections")[1:]] == [True, True]
    assert len(one.backend.shards) == 1
    assert shown(one, "c").one("a", href="/console?collection=c").attributes["aria-current"] == "true"
    assert len(one.backend.shards) == 2


def test_an_alias_leads_to_its_collection_and_stands_beside_it(one: World) -> None:
    one.make("works", [1])
    action = {"create_alias": {"collection_name": "works", "alias_name": "<now>"}}
    assert one.client.post("/collections/aliases", json={"actions": [action]}).status_code == 200
    page = shown(one, "<now>")
    assert page.table("Collections")[0][0] == "worksalso <now>"
    assert page.one("a", href="/console?collection=works").attributes["aria-current"] == "true"
    assert len(page.table("Shards")) == 2


def test_a_promoted_collection_is_shown_under_its_full_name_with_its_encoders(tmp_path: Path) -> None:
    with world(tmp_path, {"text_encoder": Constant(1, 0)}, promoted=True) as one:
        page = shown(one, "videos")
    assert page.table("Collections")[0][0] == f"{PROMOTED.full_name}also videos"
    assert "Find what it says" in page.text


def test_what_servers_do_and_what_was_refused_is_told(one: World) -> None:
    (tell,) = one.told
    tell("10.0.0.2:8001", "doubted")
    tell("10.0.0.2:8001", "out")
    one.client.get("/metrics")
    one.make("works", range(3))
    for shard in next(iter(one.backend.shards.values())):
        shard.pause_s = 1.0
    assert one.client.post("/collections/works/points/query?timeout=0.05", json={"query": [1, 1]}).status_code == 504
    for shard in next(iter(one.backend.shards.values())):
        shard.pause_s = 0.0
    page = shown(one)
    assert [row[:4] for row in page.table("Servers behind this gateway")] == [
        ["10.0.0.1:8001", "trusted", "0", "0"],
        ["10.0.0.2:8001", "out", "1", "1"],
    ]
    assert page.table("Refused requests") == [["deadline", "1"]]
    counted = one.client.get("/metrics").text
    assert 'reelspace_replica_shards_out{replica="10.0.0.2:8001"} 1.0' in counted


def test_recall_over_time_is_that_of_the_shards(one: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one.make("works", range(3), num_shards=1)
    shown(one)
    (full_name,) = one.backend.shards
    facts = [ShardFacts(3, 3, 1, 1, 0, recall=recall, recall_target=0.95) for recall in (0.99, 0.7)]
    for told in facts:
        one.app.state.console.history.add({full_name: [told]})

    async def low(*_: Any) -> ShardFacts:
        return facts[-1]

    monkeypatch.setattr(one.backend.shards[full_name][0], "read", low)
    page = shown(one)
    assert page.table("Shards")[0][1:4] == ["low recall", "0.700", ""]
    assert page.one("svg").attributes["aria-label"] == "recall of the last 1 min: 0.700 last, 0.700 at least, wanted 0.95"
    assert page.table("Collections")[0][1:4] == ["low recall", "3", "0.700"]


def test_the_running_gateway_takes_samples_of_open_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def told(*_: Any) -> ShardFacts:
        return ShardFacts(3, 3, 1, 1, 0, recall=0.9)

    monkeypatch.setattr("reelspace.gateway.app.sampling", partial(sampling, every_s=0.01))
    with world(tmp_path) as one:
        one.make("works", range(3), num_shards=1)
        (full_name,) = one.backend.shards
        monkeypatch.setattr(one.backend.shards[full_name][0], "read", told)
        limit_s = time.monotonic() + 5
        while len(shown(one, "works").all("polyline")) == 0:
            assert time.monotonic() < limit_s
            time.sleep(0.02)
        assert set(one.app.state.console.history.of(full_name, 0)) == {0.9}


def test_a_collection_whose_shards_keep_silent_is_shown_as_it_was(one: World) -> None:
    one.make("works", range(3))
    assert shown(one, "works").table("Collections")[0][2] == "3"
    for shard in next(iter(one.backend.shards.values())):
        shard.pause_s = 30.0
    assert shown(one, "works").table("Collections")[0][2] == "3"


def test_a_collection_that_cannot_be_opened_hides_nothing_else(one: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one.make("works", range(3))

    async def failing(_collection: object) -> None:
        raise ShardFailed("shards [0] failed: <no such model>")

    with monkeypatch.context() as patch:
        patch.setattr(one.backend, "open", failing)
        one.make("broken", [])
        page = shown(one, "broken")
        assert "shards [0] failed: <no such model>" in page.text
        assert [row[0] for row in page.table("Collections")] == ["broken", "works"]
        asked = one.ask("broken", "id", id="1")
    assert asked.status_code == 503


def test_the_part_that_is_shown_anew_is_that_of_the_page_and_names_its_own_address(one: World) -> None:
    one.make("works.1_a-b", [1])
    page = shown(one).one("div", id="status")
    address = page.attributes["data-source"]
    assert address == "/console/status?collection=works.1_a-b"
    part = read(one.client.get(str(address), headers=BROWSER).text)
    assert part.one("div", id="status").table("Collections") == page.table("Collections")


def test_looking_at_the_console_does_not_look_at_the_store(one: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one.make("works", range(3))
    shown(one)
    calls: list[str] = []
    for name in ("get", "list", "exists", "put"):
        whole = getattr(LocalStore, name)

        def counted(self: LocalStore, key: str, *more: Any, name: str = name, whole: Any = whole) -> Any:
            calls.append(f"{name} {key}")
            return whole(self, key, *more)

        monkeypatch.setattr(LocalStore, name, counted)
    for _ in range(20):
        one.client.get("/console/status", headers=BROWSER)
    # The catalog looks at its names and pointers once a second, whoever looks at the console.
    assert [call for call in calls if "names.json" not in call and "spaces/current" not in call and "/log/" not in call] == []
