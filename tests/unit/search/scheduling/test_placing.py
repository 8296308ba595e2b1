"""Shards that move between groups: loaded first, unloaded last, whatever is in between."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.placing import Placer
from reelspace.search.storage.layout import shard_model
from reelspace.search.storage.placement import add_group, place, read_placement, remove_group

from .publishing import MADE, serving

MODELS = {shard_model(MADE.full_name, shard) for shard in range(2)}


class Servers:
    """Servers that have what they were told to load; `broken` ones load nothing."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.have: dict[str, set[str]] = {}
        self.broken: set[str] = set()

    async def load(self, model: str, addresses: Sequence[str]) -> bool:
        for address in set(addresses) - self.broken:
            self.have.setdefault(address, set()).add(model)
        return not self.broken.issuperset(addresses)

    async def unload(self, model: str, addresses: Sequence[str]) -> None:
        for address in addresses:
            self.have.get(address, set()).discard(model)

    def check(self) -> None:
        """Expect every shard to be on a server of the group that it is placed in."""
        placement = read_placement(self.store)
        for model in placement.shards:
            assert any(model in self.have.get(address, set()) for address in placement.addresses(model) or ())


def test_a_shard_is_placed_where_it_is_loaded_and_unloaded_where_nobody_asks_any_more(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    serving(store, tmp_path)
    servers = Servers(store)

    async def run() -> None:
        placer = Placer(store, servers, 0.1)
        assert not await placer.step()
        add_group(store, "a", ("a:1", "a:2"))
        for model in MODELS:
            await servers.load(model, place(store, MODELS).addresses(model) or ())
        add_group(store, "b", ("b:1",))
        servers.broken = {"b:1"}
        assert not await placer.step()
        servers.check()
        servers.broken = set()
        while await placer.step():
            servers.check()
        assert len(read_placement(store).shards_of("b")) == 1
        assert servers.have["a:1"] == MODELS  # gateways may ask it still
        await asyncio.sleep(0.11)
        await placer.step()
        servers.check()
        assert (len(servers.have["a:1"]), len(servers.have["a:2"]), len(servers.have["b:1"])) == (1, 1, 1)
        remove_group(store, "a")
        while await placer.step():
            servers.check()
        assert set(read_placement(store).groups) == {"a", "b"}
        await placer.step()
        await asyncio.sleep(0.11)
        await placer.step()
        assert set(read_placement(store).groups) == {"b"}
        assert servers.have == {"a:1": set(), "a:2": set(), "b:1": MODELS}

    asyncio.run(run())
