"""A Kubernetes API server for tests, over real HTTP: TrainJobs and pods with versions, watches, logs and the ways in which it fails."""

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.http_server import answering

Object = dict[str, Any]

NAMESPACE = "team"
JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


@dataclass
class Fault:
    """How the next requests that it fits end: with a status, or without any answer (0); `drop` ends watches and logs in the midst."""

    method: str
    part: str
    status: int = 503
    times: int = 1
    happens_first: bool = False
    """Whether the server does what it is asked, and its answer is lost."""


@dataclass
class FakeCluster:
    """What the server holds. `on_change` is called with every TrainJob that was made or changed from outside: the controllers' part."""

    jobs: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    on_change: Callable[[str], None] = lambda _name: None
    num_watch_events: int | None = None
    """Events after which a watch is dropped; None: never."""
    forgets: bool = False
    """Whether a watch is told that its version is too old, once."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    _version: int = 100
    _events: list[tuple[int, str, Object]] = field(default_factory=list)
    is_closed: bool = False

    def put(self, name: str, job: Object, kind: str = "MODIFIED") -> None:
        with self.changed:
            self._version += 1
            job["metadata"]["resourceVersion"] = str(self._version)
            self.jobs[name] = job
            self._events.append((self._version, kind, copy.deepcopy(job)))
            self.changed.notify_all()

    def set_condition(self, name: str, kind: str, reason: str = "Because", message: str = "words", status: str = "True") -> None:
        job = copy.deepcopy(self.jobs[name])
        conditions = [one for one in job.setdefault("status", {}).get("conditions", []) if one["type"] != kind]
        job["status"]["conditions"] = [*conditions, {"type": kind, "status": status, "reason": reason, "message": message}]
        self.put(name, job)

    def add_pod(self, job: str, uid: str, phase: str = "Running") -> None:
        labels = {
            "jobset.sigs.k8s.io/jobset-name": job,
            "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "batch.kubernetes.io/job-completion-index": "0",
        }
        facts = {"name": f"{job}-node-0-0-{uid}", "uid": uid, "namespace": NAMESPACE, "labels": labels}
        with self.changed:
            stamp = f"2026-01-01T00:00:{len(self.pods):02d}Z"
            self.pods[uid] = {"metadata": {**facts, "creationTimestamp": stamp}, "status": {"phase": phase}}
            self.logs.setdefault(facts["name"], [])
            self.changed.notify_all()

    def say(self, job: str, uid: str, *lines: str) -> None:
        with self.changed:
            log = self.logs[f"{job}-node-0-0-{uid}"]
            log.extend(f"2026-01-01T00:00:{len(log) + number:02d}.5Z {line}" for number, line in enumerate(lines))
            self.changed.notify_all()

    def end_pod(self, uid: str, phase: str) -> None:
        with self.changed:
            self.pods[uid]["status"]["phase"] = phase
            self.changed.notify_all()

    def remove_pods(self) -> None:
        with self.changed:
            self.pods.clear()
            self.changed.notify_all()

    def remove(self, name: str) -> None:
        with self.changed:
            job = self.jobs.pop(name)
            self._version += 1
            self._events.append((self._version, "DELETED", job))
            self.changed.notify_all()

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and fault.part in path:
                fault.times -= 1
                return fault
        return None

    def answer(self, method: str, path: str, query: dict[str, str], body: Object | None) -> tuple[int, Object]:
        """What a server does with a request that is no stream."""
        if path == PODS:
            return 200, {"items": _selected(self.pods.values(), query.get("labelSelector", ""))}
        if path == JOBS and method == "GET":
            items = _selected(self.jobs.values(), query.get("labelSelector", ""))
            return 200, {"metadata": {"resourceVersion": str(self._version)}, "items": items}
        if path == JOBS and method == "POST":
            assert body is not None
            name = body["metadata"]["name"]
            if name in self.jobs:
                return 409, _status(409, f'trainjobs "{name}" already exists', "AlreadyExists")
            self.put(name, copy.deepcopy(body), "ADDED")
            self.on_change(name)
            return 201, self.jobs.get(name, body)
        name = path.removeprefix(f"{JOBS}/")
        if name not in self.jobs:
            return 404, _status(404, f'trainjobs "{name}" not found', "NotFound")
        if method == "PATCH":
            self.put(name, _merged(self.jobs[name], body or {}))
            self.on_change(name)
        elif method == "DELETE":
            assert body
            assert body["propagationPolicy"] == "Foreground"
            answer = self.jobs[name]
            self.remove(name)
            return 200, answer
        return 200, self.jobs[name]

    def events_after(self, version: int, selector: str) -> list[tuple[int, str, Object]]:
        name = selector.removeprefix("metadata.name=")
        return [event for event in self._events if event[0] > version and event[2]["metadata"]["name"] == name]

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Give the server's address while the block runs."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.cluster = self
        with answering(server) as url:
            try:
                yield url
            finally:
                with self.changed:
                    self.is_closed = True
                    self.changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    cluster: FakeCluster


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        cluster, parts = self.server.cluster, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        cluster.requests.append((self.command, self.path))
        cluster.tokens.add(self.headers.get("Authorization"))
        fault = cluster.fault(self.command, self.path)
        if fault and fault.happens_first:
            cluster.answer(self.command, parts.path, query, body)
        if fault and fault.status == 0:
            self.close_connection = True
        elif fault:
            self._send(fault.status, _status(fault.status, "told to fail", "Failure"))
        elif query.get("watch"):
            self._watch(query)
        elif parts.path.endswith("/log"):
            self._log(parts.path.split("/")[-2], query)
        else:
            self._send(*cluster.answer(self.command, parts.path, query, body))

    do_GET = do_POST = do_PATCH = do_DELETE = _handle

    def _watch(self, query: dict[str, str]) -> None:
        cluster, version = self.server.cluster, int(query["resourceVersion"])
        self._begin()
        if cluster.forgets:
            cluster.forgets = False
            self._chunk({"type": "ERROR", "object": _status(410, "too old resource version", "Expired")})
            return self._end()
        self._chunk({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}})
        num_sent = 0
        while not cluster.is_closed:
            with cluster.changed:
                events = cluster.events_after(version, query.get("fieldSelector", ""))
                if not events:
                    cluster.changed.wait(0.2)
                    continue
            for number, kind, value in events:
                version = number
                if num_sent == cluster.num_watch_events:
                    # In the midst of an event.
                    self.wfile.write(b"40\r\n" + b'{"type": "MODIFIED", "obj')
                    self.close_connection = True
                    return None
                self._chunk({"type": kind, "object": value})
                num_sent += 1
        return self._end()

    def _log(self, pod: str, query: dict[str, str]) -> None:
        cluster = self.server.cluster
        if pod not in cluster.logs:
            return self._send(404, _status(404, f'pods "{pod}" not found', "NotFound"))
        uid = pod.rpartition("-")[2]
        if cluster.pods.get(uid, {}).get("status", {}).get("phase") == "Pending":
            return self._send(400, _status(400, "container is waiting to start", "BadRequest"))
        self._begin()
        since, num_sent = query.get("sinceTime", ""), 0
        while True:
            with cluster.changed:
                lines = [line for line in cluster.logs[pod] if line.partition(" ")[0] >= since.removesuffix("Z")][num_sent:]
                is_over = cluster.pods.get(uid, {}).get("status", {}).get("phase") != "Running" or query.get("follow") != "true"
                if not lines and not is_over and not cluster.is_closed:
                    cluster.changed.wait(0.2)
                    continue
            for line in lines:
                self._write(line.encode() + b"\n")
                num_sent += 1
                if "drop here" in line and not since:
                    self.close_connection = True
                    return None
            if not lines:
                return self._end()

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, value: Object) -> None:
        self._write(json.dumps(value).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, value: Object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle(self) -> None:
        # A client may go in the midst of a stream.
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def until(condition: Callable[[], object], limit_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def _selected(objects: Any, selector: str) -> list[Object]:
    wanted = dict(part.split("=") for part in selector.split(",") if part)
    return [one for one in objects if wanted.items() <= one["metadata"].get("labels", {}).items()]


def _merged(old: Any, new: Any) -> Any:
    """RFC 7386."""
    if not isinstance(new, dict) or not isinstance(old, dict):
        return new
    found = {name: value for name, value in old.items() if name not in new}
    return found | {name: _merged(old.get(name, {}), value) for name, value in new.items() if value is not None}


def _status(code: int, message: str, reason: str) -> Object:
    assert re.fullmatch(r"[A-Za-z]+", reason)
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": reason}
