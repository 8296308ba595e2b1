"""The end of a gateway under inferences: what runs is answered, nothing new is taken, the exit code is 0."""

import signal
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2

from ..triton.doubling import until
from .double import SLOW_S, Double
from .served import Served, X, connected, serving, x_message

SLOW = {"inputs": [{**X, "data": [99, 1]}]}
SLOW_MESSAGE = x_message(struct.pack("<2f", 99, 1))
DRAIN_S = 0.6


@pytest.fixture
def ending(double: Double, tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, double.address, {"doubling": 2}, drain_s=DRAIN_S) as gateway:
        yield gateway


def num_running(gateway: Served) -> str:
    lines = gateway.http.get("/metrics").text.splitlines()
    return next(line.rpartition(" ")[2] for line in lines if line.startswith("reelspace_inferences_running"))


def test_inferences_that_run_at_the_end_are_answered_over_both_faces_and_new_ones_are_not_taken(ending: Served) -> None:
    with ThreadPoolExecutor(2) as threads, connected(ending.url, ending.grpc_address) as other:
        over_http = threads.submit(other.infer, SLOW)
        over_grpc = threads.submit(other.call, "ModelInfer", SLOW_MESSAGE.SerializeToString())
        assert until(lambda: num_running(ending) == "2.0", 5)
        begun_s = time.monotonic()
        ending.process.send_signal(signal.SIGTERM)
        assert until(lambda: ending.http.get("/readyz").status_code == 503, DRAIN_S)
        assert ending.http.get("/v2/health/ready").status_code == 503
        told = ending.call("ServerReady", b"")
        assert isinstance(told, bytes)
        assert not service_pb2.ServerReadyResponse.FromString(told).ready
        # Who balances load has not heard of it yet: these are still served.
        assert ending.infer({"inputs": [X]}).status_code == 200
        answer = over_http.result()
        assert (answer.status_code, answer.json()["outputs"][0]["data"]) == (200, [198, 2])
        assert isinstance(over_grpc.result(), bytes)
    assert ending.process.wait(10) == 0
    assert time.monotonic() - begun_s < DRAIN_S + SLOW_S + 5
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{ending.url}/livez", trust_env=False)
    refused = ending.call("ServerLive", b"", timeout=2)
    assert isinstance(refused, grpc.RpcError)
    assert "Traceback" not in ending.log.read_text()
    assert len(ending.lines()) >= 4
