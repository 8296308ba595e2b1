"""Power cuts under a gateway and a builder: every row that a client was told of is on the copied disk, and found by the engine."""

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pytest

from reelspace import search
from reelspace.core.errors import ReelspaceError
from reelspace.core.local_store import LocalStore
from reelspace.search.embedded import EmbeddedCollection
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.layout import read_current
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file

from .doomed import IVF, MADE, row_of
from .first_rows import put_first
from .forks import PATIENCE_S, Fork, Forks, forks
from .loop_disk import empty_disk, mounted
from .owners import Client, Owner, Turns

NUM_CUTS = 20
NUM_CONTROL_CUTS = 3
OWNER_IDS = (0, 1000, 2000)
NEW_ID = 20_000
SCORE_TOLERANCE = 1e-3


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An ext4 in a file."""
    return empty_disk(tmp_path)


@dataclass
class Tally:
    """What the cuts came upon."""

    num_acknowledged: int = 0
    num_rows: int = 0
    num_rebuilt: int = 0
    num_in_between: int = 0


def cut(start: Forks, disk: Path, folder: Path, after_s: float, *, without_sync: bool = False) -> tuple[Path, list[Owner]]:
    """Serve, write and rebuild on a fresh disk, stop all at a moment and copy what the disk has; gives the copy and who wrote."""
    folder.mkdir()
    image, copy = Path(shutil.copyfile(disk, folder / "image")), folder / "copy"
    with mounted(image, folder / "mounted") as place:
        root = place / "store"
        store = LocalStore(root)
        create_collection(store, MADE)
        replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
        gateway = start.start("gateway", root, without_sync=without_sync)
        builder = start.start("builder", root, collection=MADE.full_name, without_sync=without_sync)
        first = put_first(gateway.url)
        clients = [Client(Owner(first_id), [gateway.url]) for first_id in OWNER_IDS]
        for client in clients:
            client.until_acknowledged()
        time.sleep(after_s)
        for fork in (gateway, builder):
            assert fork.is_alive, "\n".join(fork.lines)
            freeze(fork)
        shutil.copyfile(image, copy)
        for client in clients:
            client.stopping = True
        for fork in (gateway, builder):
            fork.kill()
        for client in clients:
            client.end()
    image.unlink()
    return copy, [first, *(client.owner for client in clients)]


def freeze(fork: Fork) -> None:
    """Stop a process, and return when none of its threads is in a call of the kernel any more."""
    os.kill(fork.pid, signal.SIGSTOP)
    deadline_s = time.monotonic() + PATIENCE_S
    while any(path.read_text().rpartition(")")[2].split()[0] != "T" for path in Path(f"/proc/{fork.pid}/task").glob("*/stat")):
        assert time.monotonic() < deadline_s, "never stopped"
        time.sleep(0.001)


def check(root: Path, owners: list[Owner], tally: Tally) -> None:
    """Open what is there as a library, compare every row, let each find itself, then write and rebuild on it."""
    shards = read_current(LocalStore(root), MADE.full_name, MADE.num_shards).shards.values()
    folders = list(root.glob("collections/*/shards/*/generations/*"))
    with search.open(str(root)) as database:
        things = database.collection("things")
        found = rows_of(things)
        assert set(found) <= {id for owner in owners for id in owner.rows}, "phantom"
        for owner in owners:
            owner.check(found)
        things.upsert([NEW_ID], [row_of(NEW_ID, 1)[0]], [row_of(NEW_ID, 1)[1]])
        things.optimize(IVF)
        assert rows_of(things) == found | {NEW_ID: 1}
    tally.num_acknowledged += sum(owner.num_acknowledged for owner in owners)
    tally.num_rows += len(found)
    tally.num_rebuilt += any(one.generation > 1 for one in shards)
    tally.num_in_between += any(is_in_between(folder) for folder in folders)


def is_in_between(generation: Path) -> bool:
    """Tell whether a folder is that of a generation which is being built or removed."""
    names = {path.name for path in generation.iterdir()}
    return bool(names) and "manifest.json" not in names


def rows_of(things: EmbeddedCollection) -> Turns:
    """Give the turn of every row, each compared with what its turn wrote and found as the nearest of its own vector."""
    ids = [record.id for record in things.scroll(10**6)]
    assert len(ids) == len(set(ids)) == things.num_rows, "duplicate"
    found: Turns = {}
    for record in things.get(ids, with_vectors=True):
        assert isinstance(record.id, int)
        payload, vector_D = orjson.loads(record.payload or b""), (record.vectors or {})[""]
        expected_D, expected = row_of(record.id, payload["turn"])
        assert payload == expected, "altered"
        assert np.array_equal(vector_D, expected_D), "altered"
        (hit,) = things.search(expected_D, 1)
        assert hit.id == record.id
        assert hit.score <= SCORE_TOLERANCE
        found[record.id] = payload["turn"]
    return found


def run(disk: Path, folder: Path, num_cuts: int) -> Tally:
    draw, tally = random.Random(seed := random.randrange(10**9)), Tally()
    print(f"seed {seed}")
    with forks(folder) as start:
        for number in range(num_cuts):
            copy, owners = cut(start, disk, folder / str(number), draw.uniform(0.0, 0.8))
            with mounted(copy, folder / "after") as place:
                check(place / "store", owners, tally)
            copy.unlink()
    print(f"{num_cuts} cuts: {tally}")
    return tally


def test_every_row_acknowledged_before_a_power_cut_is_found_on_the_disk(disk: Path, tmp_path: Path) -> None:
    assert run(disk, tmp_path, 1).num_acknowledged >= len(OWNER_IDS)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_20_power_cuts_while_indexes_are_rebuilt_lose_invent_duplicate_and_alter_no_row(disk: Path, tmp_path: Path) -> None:
    tally = run(disk, tmp_path, NUM_CUTS)
    assert tally.num_acknowledged > 10 * NUM_CUTS
    assert tally.num_rebuilt > NUM_CUTS // 2


@pytest.mark.long
@pytest.mark.timeout(600)
def test_without_syncing_the_same_power_cuts_lose_what_was_acknowledged(disk: Path, tmp_path: Path) -> None:
    num_lost = 0
    with forks(tmp_path) as start:
        for number in range(NUM_CONTROL_CUTS):
            copy, owners = cut(start, disk, tmp_path / str(number), 0.5, without_sync=True)
            with mounted(copy, tmp_path / "after") as place:
                try:
                    check(place / "store", owners, Tally())
                except (AssertionError, ReelspaceError) as error:
                    print(f"cut {number}: {error}")
                    num_lost += 1
    assert num_lost == NUM_CONTROL_CUTS
