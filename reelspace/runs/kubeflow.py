"""A run of Kubeflow Pipelines: how it stands, what its pods say, its end, another try. Over the API of Kubeflow Pipelines alone.

Source: runs as servers of the versions 2.16 and 2.17 show them. Of a task they say its name, its state, when it started, and the nodes of
Argo that come next below it; which pod it had and why it failed they do not say (kubeflow/pipelines#14007).
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from reelspace.core.errors import ArtifactMissing
from reelspace.runs.kubeflow_api import KubeflowApi, Object
from reelspace.runs.progress import last_progress
from reelspace.runs.record import RunRecord, State
from reelspace.runs.remote import LiveStep

PATIENCE_S: Final = 60.0
POLL_S: Final = 3.0
_TEMPLATE: Final = "system-container-impl"
_STATES: Mapping[str, State] = {"SUCCEEDED": "done", "SKIPPED": "done", "FAILED": "failed", "CANCELED": "cancelled"}
_LIVE: Mapping[str, Literal["waiting", "running", "done", "failed"]] = {
    "RUNNING": "running",
    "CANCELING": "running",
    "SUCCEEDED": "done",
    "SKIPPED": "done",
    "FAILED": "failed",
    "CANCELED": "failed",
}


class KubeflowRuns:
    """Runs of Kubeflow Pipelines (see RemotePlace).

    `remote` holds `run`, the id there, `url` of the API, and `token_file` and `ca_file` where they are needed.
    """

    def state(self, record: RunRecord) -> State:
        """Tell how the run stands."""
        with _connect(record) as api:
            return _state(_run(api, record))

    def step_states(self, record: RunRecord) -> dict[str, LiveStep]:
        """Tell how the steps stand that the run has come to; one that runs with its progress."""
        with _connect(record) as api:
            found = {}
            for step, task in _tasks(_run(api, record), record.steps).items():
                state = _LIVE.get(task["state"], "waiting")
                found[step] = LiveStep(state, _progress(api, record, task) if state == "running" else "")
            return found

    def log(self, record: RunRecord, *, follow: bool) -> Iterator[str]:
        """Give the lines of its steps, as far as the server has them.

        It reads them from the pods, and of pods that are gone only if it was set up to keep logs. It does not stream, so a run is followed
        by reading anew what its running steps have written.
        """
        with _connect(record) as api:
            told: dict[str, int] = {}
            finished: set[str] = set()
            while True:
                # Asked before the logs: what is written before the end is read after it.
                run = _run(api, record)
                is_over = not follow or _state(run) != "running"
                for task in _tasks(run, record.steps).values():
                    is_written = is_over or _LIVE.get(task["state"]) in ("done", "failed")
                    for pod in _pods(task):
                        if pod not in finished:
                            lines = _whole(api.pod_log(record.remote["run"], pod), is_written=is_written)
                            yield from lines[told.get(pod, 0) :]
                            told[pod] = len(lines)
                        if is_written:
                            finished.add(pod)
                if is_over:
                    return
                time.sleep(POLL_S)

    def cancel(self, record: RunRecord) -> None:
        """Let Kubeflow Pipelines end the run."""
        with _connect(record) as api:
            if _run(api, record) is None:
                raise ArtifactMissing(f"no run {record.remote['run']} at {record.remote['url']}: it was deleted")
            api.terminate(record.remote["run"])

    def retry(self, record: RunRecord) -> RunRecord | None:
        """Start what failed of the run again, under the same ids; None where the run is gone, or has nothing to start again."""
        with _connect(record) as api:
            if _state(_run(api, record)) not in ("failed", "cancelled"):
                return None
            api.retry(record.remote["run"])
        return record.again()


def _connect(record: RunRecord) -> KubeflowApi:
    return KubeflowApi(record.remote, PATIENCE_S)


def _run(api: KubeflowApi, record: RunRecord) -> Object | None:
    return api.run(record.remote["run"])


def _progress(api: KubeflowApi, record: RunRecord, task: Object) -> str:
    return last_progress([line for pod in _pods(task) for line in api.pod_log(record.remote["run"], pod).splitlines()])


def _state(run: Object | None) -> State:
    if run is None:
        return "lost"
    state = _STATES.get(run.get("state", ""), "running")
    # A run that was terminated ends as a failed one; before an earlier try it may have been terminated too.
    before = [one.get("state") for one in run.get("state_history") or () if one.get("state") != "FAILED"]
    return "cancelled" if state == "failed" and before[-1:] == ["CANCELING"] else state


def _tasks(run: Object | None, steps: Sequence[str]) -> dict[str, Object]:
    """Give the task of every step that the run has come to, the last one of several; one that is left out has no state."""
    found: dict[str, Object] = {}
    tasks = ((run or {}).get("run_details") or {}).get("task_details") or ()
    for task in sorted(tasks, key=lambda one: str(one.get("start_time", ""))):
        # kfp numbers a component that is called again.
        step = re.sub(r"-\d+$", "", str(task.get("display_name", ""))).replace("-", "_")
        if step in steps and task.get("state"):
            found[step] = task
    return {step: found[step] for step in steps if step in found}


def _pods(task: Object) -> list[str]:
    """Give the pods of a step: below its task lies the one that runs it, named by its node of Argo with the name of its template inside."""
    nodes = [str(child["pod_name"]) for child in task.get("child_tasks") or () if child.get("pod_name")]
    return [f"{workflow}-{_TEMPLATE}-{number}" for workflow, _, number in (node.rpartition("-") for node in nodes)]


def _whole(text: str, *, is_written: bool) -> list[str]:
    """Split a log into lines, each with its newline; of one that goes on without a last line that may not be whole yet."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        return [*lines[:-1], f"{lines[-1]}\n"] if is_written else lines[:-1]
    return lines
