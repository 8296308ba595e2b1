"""A collection in a real S3 server, whichever it is: through writes, rebuilds, restarts and snapshots it equals a dict."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import orjson
import pytest
from minio import Minio

from reelspace.core.processes import child, stop
from reelspace.core.store import open_store
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.rebuild import drop_old, rebuild_shard
from reelspace.search.storage.layout import read_collection
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.probe import probe_store
from reelspace.search.storage.replaced_file import replace_file
from reelspace.search.storage.seen_numbers import SeenNumbers
from reelspace.search.storage.snapshot import restore_snapshot, take_snapshot

from .doomed import IVF, MADE
from .owners import Client, Owner, rows_of

KEYS: Final = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}


def made_bucket(port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a bucket on a server of this machine; gives a prefix in it, and sets the environment that opens it."""
    Minio(f"127.0.0.1:{port}", KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], secure=False).make_bucket("store")
    for name, value in {**KEYS, "REELSPACE_S3_ENDPOINT": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    return "s3://store/some/prefix"


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


def check_collection(url: str, tmp_path: Path) -> None:
    """Write through two gateways, rebuild, restart, take a snapshot and restore it; every row is compared with its owner's."""
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
            drop_old(store, MADE, shard, SeenNumbers(0.0))
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
