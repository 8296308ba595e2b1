"""Reshardings whose command died between the seal and the flip: a controller ends them, and touches no others."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from reelspace.core.local_store import LocalStore
from reelspace.search.scheduling.controller import Controller, ControllerSettings
from reelspace.search.scheduling.left_moves import LeftMoves
from reelspace.search.scheduling.reshard_state import read_reshard
from reelspace.search.storage.layout import Collection
from reelspace.search.storage.writer import Clock

from .mortal_store import Died, MortalStore
from .test_kills import FIRST, Writer, check, num_changes
from .worlds import make, meant, resharded

AFTER = 3


def died(root: Path, dies_at: int, *, is_after: bool) -> tuple[LocalStore, Collection, Writer]:
    """Reshard 2 shards, and die at a change; then somebody writes."""
    store = LocalStore(root)
    old, writer = make(store, 2), Writer(store)
    writer.send(*FIRST)
    with pytest.raises(Died):
        resharded(MortalStore(root, dies_at, after=is_after), AFTER)
    writer.send("later#1", "later#2")
    return store, old, writer


@pytest.mark.parametrize("is_after", [False, True])
def test_what_a_dead_command_left_at_its_seal_is_ended_and_nothing_else_is_touched(tmp_path: Path, is_after: bool) -> None:
    num, ended = num_changes(tmp_path / "whole", AFTER), 0
    for dies_at in range(1, num + 1):
        store, old, writer = died(tmp_path / str(dies_at), dies_at, is_after=is_after)
        before, name_before = read_reshard(store, old.full_name), meant(store)
        LeftMoves(store, Clock().now_us, left_s=0.0).finish()
        after = read_reshard(store, old.full_name)
        if before.state == "sealing":
            ended += 1
            assert after.state == "moved"
            check(store, old, writer, AFTER)
        else:
            assert (after, meant(store)) == (before, name_before)
    assert ended >= 5


def test_a_controller_ends_it_after_a_while(tmp_path: Path) -> None:
    num = num_changes(tmp_path / "whole", AFTER)
    for dies_at in range(num, 0, -1):
        store, old, writer = died(tmp_path / str(dies_at), dies_at, is_after=False)
        if read_reshard(store, old.full_name).state == "sealing" and meant(store) == old:
            break
    nobody: Any = None

    async def looks() -> None:
        controller = Controller(store, nobody, ControllerSettings(look_s=0.05, left_s=0.3))
        await controller.look()
        assert meant(store) == old
        await asyncio.sleep(0.4)
        await controller.look()

    asyncio.run(looks())
    check(store, old, writer, AFTER)


def test_one_that_was_ended_is_looked_at_no_more(tmp_path: Path) -> None:
    class Counting(LocalStore):
        num_reads = 0

        def get(self, key: str) -> bytes:
            self.num_reads += key.endswith("reshard.json")
            return super().get(key)

    store = Counting(tmp_path)
    make(store, 2)
    resharded(store, AFTER)
    left = LeftMoves(store, Clock().now_us, left_s=0.0)
    left.finish()
    store.num_reads = 0
    left.finish()
    assert store.num_reads == 0
