"""A Kubernetes API server for tests, over real HTTP: one workflow, its pods, and logs that break off."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.http_server import answering

Object = dict[str, Any]

NAMESPACE = "team"
WORKFLOW = "train-and-publish-0"
_WORKFLOWS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows/"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


@dataclass
class WorkflowServer:
    """What the server holds; a log is told up to where it was written when it was asked for, a watch to its first event, and ends there."""

    workflow: Object | None = None
    pods: dict[str, Object] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    refuses: bool = False

    def run(self, phase: str, *nodes: Object, **spec: object) -> None:
        """Set the workflow as it stands."""
        status = {"phase": phase, "nodes": {node["id"]: node for node in nodes}}
        self.workflow = {"metadata": {"name": self.name, "resourceVersion": "1"}, "spec": spec, "status": status}

    @property
    def name(self) -> str:
        """The name of the workflow, also of one that is not there."""
        return str(self.workflow["metadata"]["name"]) if self.workflow else WORKFLOW

    def add_pod(self, node: Object, phase: str, *lines: str) -> None:
        """Add the pod of a node, or change it; lines are added to its log."""
        name = f"pod-of-{node['id']}"
        facts = {"name": name, "creationTimestamp": node["startedAt"], "annotations": {"workflows.argoproj.io/node-id": node["id"]}}
        log = self.logs.setdefault(name, [])
        log.extend(f"2026-01-01T00:00:{len(log) + number:02d}.5Z {line}" for number, line in enumerate(lines))
        self.pods[name] = {"metadata": facts, "status": {"phase": phase}}

    def answer(self, path: str, query: dict[str, str], change: Object | None) -> tuple[int, str]:
        """Give the status and the text of an answer."""
        if self.refuses:
            return 403, json.dumps({"message": "not for you"})
        if f"{path}/" == _WORKFLOWS and query.get("watch"):
            return 200, json.dumps({"type": "MODIFIED", "object": self.workflow})
        if f"{path}/" == _WORKFLOWS and change is not None:
            self.workflow = change
            return 201, json.dumps(change)
        if path == f"{_WORKFLOWS}{self.name}" and self.workflow is not None:
            self.workflow["spec"] |= (change or {}).get("spec", {})
            return 200, json.dumps(self.workflow)
        if path == _PODS and query["labelSelector"] == f"workflows.argoproj.io/workflow={self.name}":
            return 200, json.dumps({"items": list(self.pods.values())})
        name, _, part = path.removeprefix(f"{_PODS}/").partition("/")
        if name in self.pods:
            return 200, self._log(name, query) if part == "log" else json.dumps(self.pods[name])
        return 404, json.dumps({"message": "not found"})

    def _log(self, name: str, query: dict[str, str]) -> str:
        # From the second asked for on, as the kubelet does: lines of that second come again.
        rows = [row for row in self.logs[name] if row[:19] >= query.get("sinceTime", "")[:19]]
        rows = rows[-int(query.get("tailLines", len(rows))) :] if rows else []
        return "".join(f"{row if query.get('timestamps') else row.partition(' ')[2]}\n" for row in rows)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Give the server's address while the block runs."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.held = self
        with answering(server) as url:
            yield url


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    held: WorkflowServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts, length = urlsplit(self.path), int(self.headers.get("Content-Length") or 0)
        change = json.loads(self.rfile.read(length)) if length else None
        status, text = self.server.held.answer(parts.path, {name: one[0] for name, one in parse_qs(parts.query).items()}, change)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def node(step: str, phase: str, number: int = 0, **more: object) -> Object:
    """A node of a workflow: the pod of a step's try."""
    name = step.replace("_", "-")
    started = time.strftime("2026-01-01T00:00:%SZ", time.gmtime(number))
    return {
        "id": f"{name}-{number}",
        "type": "Pod",
        "templateName": name,
        "displayName": f"{name}({number})",
        "phase": phase,
        "startedAt": started,
        **more,
    }
