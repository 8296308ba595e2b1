"""Triton at its end: what it has is answered, though models and connections are about to go."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from reelspace.serving.triton import TritonProcess

from .doubling import BACKENDS, until, write_doubling

NUM_WAITING = 15


def test_requests_that_triton_has_at_its_end_are_answered(tmp_path: Path) -> None:
    """The model is held by one request until all others, 0.1 s each in batches of 8 at most, wait for it; then the end comes."""
    repository = write_doubling(tmp_path / "r")
    held = repository / "doubling" / "1" / "held"
    with TritonProcess.start([repository], ["doubling"], backends=BACKENDS, log_path=tmp_path / "log") as triton:

        def num_waiting() -> int:
            text = asker.get(f"http://127.0.0.1:{triton.metrics_port}/metrics").text
            found = re.search(r'nv_inference_pending_request_count\{model="doubling",version="1"\} (\d+)', text)
            return int(found[1]) if found else 0

        def ask(value: float) -> int:
            message = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [value, 1.0]}]}
            address = f"{triton.http_url}/v2/models/doubling/infer"
            return asker.post(address, json=message, timeout=60, headers={"Connection": "close"}).status_code

        with httpx.Client(trust_env=False) as asker, ThreadPoolExecutor(NUM_WAITING + 1) as threads:
            asked = [threads.submit(ask, 999.0)]
            assert until(held.exists, 30)
            asked += [threads.submit(ask, 888.0) for _ in range(NUM_WAITING)]
            try:
                assert until(lambda: num_waiting() == NUM_WAITING, 30)
            finally:
                held.unlink()
            triton.stop()
            assert [one.result() for one in asked] == [200] * (NUM_WAITING + 1)
