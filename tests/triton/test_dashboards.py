"""What dashboard and alerts ask of Triton is told by a real one."""

import httpx

from ..serving.expressions import expressions, strange, told
from ..serving.served import X
from .behind import Behind


def test_every_metric_and_label_of_triton_is_one_that_it_tells(behind: Behind) -> None:
    assert behind.gateway.infer({"inputs": [X]}).status_code == 200
    found = told([httpx.get(f"http://127.0.0.1:{behind.triton.metrics_port}/metrics", trust_env=False).text])
    assert strange(found, "nv_") == []
    assert len({metric for one in expressions() for metric in one.metrics if metric.startswith("nv_")}) >= 6
