"""What `reelspace search serve` refuses before it starts anything."""

import socket
from pathlib import Path

import pytest

import reelspace.search
from reelspace.core.errors import OutputOccupied, UserError
from reelspace.core.local_store import LocalStore
from reelspace.gateway.servers import ServePlan, serve_search, served_models
from reelspace.search.scheduling.create import create_collection
from reelspace.search.shared_directory import shared_directory
from reelspace.search.storage.layout import Collection, VectorSettings
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import replace_file

MADE = Collection(name="things", space_id="00112233aabbccdd", vectors={"": VectorSettings(dimension=4)}, num_shards=2)


def plan(directory: Path, port: int = 0, num_processes: int = 1) -> ServePlan:
    return ServePlan(str(directory), "127.0.0.1", port, 0, num_processes)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_port_that_is_taken_is_refused_by_number(tmp_path: Path, num_processes: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve_search(plan(tmp_path, port, num_processes))


def test_a_directory_that_a_process_keeps_for_itself_is_refused_and_one_that_others_share_is_not(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with reelspace.search.open(str(tmp_path)), pytest.raises(OutputOccupied, match=r"reelspace\.search\.open"):
        serve_search(plan(tmp_path))
    with shared_directory(store), shared_directory(store), pytest.raises(OutputOccupied):
        reelspace.search.open(str(tmp_path))
    reelspace.search.open(str(tmp_path)).close()


def test_every_shard_of_every_collection_gets_a_model_that_follows_its_pointer(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    create_collection(store, MADE)
    assert served_models(store) == []
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
    assert served_models(store) == served_models(store) == ["shard-things@00112233-0", "shard-things@00112233-1"]
    assert sorted(store.list("repository/")) == [
        f"repository/shard-things@00112233-{shard}/{name}" for shard in range(2) for name in ("1/followed.json", "config.pbtxt")
    ]
