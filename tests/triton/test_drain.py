"""Triton at its end: what it has is answered, though models and connections are about to go."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from reelspace.serving.triton import TritonProcess

from .doubling import BACKENDS, until, write_doubling

SLOWER = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [888.0, 1.0]}]}
NUM_REQUESTS, MAX_BATCH = 16, 8


def test_requests_that_triton_has_at_its_end_are_answered(tmp_path: Path) -> None:
    """16 of 0.1 s each, in batches of 8 at most: the end comes when one batch is under way and the others wait."""
    with TritonProcess.start([write_doubling(tmp_path / "r")], ["doubling"], backends=BACKENDS, log_path=tmp_path / "log") as triton:
        metrics = f"http://127.0.0.1:{triton.metrics_port}/metrics"

        def num_waiting() -> int:
            found = re.search(r'nv_inference_pending_request_count\{model="doubling",version="1"\} (\d+)', asker.get(metrics).text)
            return int(found[1]) if found else 0

        with httpx.Client(trust_env=False) as asker, ThreadPoolExecutor(NUM_REQUESTS) as threads:
            address = f"{triton.http_url}/v2/models/doubling/infer"
            headers = {"Connection": "close"}
            asked = [threads.submit(asker.post, address, json=SLOWER, timeout=30, headers=headers) for _ in range(NUM_REQUESTS)]
            assert until(lambda: num_waiting() + sum(one.done() for one in asked) >= NUM_REQUESTS - MAX_BATCH, 5)
            assert not all(one.done() for one in asked)
            triton.stop()
            assert [one.result().status_code for one in asked] == [200] * NUM_REQUESTS
