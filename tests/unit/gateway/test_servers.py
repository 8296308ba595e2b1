"""What `reelspace search serve` refuses before it starts anything."""

import socket
from dataclasses import fields
from pathlib import Path

import pytest

import reelspace.search
from reelspace.core.errors import OutputOccupied, SettingError, UserError
from reelspace.core.local_store import LocalStore
from reelspace.gateway.__main__ import parse_arguments
from reelspace.gateway.servers import Entrance, ServePlan, serve_search, served_models, words_of
from reelspace.gateway.settings import GatewaySettings
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


def test_each_of_several_processes_gets_every_setting_that_is_not_of_one_only() -> None:
    tritons = {"backend": "triton", "triton_grpc": "a:1", "triton_http": "a:2", "triton_replicas": ("b:1", "c:1")}
    doors = {"host": "10.0.0.1", "port": 1, "grpc_port": 2, "share_ports": True, "without_keys": True, "access_log": True}
    files = {"keys_file": "keys.json", "tls_cert": "a.crt", "tls_key": "a.key"}
    settings = GatewaySettings(store="s3://a/b", **tritons, **doors, **files)  # type: ignore[arg-type]
    assert parse_arguments(words_of(settings)) == settings
    assert {field.name for field in fields(Entrance)} - {"admin_port"} <= settings.model_fields_set


def test_a_host_without_keys_and_one_port_of_operators_for_several_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="without_keys"):
        serve_search(ServePlan(str(tmp_path), "0.0.0.0", 0, 0))
    with pytest.raises(UserError, match="admin-port"):
        serve_search(ServePlan(str(tmp_path), "127.0.0.1", 0, 0, 2, entrance=Entrance(admin_port=0)))


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
    assert served_models(store) == served_models(store) == ["shard-things.00112233-0", "shard-things.00112233-1"]
    assert sorted(store.list("repository/")) == [
        f"repository/shard-things.00112233-{shard}/{name}" for shard in range(2) for name in ("1/followed.json", "config.pbtxt")
    ]
