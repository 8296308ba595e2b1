"""One directory from a file of rows to servers and back: import, serve, ask with the official client, export, verify, stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np
import orjson
import pytest
from qdrant_client import QdrantClient, models

from reelspace.core.processes import child, stop
from reelspace.search.storage.ids import Id
from reelspace.search.tables.batch import Batch
from reelspace.search.tables.formats import read_table, write_table

pytestmark = pytest.mark.journey

NUM_ROWS, SIZE = 600, 16


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "reelspace.cli", "search", *map(str, words)]


def run(*words: object, code: int = 0) -> str:
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


@contextmanager
def serving(directory: Path, *options: object) -> Iterator[tuple[str, QdrantClient, int]]:
    """Serve on free ports; the server must end by itself and with 0 when it is told to."""
    process = child(command("serve", "--dir", directory, "--port", 0, "--grpc-port", 0, *options), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = orjson.loads(process.stdout.readline())
        ports = [int(ready[name].rpartition(":")[2]) for name in ("url", "grpc")]
        client = QdrantClient(host="127.0.0.1", port=ports[0], grpc_port=ports[1], prefer_grpc=True, check_compatibility=False, timeout=60)
        yield ready["url"], client, process.pid
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        stop(process)


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def answers(url: str) -> bool:
    """Ask over a new connection, which either gateway may get."""
    try:
        found = httpx.post(f"{url}/collections/works/points/query", json={"query": [1, 0]}, timeout=5)
    except httpx.TransportError:
        return False
    return found.status_code == 200 and [point["id"] for point in found.json()["result"]["points"]] == [1]


def write_rows(path: Path) -> tuple[list[Id], np.ndarray]:  # type: ignore[type-arg]
    ids: list[Id] = [*range(NUM_ROWS // 2), *(UUID(int=number) for number in range(NUM_ROWS // 2))]
    vectors_ND = np.random.default_rng(3).standard_normal((NUM_ROWS, SIZE)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    payloads = [orjson.dumps({"place": place, "even": place % 2 == 0}) for place in range(NUM_ROWS)]
    write_table(path, [Batch(ids, {"": vectors_ND}, payloads)], {"": SIZE})
    return ids, vectors_ND


def check(client: QdrantClient, ids: list[Id], vectors_ND: np.ndarray) -> None:  # type: ignore[type-arg]
    """Compare filtered hits with brute force."""
    where = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])
    for query_D in vectors_ND[:20]:
        hits = client.query_points("works", query_D.tolist(), limit=5, query_filter=where, with_payload=True).points
        best = [place for place in np.argsort(-(vectors_ND @ query_D)) if place % 2 == 0][:5]
        assert [hit.payload["place"] for hit in hits if hit.payload] == best
        assert [str(hit.id) for hit in hits] == [str(ids[place]) for place in best]


def assert_same_rows(found: Path, wanted: Path) -> None:
    (one,), (other,) = read_table(found), read_table(wanted)
    order, others = (np.argsort(list(map(str, batch.ids))).tolist() for batch in (one, other))
    assert [one.ids[place] for place in order] == [other.ids[place] for place in others]
    assert [one.payloads[place] for place in order] == [other.payloads[place] for place in others]
    np.testing.assert_allclose(one.vectors[""][order], other.vectors[""][others], atol=1e-6)


def test_rows_are_served_by_gateways_and_by_tritons_and_come_back_as_they_were(tmp_path: Path) -> None:
    ids, vectors_ND = write_rows(tmp_path / "rows.parquet")
    first, second = tmp_path / "first", tmp_path / "second"
    with serving(first, "--processes", 2) as (url, client, _):
        run("import", tmp_path / "rows.parquet", "--url", url, "--collection", "works", "--shards", 2)
        check(client, ids, vectors_ND)
        run("export", tmp_path / "first.parquet", "--url", url, "--collection", "works")
        assert "green" in run("inspect", "--url", url)
        assert "recall at 10 1.0000" in run("bench", "--url", url, "--collection", "works", "--queries", 50, "--sampled", 20)
        assert run("import", tmp_path / "rows.parquet", "--dir", first, "--collection", "works").startswith("600 rows")
    assert_same_rows(tmp_path / "first.parquet", tmp_path / "rows.parquet")
    assert "0 damages" in run("verify", "--dir", first)
    run("import", tmp_path / "first.parquet", "--dir", second, "--collection", "works", "--shards", 3)
    with serving(second, "--triton", "--replicas", 2) as (url, client, _):
        check(client, ids, vectors_ND)
        client.upsert("works", [models.PointStruct(id=7, vector=vectors_ND[9].tolist(), payload={"place": -1})], wait=True)
        found = {client.query_points("works", vectors_ND[9].tolist(), limit=2).points[0].id for _ in range(6)}
        assert found == {7}  # every replica has it
        client.create_collection("more", models.VectorParams(size=2, distance=models.Distance.DOT))
        client.upsert("more", [models.PointStruct(id=1, vector=[1, 0])], wait=True)
        assert {client.query_points("more", [1, 0]).points[0].id for _ in range(4)} == {1}
    (manifest,) = second.glob("collections/works*/shards/1/generations/1/manifest.json")
    manifest.write_bytes(manifest.read_bytes().replace(b'"num_rows":', b'"num_rowz":'))
    assert "DAMAGED" in run("verify", "--dir", second, code=2)


def test_a_gateway_that_is_killed_is_started_again_on_the_same_ports(tmp_path: Path) -> None:
    with serving(tmp_path / "store", "--processes", 2) as (url, client, server):
        client.create_collection("works", models.VectorParams(size=2, distance=models.Distance.DOT))
        client.upsert("works", [models.PointStruct(id=1, vector=[1, 0])], wait=True)
        before = children_of(server)
        os.kill(before[0], signal.SIGKILL)
        until_s = time.monotonic() + 60
        while len(now := children_of(server)) < 2 or before[0] in now:
            assert time.monotonic() < until_s
            time.sleep(0.1)
        while not all(answers(url) for _ in range(20)):
            assert time.monotonic() < until_s
