"""What the guide of inference shows runs, and it names what is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reelspace.gateway.metrics import Metrics
from reelspace.serving import refusals
from reelspace.serving.endpoint import Endpoint
from reelspace.serving.grpc_routes import OPERATORS_METHODS, SERVICE, v2_methods
from reelspace.serving.upstream import Upstream
from reelspace.serving.wire import WireError

from ..serving.double import running_double
from ..serving.served import Served, serving

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "inference.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
# What the stand-in answers for a text: its length in bytes, and 1.
VECTORS = [[10, 1], [12, 1]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_double() as double, serving(tmp_path_factory.mktemp("guide"), double.address, {"text_encoder": 3}) as gateway:
        yield gateway


@pytest.mark.parametrize("code", EXAMPLES, ids=["own client", "httpx", "tritonclient"])
def test_every_example_gives_the_vectors_of_its_texts(served: Served, code: str) -> None:
    names: dict[str, object] = {}
    code = code.replace("http://127.0.0.1:8000", served.url).replace("127.0.0.1:8001", served.grpc_address)
    exec(compile(code, "inference.md", "exec"), names)  # noqa: S102 - it is our own guide
    vectors = names.get("vectors_QD", names.get("vectors"))
    np.testing.assert_array_equal(np.array(vectors).reshape(2, 2), VECTORS)
    assert names.get("space_id", "space-1") == "space-1"


def test_methods_outcomes_and_metrics_are_named_as_they_are() -> None:
    methods = {path.removeprefix(SERVICE) for path in v2_methods(Endpoint(Upstream("http://127.0.0.1:9", 1.0), {}))}
    assert methods - set(OPERATORS_METHODS) == set(re.findall(r"`((?:Server|Model)\w+)`", GUIDE))
    reasons = {kind.reason for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, WireError)}
    row = next(line for line in GUIDE.splitlines() if "reelspace_inferences_total" in line)
    assert {reason for reason in reasons if reason not in row} == {"not_allowed"}
    named = set(re.findall(r"`(reelspace_inference\w+)\{", GUIDE))
    told = set(re.findall(r"^# TYPE (reelspace_inference\w+)", Metrics().text().decode(), re.MULTILINE))
    assert {name for name in told if not name.endswith("_created")} == named
