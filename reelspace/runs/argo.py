"""A run as a Workflow of Argo: how it stands, what its pods say, its end. Over the API of Kubernetes alone."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from reelspace.core.errors import ArtifactMissing, ReelspaceError
from reelspace.core.store import open_source
from reelspace.runs.argo_logs import PodLogs
from reelspace.runs.progress import last_progress
from reelspace.runs.record import RunRecord, State
from reelspace.runs.remote import LiveState, LiveStep
from reelspace.train.cluster.api import ApiPlace, KubernetesApi, Object
from reelspace.train.cluster.settings import ApiSettings

API_VERSION: Final = "argoproj.io/v1alpha1"
PATIENCE_S: Final = 60.0
_ASKED_PATIENCE_S: Final = 10.0
"""Of somebody who asks how a run stands, and can ask again."""
_NODE_ID = "workflows.argoproj.io/node-id"
_TAIL_LINES = 50
_PAUSE_S = 1.0
_STATES: Mapping[str, State] = {"Succeeded": "done", "Failed": "failed", "Error": "failed"}
_LIVE: Mapping[str, LiveState] = {
    "Running": "running",
    "Succeeded": "done",
    "Failed": "failed",
    "Error": "failed",
}


def connect(remote: Mapping[str, str], patience_s: float = PATIENCE_S) -> KubernetesApi:
    """Open the API that a run's `remote` names: `namespace`, and `url`, `token_file`, `ca_file`; without `url` that of our own pod.

    Args:
        patience_s: how long the API may be away.

    Raises:
        PlaceRefused: no URL, and this process runs in no pod with a service account.
    """
    token_file, ca_file = (Path(remote[name]) if remote.get(name) else None for name in ("token_file", "ca_file"))
    api = ApiSettings(url=remote["url"], token_file=token_file, ca_file=ca_file) if remote.get("url") else None
    return KubernetesApi(ApiPlace.at(api, remote["namespace"], os.environ), patience_s)


def workflow_path(namespace: str, name: str = "") -> str:
    """Give the path of the workflows of a namespace, or of one of them, in the API."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/workflows{f'/{name}' if name else ''}"


class ArgoRuns:
    """Runs that are Workflows (see RemotePlace); `remote` holds `workflow`, what `connect` reads, and `logs`, the bucket of kept logs."""

    def state(self, record: RunRecord) -> State:
        """Tell how the workflow stands."""
        with connect(record.remote, _ASKED_PATIENCE_S) as api:
            return _state(_workflow(api, record))

    def step_states(self, record: RunRecord) -> dict[str, LiveStep]:
        """Tell how the steps stand that have a pod, or had one; one that runs with its progress."""
        with connect(record.remote, _ASKED_PATIENCE_S) as api:
            nodes, logs = _nodes(_workflow(api, record)), PodLogs(api, record.remote["workflow"])
            names = {pod["metadata"]["annotations"][_NODE_ID]: str(pod["metadata"]["name"]) for pod in logs.pods()}
            found = {}
            for step in record.steps:
                ours = [node for node in nodes if _step(node) == step]
                if tries := [node for node in ours if node["type"] == "Pod"]:
                    pod = names.get(tries[-1]["id"])
                    said = _said(logs.tail(pod, _TAIL_LINES), tries[-1]["phase"]) if pod else ""
                    goes_on = any(node["type"] == "Retry" and node["phase"] in ("Pending", "Running") for node in ours)
                    found[step] = _live(tries, said, goes_on=goes_on)
            return found

    def log(self, record: RunRecord, *, follow: bool) -> Iterator[str]:
        """Give the lines of its steps; of pods that are gone, those that Argo kept in a bucket that our keys open."""
        with connect(record.remote) as api:
            logs = PodLogs(api, record.remote["workflow"])
            if follow:
                yield from logs.followed(_state(workflow) != "running" for workflow in _changes(api, record))
                return
            names = {pod["metadata"]["annotations"][_NODE_ID]: str(pod["metadata"]["name"]) for pod in logs.pods()}
            for node in _nodes(_workflow(api, record)):
                if node["type"] == "Pod":
                    name = names.get(node["id"])
                    yield from logs.written(name) if name else _kept(node, record.remote.get("logs", ""))

    def cancel(self, record: RunRecord) -> None:
        """Let Argo end the pods, and start none but an exit handler's."""
        with connect(record.remote) as api:
            name = record.remote["workflow"]
            if api.patch(workflow_path(api.place.namespace, name), {"spec": {"shutdown": "Stop"}}) is None:
                raise ArtifactMissing(f"no workflow {name} in namespace {api.place.namespace}: it was deleted")

    def retry(self, record: RunRecord) -> RunRecord | None:
        """Give None: a new workflow with the same arguments does what a retry of Argo's would, for steps know theirs by their keys."""
        return None


def _workflow(api: KubernetesApi, record: RunRecord) -> Object | None:
    return api.get(workflow_path(api.place.namespace, record.remote["workflow"]))


def _changes(api: KubernetesApi, record: RunRecord) -> Iterator[Object | None]:
    """Give a workflow as it is and whenever it changes, perhaps more than once; None when it was deleted."""
    path, name = workflow_path(api.place.namespace), record.remote["workflow"]
    while True:
        found = _workflow(api, record)
        yield found
        if found is None:
            return
        for event in api.watch(path, found["metadata"]["resourceVersion"], fieldSelector=f"metadata.name={name}"):
            if event["type"] in ("ADDED", "MODIFIED"):
                yield event["object"]
            elif event["type"] != "BOOKMARK":
                break
        time.sleep(_PAUSE_S)


def _state(workflow: Object | None) -> State:
    if workflow is None:
        return "lost"
    state = _STATES.get(workflow.get("status", {}).get("phase", ""), "running")
    return "cancelled" if state == "failed" and workflow["spec"].get("shutdown") else state


def _nodes(workflow: Object | None) -> list[Object]:
    """Give the nodes of a workflow, the one that started first at the head."""
    nodes = ((workflow or {}).get("status", {}).get("nodes") or {}).values()
    return sorted(nodes, key=lambda node: (str(node.get("startedAt")), str(node["id"])))


def _step(node: Object) -> str:
    # The converter gives a template the name of its task; kfp numbers a component that is called again.
    return re.sub(r"-\d+$", "", str(node.get("templateName", ""))).replace("-", "_")


def _live(tries: Sequence[Object], said: str, *, goes_on: bool) -> LiveStep:
    state: LiveState = _LIVE.get(tries[-1]["phase"], "waiting")
    message, exit_code = said or str(tries[-1].get("message") or ""), tries[-1].get("outputs", {}).get("exitCode")
    words = [f"try {len(tries)}"] if len(tries) > 1 else []
    if state == "failed" and goes_on:
        return LiveStep("waiting", "; ".join([*words, f"tried again after: {message}"]))
    shown = "; ".join([*words, *([message] if message and state != "done" else [])])
    return LiveStep(state, shown, int(exit_code) if exit_code else None)


def _said(lines: Sequence[str], phase: str) -> str:
    """Give what the end of a pod's log says: progress while it runs, its last line when it failed."""
    if phase == "Running":
        return last_progress(lines)
    # The pod's own program has the last word, after it what Argo's says of it.
    own = [line for line in lines if line.strip() and " argo=true" not in line and not line.startswith("Error: exit status ")]
    return own[-1].strip() if own and phase in ("Failed", "Error") else ""


def _kept(node: Object, bucket: str) -> Iterator[str]:
    """Give the log of a pod that is gone, or a line that says where it lies."""
    artifacts = node.get("outputs", {}).get("artifacts", ())
    key = next((one.get("s3", {}).get("key") for one in artifacts if one["name"] == "main-logs"), None)
    if key is None or not bucket:
        yield f"the pod of {node['displayName']} is gone, and its log with it: archive_logs of the place keeps logs\n"
        return
    try:
        text = open_source(bucket).get(key).decode(errors="replace")
    except ReelspaceError as error:
        yield f"the log of {node['displayName']} is kept at {bucket}/{key}, which cannot be read: {error}\n"
        return
    yield from text.splitlines(keepends=True)
