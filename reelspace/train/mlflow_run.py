"""A training as a run of an MLflow tracking server, told through its REST API: MLflow's client would bring dozens of packages.

Source: MLflow REST API 2.0 (experiments/get-by-name and create; runs/create, get, search, update, log-batch), the same in MLflow 3.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from reelspace.core.errors import ServerUnavailable
from reelspace.train.sinks import Line

TOKEN_VARIABLE = "MLFLOW_TRACKING_TOKEN"
EXPERIMENT = "reelspace"
RECORD_FILE = "mlflow.json"
_TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
# Limits of one log-batch request.
_NUM_METRICS, _NUM_PARAMETERS = 1_000, 100
_MAX_PARAMETER = 500
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_TAG = "reelspace.training"


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a training is told of, and as what.

    `record` is the file that remembers its run for the next try. `is_resumed`: there was an earlier try, perhaps on another machine,
    whose file stayed there.
    """

    url: str
    name: str
    fingerprint: str
    settings: Mapping[str, Any]
    record: Path
    is_resumed: bool = False
    token: str | None = None


class MlflowRun:
    """A target for `Background`: a run of the experiment `reelspace` that a resumed training goes on with; a step is told once."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        headers = {} if tracking.token is None else {"Authorization": f"Bearer {tracking.token}"}
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False, headers=headers)
        self._run_id: str | None = None
        self._has_asked_for_run = False
        self._last_step = 0

    def send(self, lines: Sequence[Line]) -> None:
        """Log lines of later steps than any the server has.

        Raises:
            ServerUnavailable: the server did not answer, or answered with an error.
        """
        run_id = self._run_id or self._opened(lines[0].at_s)
        later = [line for line in lines if line.step > self._last_step]
        # A repeated request changes nothing: the server keeps one of equal (key, time, step, value).
        for metrics in _chunks([metric for line in later for metric in _metrics(line)], _NUM_METRICS):
            self._post("runs/log-batch", {"run_id": run_id, "metrics": metrics})
        self._last_step = max((line.step for line in later), default=self._last_step)

    def finish(self, *, is_done: bool) -> None:
        """Mark the run as finished, or as ended before its last step."""
        if self._run_id is not None:
            self._post("runs/update", {"run_id": self._run_id, "status": "FINISHED" if is_done else "KILLED"})

    def _opened(self, at_s: float) -> str:
        """Go on with the run of an earlier try, or begin one."""
        run = self._remembered()
        if run is None and self._has_asked_for_run:
            # A slow server may have made the run after we stopped waiting for its answer.
            run = self._found(f"attributes.start_time = {int(at_s * 1000)}")
        elif run is None and self._tracking.is_resumed:
            run = self._found("attributes.status != 'FINISHED'")
        if run is None:
            run_id = self._begun(at_s)
        else:
            run_id = _text(run, "info", "run_id")
            told = run.get("data", {}).get("metrics", [])
            self._last_step = max((int(metric.get("step", 0)) for metric in told), default=0)
            self._post("runs/update", {"run_id": run_id, "status": "RUNNING"})
        if self._has_asked_for_run:
            for parameters in _chunks(list(_parameters(self._tracking.settings)), _NUM_PARAMETERS):
                self._post("runs/log-batch", {"run_id": run_id, "params": parameters})
        self._remember(run_id)
        self._run_id = run_id
        return run_id

    def _begun(self, at_s: float) -> str:
        experiment = self._experiment()
        tags = [{"key": "mlflow.source.name", "value": "reelspace.train"}, {"key": _TAG, "value": self._tracking.fingerprint}]
        start = {"run_name": self._tracking.name, "start_time": int(at_s * 1000), "tags": tags}
        self._has_asked_for_run = True
        return _text(self._post("runs/create", {"experiment_id": experiment, **start}), "run", "info", "run_id")

    def _remembered(self) -> dict[str, Any] | None:
        record = self._tracking.record
        facts = json.loads(record.read_bytes()) if record.is_file() else {}
        if facts.get("url") != self._tracking.url:
            return None
        found = self._get("runs/get", {"run_id": facts["run_id"]})
        if found is None or _text(found, "run", "info", "lifecycle_stage") == "deleted":
            return None
        return dict(found["run"])

    def _found(self, condition: str) -> dict[str, Any] | None:
        """Ask for the newest run of this training that meets a condition."""
        wanted = f"tags.`{_TAG}` = '{self._tracking.fingerprint}' and {condition}"
        asked = {"experiment_ids": [self._experiment()], "filter": wanted, "order_by": ["attributes.start_time DESC"], "max_results": 1}
        return next(iter(self._post("runs/search", asked).get("runs", [])), None)

    def _remember(self, run_id: str) -> None:
        record = self._tracking.record
        partial = record.with_name(record.name + ".partial")
        partial.write_text(json.dumps({"url": self._tracking.url, "run_id": run_id}))
        partial.replace(record)

    def _experiment(self) -> str:
        found = self._get("experiments/get-by-name", {"experiment_name": EXPERIMENT})
        if found is not None:
            return _text(found, "experiment", "experiment_id")
        return _text(self._post("experiments/create", {"name": EXPERIMENT}), "experiment_id")

    def _post(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        status, answer = self._ask("POST", method, json=body)
        return self._checked(method, status, answer)

    def _get(self, method: str, fields: Mapping[str, str]) -> dict[str, Any] | None:
        """Give what there is, None where there is nothing of that name."""
        status, answer = self._ask("GET", method, fields=fields)
        if status == 404 and _object(answer).get("error_code") == _MISSING:
            return None
        return self._checked(method, status, answer)

    def _ask(self, verb: str, method: str, **content: Any) -> tuple[int, bytes]:
        try:
            response = self._http.request(verb, f"{self._tracking.url.rstrip('/')}/api/2.0/mlflow/{method}", **content)
        except urllib3.exceptions.HTTPError as error:
            raise ServerUnavailable(f"MLflow at {self._tracking.url} did not answer {method}: {error}") from error
        return response.status, response.data

    def _checked(self, method: str, status: int, answer: bytes) -> dict[str, Any]:
        if status != 200:
            said = " ".join(answer[:200].decode(errors="replace").split())
            raise ServerUnavailable(f"MLflow at {self._tracking.url} answered {status} to {method}: {said}")
        return _object(answer)


def _object(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise ServerUnavailable(f"MLflow: expected a JSON object, got {answer[:60]!r}: is this a tracking server?") from error
    return found if isinstance(found, dict) else {}


def _text(answer: Any, *path: str) -> str:
    for key in path:
        if not isinstance(answer, dict) or key not in answer:
            raise ServerUnavailable(f"MLflow: expected {'.'.join(path)} in the answer, there is none: is this a tracking server?")
        answer = answer[key]
    return str(answer)


def _metrics(line: Line) -> Iterator[dict[str, Any]]:
    # JSON has no NaN: such a figure is left out here, train_log.jsonl has null.
    for name, value in line.figures.items():
        if math.isfinite(value):
            yield {"key": name, "value": value, "timestamp": int(line.at_s * 1000), "step": line.step}


def _parameters(settings: Mapping[str, Any], prefix: str = "") -> Iterator[dict[str, str]]:
    """Give every setting under its dotted path."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _parameters(value, f"{prefix}{name}.")
        else:
            yield {"key": prefix + name, "value": json.dumps(value)[:_MAX_PARAMETER]}


def _chunks(items: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
