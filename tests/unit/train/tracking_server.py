"""A tracking server for tests: the part of MLflow's REST API that a training uses, over real HTTP, well, failing or silent."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlparse

API = "/api/2.0/mlflow/"
MISSING = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"}


class TrackingServer(ThreadingHTTPServer):
    """What it was told; `mood` says how it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mood: Literal["well", "failing", "silent"] = "well"
        self.loses_answer = False
        """Whether the next run is made and its answer lost on the way."""
        self.experiments: list[str] = []
        self.runs: list[dict[str, Any]] = []
        self.num_requests = 0
        self.tokens: set[str | None] = set()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def metrics(self, run: int = 0, key: str = "loss") -> list[tuple[int, float]]:
        return [(metric["step"], metric["value"]) for metric in self.runs[run]["metrics"] if metric["key"] == key]

    def answer(self, method: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if method == "experiments/get-by-name":
            known = asked["experiment_name"] in self.experiments
            return (200, {"experiment": {"experiment_id": "7"}}) if known else (404, MISSING)
        if method == "experiments/create":
            self.experiments.append(asked["name"])
            return 200, {"experiment_id": "7"}
        if method == "runs/create":
            assert asked["experiment_id"] == "7"
            tags = {tag["key"]: tag["value"] for tag in asked["tags"]}
            facts = {"name": asked["run_name"], "start_time": asked["start_time"], "tags": tags}
            self.runs.append({**facts, "status": "RUNNING", "metrics": [], "params": {}})
            if self.loses_answer:
                self.loses_answer = False
                return 503, {"message": "made, and then not told"}
            return 200, {"run": self._shown(len(self.runs) - 1)}
        if method == "runs/search":
            return 200, {"runs": [self._shown(number) for number in self._searched(asked["filter"])][:1]}
        number = int(asked["run_id"].removeprefix("run-"))
        if number >= len(self.runs):
            return 404, MISSING
        run = self.runs[number]
        if method == "runs/log-batch":
            run["metrics"] += [metric for metric in asked.get("metrics", []) if metric not in run["metrics"]]
            run["params"] |= {entry["key"]: entry["value"] for entry in asked.get("params", [])}
        elif method == "runs/update":
            run["status"] = asked["status"]
        return 200, {"run": self._shown(number)}

    def _searched(self, wanted: str) -> list[int]:
        """The newest first, as the filter that reelspace sends asks for."""
        found = re.fullmatch(r"tags\.`reelspace\.training` = '(\w+)' and attributes\.(status != 'FINISHED'|start_time = (\d+))", wanted)
        assert found, wanted
        runs = [number for number, run in enumerate(self.runs) if run["tags"]["reelspace.training"] == found[1]]
        if found[3]:
            return [number for number in runs if self.runs[number]["start_time"] == int(found[3])]
        return [number for number in reversed(runs) if self.runs[number]["status"] != "FINISHED"]

    def _shown(self, number: int) -> dict[str, Any]:
        last = {metric["key"]: metric for metric in self.runs[number]["metrics"]}
        return {"info": {"run_id": f"run-{number}", "lifecycle_stage": "active"}, "data": {"metrics": list(last.values())}}


class _Handler(BaseHTTPRequestHandler):
    server: TrackingServer

    def do_GET(self) -> None:
        self._answer({name: values[0] for name, values in parse_qs(urlparse(self.path).query).items()})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, asked: dict[str, Any]) -> None:
        self.server.num_requests += 1
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.server.mood == "silent":
            self.server.released.wait()
        if self.server.mood == "well":
            status, answer = self.server.answer(urlparse(self.path).path.removeprefix(API), asked)
        else:
            status, answer = 503, {"message": "try later"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def tracking_server() -> Iterator[TrackingServer]:
    """Run one while the block runs."""
    with TrackingServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
