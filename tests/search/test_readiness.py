"""Living, having started and being ready, of a real gateway process, state by state: /livez, /startupz, /readyz.

A dependency that is out never ends a gateway; only a blocked event loop keeps /livez from answering.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.core.store import Store, open_store
from reelspace.search.storage.layout import read_current
from reelspace.search.storage.names import NAMES_KEY, Names
from reelspace.search.storage.replaced_file import read_or_default

from .conftest import promote_rows
from .local_gateways import LocalGateway, command_of, local_gateway, s3_server
from .slow_proxy import slow_proxy

PATHS = ("/livez", "/startupz", "/readyz")
ROWS, SIZE = 60, 8
PATIENCE_S = 30.0
LIVES, STARTS, READY = (200, 503, 503), (200, 503, 503), (200, 200, 200)
"""(/livez, /startupz, /readyz); what loads for the first time, and what cannot, look alike to who restarts."""
UNREADY = (200, 200, 503)


def table(gateway: LocalGateway) -> tuple[int, ...]:
    """Ask all three."""
    return tuple(gateway.get(path).status_code for path in PATHS)


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "in vain"
        time.sleep(0.05)


def promoted_store(root: Path) -> LocalStore:
    store = LocalStore(root / "store")
    promote_rows(store, root, ROWS, SIZE)
    return store


def vectors_of(store: LocalStore, shard: int) -> Path:
    [path] = (store.root / "collections").glob(f"videos@*/shards/{shard}/generations/1/vectors-0.npy")
    return path


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        yield
    finally:
        path.write_bytes(good)


def find(gateway: LocalGateway, collection: str = "videos") -> httpx.Response:
    vector = [1.0] + [0.0] * (SIZE - 1)
    return httpx.post(f"{gateway.url}/collections/{collection}/points/query", json={"query": vector, "limit": 3}, timeout=30)


def put(gateway: LocalGateway, collection: str, **options: Any) -> httpx.Response:
    body = {"points": [{"id": 1, "vector": [1.0] * SIZE}]}
    return httpx.put(f"{gateway.url}/collections/{collection}/points", params={"wait": "true", **options}, json=body, timeout=30)


def create(gateway: LocalGateway, collection: str) -> None:
    body = {"vectors": {"size": SIZE, "distance": "Dot"}}
    assert httpx.put(f"{gateway.url}/collections/{collection}", json=body, timeout=30).status_code == 200
    assert put(gateway, collection).status_code == 200


def num_searches(gateway: LocalGateway) -> float:
    """How often shards were searched so far."""
    [line] = [one for one in gateway.get("/metrics").text.splitlines() if one.startswith("reelspace_shard_seconds_count")]
    return float(line.split()[1])


def test_ready_is_told_after_the_hashes_were_checked_and_every_shard_was_searched(tmp_path: Path) -> None:
    store = promoted_store(tmp_path)
    with local_gateway(store.url, tmp_path / "log") as gateway:
        assert num_searches(gateway) == 0
        until(lambda: gateway.get("/readyz").status_code == 200)
        assert num_searches(gateway) >= 2
        before = num_searches(gateway)
        assert table(gateway) == READY
        assert num_searches(gateway) >= before + 2, "each answer is one of all shards"


@pytest.mark.parametrize("shard", [0, 1])
def test_a_damaged_shard_keeps_a_gateway_from_starting_until_it_is_whole_and_lets_it_live(tmp_path: Path, shard: int) -> None:
    store = promoted_store(tmp_path)
    with damaged(vectors_of(store, shard)), local_gateway(store.url, tmp_path / "log") as gateway:
        for _ in range(4):
            assert table(gateway) == LIVES
            time.sleep(0.5)
        reason = gateway.get("/readyz").json()["status"]["error"]
        assert f"shards/{shard}/generations/1/vectors-0.npy" in reason
        assert "is corrupt" in reason
    with local_gateway(store.url, tmp_path / "log") as gateway:
        until(lambda: table(gateway) == READY)
        with damaged(vectors_of(store, shard)):
            assert table(gateway) == READY, "what is loaded goes on answering"
            assert find(gateway).status_code == 200


def test_a_shard_that_is_made_whole_is_found_without_a_restart(tmp_path: Path) -> None:
    store = promoted_store(tmp_path)
    with damaged(vectors_of(store, 1)):
        stack = local_gateway(store.url, tmp_path / "log")
        gateway = stack.__enter__()
        assert table(gateway) == LIVES
    try:
        until(lambda: table(gateway) == READY)
        assert find(gateway).status_code == 200
    finally:
        stack.__exit__(None, None, None)


def test_a_damaged_collection_of_a_client_is_refused_to_who_asks_for_it_and_the_others_are_served(tmp_path: Path) -> None:
    store = promoted_store(tmp_path)
    with local_gateway(store.url, tmp_path / "log") as gateway:
        create(gateway, "mine")
    full_name = read_or_default(store, Names, NAMES_KEY).collections["mine"]
    assert read_current(store, full_name, 1).version == 1
    [entry] = (store.root / "collections" / full_name / "shards/0/log").glob("*.arrow")
    with damaged(entry), local_gateway(store.url, tmp_path / "log") as gateway:
        until(lambda: table(gateway) == READY)
        for _ in range(10):
            refused = find(gateway, "mine")
            assert (refused.status_code, entry.name in refused.text) == (500, True)
            assert table(gateway) == READY, "one client's damage takes the gateway from all others"
            assert find(gateway).status_code == 200
            time.sleep(0.1)


def test_a_store_that_is_down_ends_neither_life_nor_readiness_of_what_is_loaded_and_writes_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(monkeypatch) as server:
        promote_rows(open_store(server.url), tmp_path, ROWS, SIZE)
        with local_gateway(server.url, tmp_path / "log") as gateway:
            until(lambda: table(gateway) == READY)
            create(gateway, "mine")
            server.kill()
            for _ in range(4):
                assert table(gateway) == READY
                assert [find(gateway, name).status_code for name in ("videos", "mine")] == [200, 200]
                time.sleep(0.5)
            assert put(gateway, "mine", timeout=2).status_code in (503, 504)
            assert gateway.process.poll() is None
            assert table(gateway) == READY


def test_without_its_store_no_gateway_starts_and_the_end_says_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch) as server:
        server.kill()
        ended = subprocess.run(command_of(server.url), capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 75
    assert ended.stdout == ""
    assert "did not answer" in ended.stderr.splitlines()[-1]


def test_a_directory_that_is_gone_for_a_while_is_a_store_that_is_down_and_no_empty_one(tmp_path: Path) -> None:
    store = promoted_store(tmp_path)
    with local_gateway(store.url, tmp_path / "log") as gateway:
        create(gateway, "mine")
        os.rename(store.root, tmp_path / "away")
        try:
            time.sleep(2.5)  # the names are read once a second
            assert table(gateway) == READY
            assert [find(gateway, name).status_code for name in ("videos", "mine")] == [200, 200]
        finally:
            os.rename(tmp_path / "away", store.root)


def test_while_shards_load_for_the_first_time_a_gateway_lives_and_has_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch) as server, slow_proxy(server.address) as proxy:
        store: Store = open_store(server.url)
        promote_rows(store, tmp_path, ROWS, SIZE)
        monkeypatch.setenv("REELSPACE_S3_ENDPOINT", f"http://{proxy.address}")
        proxy.delay_s = 0.2
        with local_gateway(server.url, tmp_path / "log") as gateway:
            proxy.delay_s = 2.5
            seen = [table(gateway) for _ in range(2)]
            assert seen == [LIVES, LIVES]
            assert gateway.get("/livez", timeout_s=0.5).status_code == 200, "at once"
            proxy.delay_s = 0.0
            until(lambda: table(gateway) == READY)


def test_a_gateway_that_ends_is_unready_at_once_and_lives_until_it_is_gone(tmp_path: Path) -> None:
    store = promoted_store(tmp_path)
    with local_gateway(store.url, tmp_path / "log", "--drain-s", "1.5") as gateway:
        until(lambda: table(gateway) == READY)
        gateway.process.send_signal(signal.SIGTERM)
        begun_s = time.monotonic()
        until(lambda: gateway.get("/readyz").status_code == 503)
        assert time.monotonic() - begun_s < 1.0
        assert table(gateway) == UNREADY
        assert "ending" in gateway.get("/readyz").text
        assert find(gateway).status_code == 200, "what still comes is answered"
        assert gateway.process.wait(PATIENCE_S) == 0
        assert time.monotonic() - begun_s >= 1.5


def blocking(seconds: float) -> tuple[str, ...]:
    """Give the start of a command whose process keeps its event loop for so long at SIGUSR1, while its other threads go on."""
    lines = ["import signal, sys, time", f"signal.signal(signal.SIGUSR1, lambda *_: time.sleep({seconds}))"]
    return sys.executable, "-c", "\n".join([*lines, "from reelspace.gateway.__main__ import main", "main(sys.argv[1:])"])


def check_blocked(tmp_path: Path, seconds: float) -> None:
    store = promoted_store(tmp_path)
    with local_gateway(store.url, tmp_path / "log", program=blocking(seconds)) as gateway:
        until(lambda: table(gateway) == READY)
        gateway.process.send_signal(signal.SIGUSR1)
        begun_s = time.monotonic()
        time.sleep(0.2)
        while time.monotonic() < begun_s + seconds - 1.5:
            for path in PATHS:
                with pytest.raises(httpx.ReadTimeout):
                    gateway.get(path, timeout_s=0.4)
        until(lambda: time.monotonic() > begun_s + seconds)
        assert table(gateway) == READY, "it was not ended by its own"
        assert find(gateway).status_code == 200


def test_a_blocked_event_loop_answers_no_question_and_all_of_them_afterwards(tmp_path: Path) -> None:
    check_blocked(tmp_path, 4.0)


@pytest.mark.long
def test_an_event_loop_that_is_blocked_for_30_s_answers_no_question_and_all_of_them_afterwards(tmp_path: Path) -> None:
    check_blocked(tmp_path, 30.0)
