"""Dashboard and alerts name only what the gateway and the watcher really tell; tests/triton/test_dashboards.py asks Triton."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from reelspace.gateway.keys import new_key
from reelspace.serving import refusals
from reelspace.serving.watch.liveness import Outcome
from reelspace.serving.watch.tally import Tally
from reelspace.serving.wire import WireError

from .double import Double
from .expressions import ROOT, Expression, alerts, expressions, strange, told
from .served import X, serving

OURS = ("reelspace_", "nv_")


def watchers() -> str:
    tally = Tally(["m"])
    tally.looked("m", Outcome.ANSWERED)
    tally.lives("m", True)
    return tally.text()


def test_every_metric_and_label_is_one_that_the_gateway_or_the_watcher_tells(double: Double, tmp_path: Path) -> None:
    secret, key = new_key("reader", ["read"], ["*"])
    with serving(tmp_path, double.address, {"doubling": 2}, [(secret, key.model_dump(mode="json"))]) as gateway:
        assert gateway.infer({"inputs": [X]}, api_key=secret).status_code == 200
        assert gateway.infer({"inputs": [X]}).status_code == 401
        found = told([gateway.http.get("/metrics").text, watchers()])
    assert strange(found, "reelspace_") == []
    named = {metric for one in expressions() for metric in one.metrics}
    assert [metric for metric in named if not metric.startswith(OURS)] == []
    assert {"reelspace_inference_seconds_bucket", "reelspace_model_up", "nv_inference_pending_request_count"} <= named


def test_a_metric_or_label_that_nobody_tells_would_be_found() -> None:
    one = Expression("x", 'sum by (model, shard) (rate(reelspace_absent{outcome="lost"}[5m])) / other > 1')
    assert one.metrics == {"reelspace_absent", "other"}
    assert one.labels == {"model", "shard", "outcome"}
    assert strange({}, "reelspace_")
    assert strange({name: set() for one in expressions() for name in one.metrics}, "reelspace_")


def test_outcomes_are_named_as_the_endpoint_counts_them() -> None:
    reasons = {kind.reason for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, WireError)}
    known = reasons | {"answered", "unavailable", "cancelled", "failed"}
    assert {value for one in expressions() for value in one.values_of("outcome")} <= known


@pytest.mark.parametrize("of", ["serving", "search"])
def test_every_alert_says_what_is_wrong_and_what_to_do_with_labels_that_it_has(of: str) -> None:
    for rule in alerts(of):
        texts = rule["annotations"]
        assert set(texts) == {"summary", "action"}
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(texts.values())))
        assert named <= Expression(rule["alert"], rule["expr"]).kept, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
    names = [rule["alert"] for rule in [*alerts("serving"), *alerts("search")]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("of", "guide"), [("serving", "inference"), ("search", "vector-search")])
def test_the_guide_says_of_every_alert_what_it_means(of: str, guide: str) -> None:
    text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text()
    assert [rule["alert"] for rule in alerts(of) if f"`{rule['alert']}`" not in text] == []


def test_the_committed_dashboard_is_the_generated_one() -> None:
    ended = subprocess.run([sys.executable, "dashboards/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
