"""What else meets a collection that is resharded: another who does the same, snapshots, checks, imports, embedded use, commands."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import reelspace.search
from reelspace.cli.main import app
from reelspace.core.errors import OutputOccupied, StoreUnavailable, TemporaryError
from reelspace.core.local_store import LocalStore
from reelspace.core.store import open_store
from reelspace.search.compute.build import IndexSettings
from reelspace.search.scheduling.rebuild import rebuild_shard
from reelspace.search.scheduling.reshard import Patience
from reelspace.search.scheduling.reshard_state import ReshardTaken, read_reshard
from reelspace.search.scheduling.retire import retire
from reelspace.search.storage.layout import read_collection
from reelspace.search.storage.log_end import end_log
from reelspace.search.storage.snapshot import restore_snapshot, take_snapshot
from reelspace.search.storage.writer import Clock, LogMoved
from reelspace.search.tables.batch import Batch
from reelspace.search.tables.formats import read_table, write_table
from reelspace.search.tools.import_rows import ImportPlan, import_into_store
from reelspace.search.tools.inspection import inspect_store
from reelspace.search.tools.verification import verify_store

from .mortal_store import Died, MortalStore
from .worlds import Log, expected, make, meant, resharded, served, write

KEYS = [f"k{number}#1" for number in range(40)]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize("num_rounds", [3, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_two_that_reshard_at_a_time_are_in_each_others_way_but_lose_and_double_nothing(tmp_path: Path, num_rounds: int) -> None:
    for number in range(num_rounds):
        store = LocalStore(tmp_path / str(number))
        old = make(store, 2)
        write(store, old, *KEYS)
        draw = random.Random(number)

        def one(wait_s: float, store: LocalStore = store) -> str:
            threading.Event().wait(wait_s)
            try:
                return resharded(store, 3, patience=Patience(announced_s=0.1)).new
            except TemporaryError as error:  # what it would say to try again
                return type(error).__name__

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(one, [0.0, draw.uniform(0.0, 0.4)]))
        assert resharded(store, 3).new == meant(store).full_name
        assert set(found) <= {meant(store).full_name, "ReshardTaken", "LogOpened"}
        write(store, meant(store), *reversed(KEYS))
        assert served(store, meant(store)) == expected(KEYS)
        assert not verify_store(store).damages


def test_a_copy_that_another_process_has_made_anew_is_given_up(store: LocalStore) -> None:
    old = make(store, 2)
    write(store, old, *KEYS)

    class Overtaken(LocalStore):
        """Another process begins anew while this one publishes its copy."""

        is_overtaken = False

        def put_file(self, key: str, path: Path, sha256: str | None = None) -> None:
            if not self.is_overtaken:
                self.is_overtaken = True
                resharded(store, 3)
            super().put_file(key, path, sha256)

    with pytest.raises(ReshardTaken, match="another process"):
        resharded(Overtaken(store.root), 3)
    there = {key.split("/")[1] for key in store.list("collections/") if key.count("/") > 1}
    assert there == {old.full_name, meant(store).full_name}
    assert served(store, meant(store)) == expected(KEYS)


def test_a_store_that_is_away_for_a_while_is_waited_for(store: LocalStore) -> None:
    old = make(store, 2)
    write(store, old, *KEYS)

    class Shaky(LocalStore):
        """Refuses every third change of a log, half of them after they were made."""

        num_changes = 0

        def put_if_absent(self, key: str, data: bytes) -> str:
            if "/log/" not in key or "@0000" in key:
                return super().put_if_absent(key, data)
            self.num_changes += 1
            if self.num_changes % 3 == 0:
                raise StoreUnavailable("away")
            etag = super().put_if_absent(key, data)
            if self.num_changes % 3 == 1 and read_reshard(store, old.full_name).state == "sealing":
                raise StoreUnavailable("the answer was lost")
            return etag

    shaky = Shaky(store.root)
    for _ in range(20):
        try:
            resharded(shaky, 3)
        except StoreUnavailable:  # while it copies: the command says to run it again
            continue
        break
    assert shaky.num_changes > 4
    assert served(store, meant(store)) == expected(KEYS)


def test_a_snapshot_of_what_has_moved_can_be_restored_and_written_to(store: LocalStore, tmp_path: Path) -> None:
    old = make(store, 2)
    write(store, old, *KEYS)
    resharded(store, 3)
    rebuild_shard(store, old, 0, IndexSettings(), tmp_path)  # one that holds the mark
    for number, made in enumerate((old, meant(store))):
        snapshot = take_snapshot(store, made.full_name, store, tmp_path)
        name = restore_snapshot(snapshot, store, tmp_path, f"restored-{number}")
        restored = read_collection(store, name)
        assert served(store, restored) == expected(KEYS)
        write(store, restored, "later#1")
        assert served(store, restored) == expected([*KEYS, "later#1"])
    assert not verify_store(store).damages


def test_what_is_half_copied_is_no_damage_and_what_has_moved_is_whole(store: LocalStore) -> None:
    old = make(store, 2)
    write(store, old, *KEYS)
    for dies_at in (5, 15, 30):
        with pytest.raises(Died):
            resharded(MortalStore(store.root, dies_at), 4)
        assert not verify_store(store).damages
    resharded(store, 4)
    found = verify_store(store)
    assert not found.damages
    assert {(one.collection, one.shard) for one in found.shards} == {
        *((old.full_name, shard) for shard in range(2)),
        *((meant(store).full_name, shard) for shard in range(4)),
    }
    (told,) = inspect_store(store)
    assert (told["full_name"], len(told["shards"])) == (meant(store).full_name, 4)


def half_moved(store: LocalStore) -> None:
    """End the logs of a collection as a resharding does that was killed then."""
    old = meant(store)
    for shard in range(old.num_shards):
        end_log(Log(store, old.full_name, shard, old.fields), "things@0000000f", 0, Clock().now_us())


def test_embedded_use_and_imports_are_told_where_a_collection_has_moved(tmp_path: Path) -> None:
    with reelspace.search.open(str(tmp_path / "store")) as database:
        things = database.create_collection("things", 3, num_shards=2)
        things.upsert([1, 2, 3], np.eye(3))
        half_moved(LocalStore(tmp_path / "store"))
        with pytest.raises(LogMoved, match="moves into things@0000000f: write there, once its name means that"):
            things.upsert([4], [[1.0, 2.0, 3.0]])
        assert things.num_rows == 3
    write_table(tmp_path / "rows.parquet", [Batch([7, 8], {"": np.ones((2, 3), dtype=np.float32)}, [b"{}", b"{}"])], {"": 3})
    with pytest.raises(LogMoved, match="moves into things@0000000f"):
        import_into_store(LocalStore(tmp_path / "store"), read_table(tmp_path / "rows.parquet"), ImportPlan("things"))


def test_the_commands_reshard_tell_and_retire(tmp_path: Path) -> None:
    directory = str(tmp_path / "store")
    with reelspace.search.open(directory) as database:
        database.create_collection("things", 3, num_shards=2).upsert([1, 2, 3], np.eye(3))
        refused = CliRunner().invoke(app, ["search", "reshard", "things", "--shards", "3", "--dir", directory])
        assert isinstance(refused.exception, OutputOccupied)

    def run(*words: str) -> str:
        told = CliRunner().invoke(app, ["search", *words, "--dir", directory], catch_exceptions=False)
        assert told.exit_code == 0
        return told.stdout

    assert "nothing was given up" in run("reshard", "things", "--cancel")
    done = json.loads(run("reshard", "things", "--shards", "3", "--json"))
    assert done["num_shards"] == 3
    assert f"is kept until `reelspace search retire {done['old']}`" in run("reshard", "things", "--shards", "3")
    assert json.loads(run("retire", done["old"], "--json")) == {"removed": done["old"], "goes_on": done["new"]}
    assert "is kept" not in run("reshard", "things", "--shards", "3")
    for words in (["--shards", "3", "--cancel"], []):
        bad = CliRunner().invoke(app, ["search", "reshard", "things", *words, "--dir", directory])
        assert "expected either --shards or --cancel" in str(bad.exception)
    with reelspace.search.open(directory) as database:
        things = database.collection("things")
        assert things.num_rows == 3
        things.upsert([4], [[1.0, 2.0, 3.0]])
        assert things.search([1.0, 2.0, 3.0], 1)[0].id == 4


@pytest.mark.parametrize("num_shards", [3, 4])
def test_in_a_bucket_it_is_as_in_a_directory(s3_url: str, num_shards: int) -> None:
    bucket = open_store(s3_url)
    old = make(bucket, 2)
    write(bucket, old, *KEYS)
    done = resharded(bucket, num_shards)
    write(bucket, meant(bucket), *reversed(KEYS))
    assert served(bucket, meant(bucket)) == expected(KEYS)
    retire(bucket, old.full_name)
    assert not list(bucket.list(f"collections/{old.full_name}/"))
    assert served(bucket, meant(bucket)) == expected(KEYS)
    assert done.new == meant(bucket).full_name
