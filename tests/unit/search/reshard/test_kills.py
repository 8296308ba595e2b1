"""Reshardings that are killed at every change of the store, and run again: nothing is lost, doubled or left lying about."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reelspace.core.errors import TemporaryError
from reelspace.core.local_store import LocalStore
from reelspace.search.access.log_writers import LogWriters
from reelspace.search.compute.build import IndexSettings
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.scheduling.reshard_state import read_reshard
from reelspace.search.storage.layout import Collection
from reelspace.search.storage.log import Log
from reelspace.search.storage.moves import read_former_shards
from reelspace.search.storage.reader import read_from
from reelspace.search.storage.seen_numbers import SeenNumbers
from reelspace.search.storage.writer import LogMoved
from reelspace.search.tools.verification import verify_store

from .mortal_store import Died, MortalStore
from .worlds import changes_of, expected, make, meant, resharded, served

FIRST = [f"first{number}#1" for number in range(12)]


class Writer:
    """Sends requests in order, each until it is acknowledged; what the end of a log refuses is sent again later, after no other."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.sent: list[str] = []
        self._refused: list[str] = []

    def send(self, *keys: str) -> None:
        self.sent = [*self.sent, *keys]
        made = meant(self._store)
        with closing(LogWriters(self._store, made, read_former_shards(self._store, made))) as writers:
            todo, self._refused = [*self._refused, *keys], []
            for key in todo:
                futures = writers.submit(key, changes_of(key)).values()
                errors = [error for future in futures if (error := future.exception()) is not None]
                assert all(isinstance(error, LogMoved) for error in errors), errors
                self._refused += [key] if errors else []

    def finish(self) -> None:
        """Send what was refused, and then everything again, the last first, as clients may that had no answer."""
        self.send()
        assert not self._refused
        sent = self.sent
        self.send(*reversed(sent))
        self.sent = sent


def check_keys(store: LocalStore, made: Collection) -> None:
    """Expect no write twice in a log."""
    for shard in range(made.num_shards):
        keys = [write.request_key for entry in read_from(Log(store, made.full_name, shard, made.fields), 0) for write in entry.writes]
        assert len(keys) == len(set(keys))


def check(store: LocalStore, old: Collection, writer: Writer, num_shards: int) -> None:
    """Compare what is there, and what it holds when everything is sent again, with what was written."""
    new = meant(store)
    assert new.num_shards == num_shards
    writer.finish()
    assert served(store, new) == expected(writer.sent)
    check_keys(store, new)
    there = {key.split("/")[1] for key in store.list("collections/") if key.count("/") > 1}
    assert there == {old.full_name, new.full_name}
    assert not verify_store(store).damages


def run(root: Path, after: int, deaths: list[tuple[int, bool]]) -> int:
    """Reshard 2 shards, dying at these changes one after the other while writes come; gives the changes that the last try made."""
    store = LocalStore(root)
    old, writer = make(store, 2), Writer(store)
    writer.send(*FIRST)
    for number, (dies_at, is_after) in enumerate(deaths):
        with pytest.raises(Died):
            resharded(MortalStore(root, dies_at, after=is_after), after)
        writer.send(f"{number}a#1", f"{number}b#1")
        is_held = read_reshard(store, old.full_name).state is not None
        for shard in range(2):
            rebuild_shard(store, old, shard, IndexSettings(), root / "scratch")
            # Without a resharding, what was written an hour ago is not known any more when it is sent again.
            drop_old(store, old, shard, SeenNumbers(0.0) if is_held else None)
    last = MortalStore(root)
    resharded(last, after)
    check(store, old, writer, after)
    return last.num_changes


def num_changes(root: Path, after: int) -> int:
    return run(root, after, [])


@pytest.mark.parametrize(("after", "is_after"), [(4, False), (3, True)])
def test_killed_at_one_of_its_changes_it_goes_on_and_nothing_is_lost_or_doubled(tmp_path: Path, after: int, is_after: bool) -> None:
    num = num_changes(tmp_path / "whole", after)
    first = random.randrange(6)
    for dies_at in range(1 + first, num + 1, 6):
        run(tmp_path / str(dies_at), after, [(dies_at, is_after)])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("after", [1, 3, 4])
@pytest.mark.parametrize("is_after", [False, True])
def test_killed_at_each_of_its_changes_it_goes_on_and_nothing_is_lost_or_doubled(tmp_path: Path, after: int, is_after: bool) -> None:
    num = num_changes(tmp_path / "whole", after)
    for dies_at in range(1, num + 1):
        run(tmp_path / str(dies_at), after, [(dies_at, is_after)])
    print(f"{num} deaths, 0 writes lost or doubled")


@pytest.mark.parametrize("num_rounds", [3, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_killed_again_and_again_it_goes_on_and_nothing_is_lost_or_doubled(tmp_path: Path, num_rounds: int) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for number in range(num_rounds):
        # Each makes fewer changes than a whole run needs, so each dies.
        deaths = [(draw.randint(1, 8), draw.random() < 0.5) for _ in range(draw.randint(2, 4))]
        run(tmp_path / str(number), draw.choice([1, 3, 4]), deaths)


@pytest.mark.parametrize("num_rounds", [4, pytest.param(150, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_several_at_a_time_some_of_which_die_lose_and_double_nothing(tmp_path: Path, num_rounds: int) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for number in range(num_rounds):
        root, after = tmp_path / str(number), draw.choice([1, 3, 4])
        store = LocalStore(root)
        old, writer = make(store, 2), Writer(store)
        writer.send(*FIRST)

        def one(what: tuple[float, int], root: Path = root, after: int = after) -> None:
            wait_s, dies_at = what
            time.sleep(wait_s)
            with suppress(Died, TemporaryError):  # it would say to try again
                resharded(MortalStore(root, dies_at, after=dies_at % 2 == 0), after)

        with ThreadPoolExecutor(3) as pool:
            tasks = [pool.submit(one, (draw.uniform(0, 0.3), draw.choice([0, *range(1, 60)]))) for _ in range(6)]
            turn = 0
            while not all(task.done() for task in tasks):
                writer.send(f"{turn}#1")
                turn += 1
                time.sleep(0.02)
            for task in tasks:
                task.result()
        resharded(store, after)
        check(store, old, writer, after)
