"""An API server of Kubeflow Pipelines for tests, over real HTTP: what it takes and gives goes through the models of kfp's own client.

The tasks of a run are as a server of the version 2.16 showed those of a run that somebody recorded: no pod, no error, one time of creation
for all, and as children the nodes of Argo that come next (zhangzhe-ctrl/ani-modeldev-service, testdata/cpu-p01-run-2.16.json).
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import kfp_server_api as kfp
from kfp_server_api import PipelineTaskDetailChildTask as Child
from kfp_server_api import V2beta1PipelineTaskDetail as Task
from kfp_server_api import V2beta1Run, V2beta1RunDetails, V2beta1RuntimeStatus

from tests.http_server import answering

RUNS = "/apis/v2beta1/runs"
EXPERIMENTS = "/apis/v2beta1/experiments"
_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class KubeflowServer:
    """What the server holds. Its part of Argo, which moves runs on, is done by the test: `set_state`, `add_task`, `say`."""

    runs: dict[str, V2beta1Run] = field(default_factory=dict)
    experiments: dict[str, kfp.V2beta1Experiment] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    changes: list[str] = field(default_factory=list)
    num_logs_read: int = 0
    refuses: tuple[int, str] | None = None
    """Status and message of every answer, if set."""
    num_lost: int = 0
    """Answers with 503 that come first."""
    ends_terminated: bool = False
    """Whether Argo has ended a run as soon as it is terminated."""

    def add_run(self) -> str:
        """Add a run that somebody submitted, and give its id."""
        return self._keep(V2beta1Run(display_name="nightly"))

    def set_state(self, run_id: str, state: str) -> None:
        run = self.runs[run_id]
        run.state = state
        run.state_history = [*(run.state_history or []), V2beta1RuntimeStatus(update_time=_START, state=state)]

    def add_task(self, run_id: str, name: str, state: str | None) -> str:
        """Add a task with what runs before and below it, and give the name of its pod; without a state it was left out."""
        details = self.runs[run_id].run_details
        at = _START + timedelta(seconds=len(details.task_details))
        workflow = f"nightly-{run_id[:5]}"
        facts = {"run_id": run_id, "create_time": _START, "start_time": at}
        executor = _node(workflow, f"root.{name}.executor")
        tasks = {
            f"{name}-driver": ("SUCCEEDED", _node(workflow, f"root.{name}")),
            name: (state, executor),
            "executor": (state, _node(workflow, "root.next-driver")),
        }
        details.task_details += [
            Task(task_id=str(uuid.uuid4()), display_name=shown, state=stands, child_tasks=[Child(pod_name=below)], **facts)
            for shown, (stands, below) in tasks.items()
        ]
        pod = f"{workflow}-system-container-impl-{executor.rpartition('-')[2]}"
        self.logs[pod] = ""
        return pod

    def say(self, pod: str, text: str) -> None:
        self.logs[pod] += text

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Give the server's address while the block runs."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.kubeflow = self
        with answering(server) as url:
            yield url

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """What the server does with a request."""
        if self.num_lost:
            self.num_lost -= 1
            return 503, {"code": 14, "message": "later"}
        if self.refuses:
            return self.refuses[0], {"code": 3, "message": self.refuses[1]}
        if path == "/apis/v2beta1/healthz":
            return 200, kfp.V2beta1GetHealthzResponse(multi_user=False)
        if path == EXPERIMENTS:
            return 200, self._experiments(method, body)
        if path == RUNS and method == "POST":
            return 200, self._create(body)
        if "/nodes/" in path:
            self.num_logs_read += 1
            pod = path.split("/")[-2]
            return (200, self.logs[pod]) if pod in self.logs else (500, {"code": 13, "message": f"no pod {pod}"})
        run_id, _, verb = path.removeprefix(f"{RUNS}/").partition(":")
        if run_id not in self.runs:
            return 404, {"code": 5, "message": f"Run {run_id} not found"}
        if verb:
            self.changes.append(verb)
            self.set_state(run_id, {"terminate": "CANCELING", "retry": "RUNNING"}[verb])
            if verb == "terminate" and self.ends_terminated:
                self.set_state(run_id, "FAILED")
            return 200, {}
        return 200, self.runs[run_id]

    def _experiments(self, method: str, body: bytes) -> Any:
        if method == "GET":
            return kfp.V2beta1ListExperimentsResponse(experiments=list(self.experiments.values()))
        made = _read(body, "V2beta1Experiment")
        made.experiment_id = str(uuid.uuid4())
        self.experiments[made.experiment_id] = made
        return made

    def _create(self, body: bytes) -> V2beta1Run:
        run: V2beta1Run = _read(body, "V2beta1Run")
        assert run.experiment_id in self.experiments
        return self.runs[self._keep(run)]

    def _keep(self, run: V2beta1Run) -> str:
        run.run_id = str(uuid.uuid4())
        run.created_at = _START
        run.run_details = V2beta1RunDetails(task_details=[])
        self.runs[run.run_id] = run
        self.set_state(run.run_id, "PENDING")
        return run.run_id


class _Server(ThreadingHTTPServer):
    kubeflow: KubeflowServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.kubeflow.tokens.add(self.headers.get("Authorization"))
        status, value = self.server.kubeflow.answer(self.command, urlsplit(self.path).path, body)
        kind = "text/plain" if isinstance(value, str) else "application/json"
        text = value if isinstance(value, str) else json.dumps(kfp.ApiClient().sanitize_for_serialization(value))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET

    def log_message(self, *_args: Any) -> None:
        pass


def _node(workflow: str, name: str) -> str:
    """The id of a node, as Argo makes it of its name (FNV-1a, 32 bits)."""
    number = 2_166_136_261
    for byte in f"{workflow}.{name}".encode():
        number = (number ^ byte) * 16_777_619 % 2**32
    return f"{workflow}-{number}"


def _read(body: bytes, model: str) -> Any:
    return kfp.ApiClient().deserialize(SimpleNamespace(data=body), model)
