"""A collection in a real S3 server: MinIO, whose binary REELSPACE_MINIO names (../shared/testbed builds one)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest
import urllib3
from minio import Minio

from reelspace.core.processes import child, stop
from reelspace.core.store import open_store
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.storage.layout import read_collection
from reelspace.search.storage.log import RETRY_WINDOW_S
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.probe import probe_store
from reelspace.search.storage.replaced_file import replace_file
from reelspace.search.storage.snapshot import restore_snapshot, take_snapshot
from reelspace.search.storage.writer import Clock

from .doomed import IVF, MADE
from .owners import Client, Owner, rows_of

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}
START_S = 60.0


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix in a bucket of a fresh server, with the environment that opens it."""
    binary = os.environ.get("REELSPACE_MINIO")
    if not binary:
        pytest.skip("REELSPACE_MINIO does not name the binary of MinIO")
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        port, console = first.getsockname()[1], second.getsockname()[1]
    settings = {
        "MINIO_ROOT_USER": KEYS["AWS_ACCESS_KEY_ID"],
        "MINIO_ROOT_PASSWORD": KEYS["AWS_SECRET_ACCESS_KEY"],
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    command = [binary, "server", "--quiet", "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
    server = child([*command, str(tmp_path / "objects")], env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        Minio(f"127.0.0.1:{port}", KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], secure=False).make_bucket("store")
        for name, value in {**KEYS, "REELSPACE_S3_ENDPOINT": f"http://127.0.0.1:{port}"}.items():
            monkeypatch.setenv(name, value)
        yield "s3://store/some/prefix"
    finally:
        stop(server)


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        try:
            if urllib3.request("GET", f"http://127.0.0.1:{port}/minio/health/live", retries=False).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"MinIO did not answer within {START_S:g} s")


@contextmanager
def gateway(url: str, log: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "reelspace.gateway", "--store", url, "--backend", "local", "--port", "0"]
    with log.open("wb") as errors:
        process = child(command, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            yield str(orjson.loads(line)["url"])
        finally:
            stop(process)
            process.stdout.close()


def expected(owners: list[Owner]) -> Mapping[int, int | None]:
    return {id: turn for owner in owners for id, turn in owner.rows.items() if turn is not None}


def write(owners: list[Owner], urls: list[str], seconds: float) -> None:
    """Let owners write and delete at the same time through all gateways."""
    clients = [Client(owner, urls) for owner in owners]
    time.sleep(seconds)
    for one in clients:
        one.end()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_collection_in_minio_equals_a_dict_through_writes_rebuilds_restarts_and_snapshots(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    probe_store(store)
    create_collection(store, MADE)
    replace_file(store, Names, NAMES_KEY, lambda names: names.with_collection("things", MADE.full_name))
    owners = [Owner(1000 * number) for number in range(4)]
    with ExitStack() as stack:
        urls = [stack.enter_context(gateway(url, tmp_path / f"gateway-{number}.log")) for number in range(2)]
        write(owners, urls, 4.0)
        assert rows_of(store, MADE) == (expected(owners), 1)
        live = stack.enter_context(ShardHost(store, MADE, 0, Hosting(poll_s=0.1)))
        for shard in range(MADE.num_shards):
            for _ in range(2):
                rebuild_shard(store, MADE, shard, IVF, tmp_path / "scratch")
            drop_old(store, MADE, shard, Clock().now_us() + int(RETRY_WINDOW_S * 1e6))
        write(owners, urls, 2.0)
        snapshot = take_snapshot(store, MADE.full_name, store, tmp_path)
        at_snapshot = expected(owners)
        write(owners, urls, 2.0)
        found, generation = rows_of(store, MADE)
        assert (found, generation > 1) == (expected(owners), True)
        live.refresh()
        with ShardHost(store, MADE, 0) as again:
            assert (live.num_rows, live.generation, live.applied) == (again.num_rows, again.generation, again.applied)
    with gateway(url, tmp_path / "again.log") as again_url:
        write(owners, [again_url], 0.5)
        assert rows_of(store, MADE)[0] == expected(owners)
    restored = restore_snapshot(snapshot, store, tmp_path, "restored")
    assert rows_of(store, read_collection(store, restored))[0] == at_snapshot
    num_acknowledged = sum(owner.num_acknowledged for owner in owners)
    print(f"{num_acknowledged} acknowledged writes, {len(expected(owners))} rows, generation {generation}")
    assert num_acknowledged > 40
