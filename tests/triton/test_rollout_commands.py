"""The commands roll a real encoder out: from an export to the version that services ask, in a directory and in S3."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import httpx
import pytest

from reelspace.core.artifacts import write_artifact
from reelspace.core.processes import child, stop
from reelspace.core.store import Store, open_store
from reelspace.search.scheduling.create import create_collection
from reelspace.search.scheduling.repository import publish_encoders
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, json_bytes
from reelspace.serving.triton import TritonProcess
from reelspace.serving.version import Version

from .conftest import SPACE_ID, Exported
from .test_s3_repository import KEYS, MODEL, endpoint

__all__ = ["endpoint"]  # a fixture
GATES = ("--set", "min_compared=10", "--set", "min_stage_s=0.5", "--set", "settle_s=1")
NUM_CLIENTS = 2
HELD_S = 3.0
"""A request that waits for a load to end waits longer than this; one that only meets a busy machine does not."""


@dataclass(frozen=True)
class Heard:
    """What a client was told: status, version or error, and after how long."""

    status: int
    told: str
    seconds: float


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `reelspace serve ...` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "reelspace.cli", "serve", *words], capture_output=True, text=True, timeout=280, check=False
    )


def published(store: Store, models: Path) -> None:
    """Let the first export serve, as a pipeline does."""
    repository = write_artifact(store, "repository", models, parents=(), code="", settings={"number": 1})
    dimension = Version.read(models / MODEL / "1").dimension
    collection = Collection(name="videos", space_id=SPACE_ID, vectors={"": VectorSettings(dimension=dimension)}, num_shards=1)
    create_collection(store, collection)
    facts = {"collection": collection.full_name, "alias": "videos", "generation": 1, "previous": None}
    encoders = publish_encoders(store, repository, {})
    store.put(SPACE_POINTER, json_bytes(SpacePointer(space_id=SPACE_ID, encoders=encoders, **facts)))


@contextmanager
def gateway(store: Store, triton: TritonProcess, log: Path) -> Iterator[str]:
    """Start the gateway as operators do; gives its address."""
    words = ["--store", store.url, "--backend", "local", "--port", "0", "--triton-grpc", triton.grpc_address]
    words += ["--triton-http", triton.http_url.removeprefix("http://")]
    with log.open("wb") as errors:
        process = child([sys.executable, "-m", "reelspace.gateway", *words], stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield json.loads(line)["url"]
    finally:
        stop(process)
        process.stdout.close()


@contextmanager
def asking(url: str) -> Iterator[list[Heard]]:
    """Ask for texts in a closed loop."""
    heard: list[Heard] = []
    ended = threading.Event()

    def ask() -> None:
        body = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["ramen soup"]}]}
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while not ended.is_set():
                start_s = time.monotonic()
                response = client.post(f"/v2/models/{MODEL}/infer", json=body)
                told, seconds = response.json(), time.monotonic() - start_s
                heard.append(Heard(response.status_code, told["model_version"] if response.status_code == 200 else told["error"], seconds))

    threads = [threading.Thread(target=ask) for _ in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", ["directory", "s3"])
def test_commands_publish_and_promote_a_good_encoder_and_refuse_a_damaged_one(
    place: str, exported: Exported, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "store")
    if place == "s3":
        address, url = request.getfixturevalue("endpoint"), "s3://store/team"
        for name, value in (KEYS | {"REELSPACE_S3_ENDPOINT": address}).items():
            monkeypatch.setenv(name, value)
        assert httpx.put(f"{address}/store").status_code == 200
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    store, models = open_store(url), tmp_path / "models"
    copytree(exported.models / MODEL, models / MODEL)
    published(store, models)
    with (
        TritonProcess.start([f"{url}/repository"], [MODEL], dict(os.environ), log_path=tmp_path / "triton.log") as triton,
        gateway(store, triton, tmp_path / "gateway.log") as served,
        asking(served) as heard,
    ):
        where = ("--store", url, "--triton", triton.grpc_address)
        for number, expected in ((2, 0), (3, 2)):
            repository = write_artifact(store, "repository", models, parents=(), code="", settings={"number": number})
            assert command("publish", repository.id, "--store", url, "--json").stdout.strip() == f'{{"{MODEL}":{number}}}'
            if expected:
                graph = f"repository/{MODEL}/{number}/model.onnx"
                store.put(graph, store.get(graph)[:-1] + b"\0")
            ended = command("promote", MODEL, str(number), *where, *GATES)
            assert ended.returncode == expected, ended.stderr
        assert "version 3 of text_encoder was rolled back: version 3 does not load, or does not answer" in ended.stderr
        assert f"{MODEL}: 2 -> 3 rolled_back" in command("status", "--store", url).stdout
        before = len(heard)
        time.sleep(1.0)
        assert {one.told for one in heard[before + NUM_CLIENTS :]} == {"2"}
        back = command("rollback", MODEL, *where)
        assert (back.returncode, "was rolled back already" in back.stderr) == (2, True)
    assert Counter((one.status, one.told) for one in heard).keys() == {(200, "1"), (200, "2")}
    assert max(one.seconds for one in heard) < HELD_S
