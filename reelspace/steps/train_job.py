"""A training as a Kubeflow TrainJob: what the steps pretrain and distill do where the platform gives them a cluster."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from reelspace.core.errors import InternalError, PlaceRefused, ServerUnavailable, TemporaryError, UserError
from reelspace.core.log import log
from reelspace.core.steps import StepRun
from reelspace.train.cluster.api import ApiPlace, KubernetesApi
from reelspace.train.cluster.manifest import Training, train_job
from reelspace.train.cluster.pod_log import PodLog
from reelspace.train.cluster.settings import ClusterSettings
from reelspace.train.cluster.stored_job import StoredJob
from reelspace.train.cluster.train_jobs import TrainJobs, condition
from reelspace.train.cluster.training_files import TrainingFiles
from reelspace.train.job import TrainJob, check_job
from reelspace.train.roster import Ending

_RUNTIME_REFUSED = "TrainingRuntimeNotSupported"


def run_train_job(run: StepRun, job: TrainJob, cluster: ClusterSettings, teacher_outputs: str | None = None) -> Mapping[str, object]:
    """Train in the pods of a TrainJob, show the first pod's log, and give the training's summary.

    The TrainJob's name follows from the step key and what is asked, so a step that was killed goes on with the one it made; checkpoints
    are in the store. How it ended is read from what the pods left there, not from their phases. A model that an earlier try left there is
    taken, also where the cluster is away; the TrainJob that made it goes.

    Args:
        teacher_outputs: id of the artifact that was fetched into the job's directory of that name.

    Raises:
        PlaceRefused: the cluster or what the platform says of it is wrong.
        UserError, TemporaryError, InternalError: as the training ended. SIGTERM suspends the TrainJob, whose pods save, and is a
            TemporaryError.
    """
    files = TrainingFiles(run.store, run.key)
    is_trained = files.has_outputs()
    if not is_trained:
        num_processes = cluster.num_processes or job.run_settings.num_processes
        _check(job, cluster.num_nodes * num_processes)
        place = ApiPlace.of(cluster, os.environ)
        training = Training(run.name, run.key, run.store, num_processes, _directories(job))
        wanted = train_job(training, cluster, place.namespace, os.environ)
        files.write_job(StoredJob.of(job, _artifacts(run, job, teacher_outputs)))
        files.forget_endings_from(cluster.num_nodes)
        with KubernetesApi(place, cluster.patience_s) as api:
            _train(TrainJobs(api), wanted, files, cluster)
    files.fetch_outputs(job.out)
    if is_trained:
        _remove_left(run.key, cluster)
    return dict(json.loads((job.out / "summary.json").read_text()))


def _remove_left(key: str, cluster: ClusterSettings) -> None:
    """Remove the TrainJob of a try that was killed before it could; that it stays is no reason to wait, nor to fail."""
    try:
        with KubernetesApi(ApiPlace.of(cluster, os.environ), patience_s=0.0) as api:
            TrainJobs(api).delete_all_of(key)
    except (PlaceRefused, ServerUnavailable) as error:
        log("train_job_left", key=key, reason=str(error))


def _artifacts(run: StepRun, job: TrainJob, teacher_outputs: str | None) -> dict[str, str]:
    """Give the id of what was fetched into each directory of a job."""
    replay = job.pretrain.replay if job.pretrain else None
    found = {
        **{name: artifact.id for name, artifact in run.inputs.items()},
        "teacher_outputs": teacher_outputs,
        "previous": job.pretrain.previous if job.pretrain else None,
        "start": replay.teacher if replay else None,
    }
    return {name: artifact_id for name, artifact_id in found.items() if artifact_id is not None}


def _check(job: TrainJob, num_processes: int) -> None:
    try:
        check_job(job, num_processes)
    except UserError as error:
        # With as many processes as the settings say it was checked before: it is the place that does not fit.
        raise PlaceRefused(f"{error} (num_nodes times num_processes of the cluster's settings)") from error


def _directories(job: TrainJob) -> list[str]:
    """Give the directories outside of the store that a training reads or writes."""
    settings = job.run_settings
    public = [] if job.pretrain is None else [job.pretrain.encoder, job.pretrain.warm_start.picture, job.pretrain.warm_start.text]
    return [directory for directory in (*public, settings.tensorboard) if directory is not None]


def _train(jobs: TrainJobs, wanted: Mapping[str, Any], files: TrainingFiles, cluster: ClusterSettings) -> None:
    name = wanted["metadata"]["name"]
    with _stopping(jobs, name, cluster.stop_grace_s):
        jobs.ensure(wanted)
        with PodLog(jobs, name, _tell).shown():
            last = _followed(jobs, name)
    ending = _ending(last, files, name)
    if ending.exit_code == 0:
        jobs.delete(name)
    ending.raise_error()


@contextmanager
def _stopping(jobs: TrainJobs, name: str, grace_s: float) -> Iterator[None]:
    """Stop the TrainJob when this step is told to stop."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as asked:
        has_saved = jobs.stop(name, grace_s)
        log("train_job_stopped", name=name, has_saved=has_saved)
        how = "its pods have saved" if has_saved else f"its pods were still saving after {grace_s:.0f} s"
        raise TemporaryError(f"stopped by a signal; the TrainJob {name} is stopped, {how}; run again to go on") from asked


def _followed(jobs: TrainJobs, name: str) -> Mapping[str, Any] | None:
    """Wait for the end of a TrainJob, telling every change of its state; gives it as it was last, None: it was deleted."""
    told: dict[str, object] = {}
    for found in jobs.changes(name):
        if found is None:
            return None
        state = _state(found)
        if state != told:
            log("train_job", name=name, **state)
            told = state
        if state["state"] in ("Complete", "Failed"):
            return found
    raise InternalError("a TrainJob's changes ended before it did")


def _state(job: Mapping[str, Any]) -> dict[str, object]:
    kinds = [kind for kind in ("Complete", "Failed", "Suspended") if condition(job, kind)]
    counts = [one for one in job.get("status", {}).get("jobsStatus", []) if one.get("name") == "node"]
    counted = {name: counts[0].get(name, 0) for name in ("active", "ready", "succeeded", "failed")} if counts else {}
    return {"state": kinds[0] if kinds else "Created", **counted}


def _ending(job: Mapping[str, Any] | None, files: TrainingFiles, name: str) -> Ending:
    """Say how a training ended, by the words its machines left in the store; without any, by what the TrainJob says of itself."""
    if files.has_outputs():
        return Ending(0)
    verdict = files.verdict()
    if verdict is not None and verdict.exit_code:
        return verdict
    if job is None:
        return Ending.of(TemporaryError(f"the TrainJob {name} was deleted by someone else; run again to go on from the last checkpoint"))
    failed = condition(job, "Failed")
    if failed is None:
        return Ending.of(TemporaryError(f"the TrainJob {name} is complete, and its model is not in the store; run again"))
    why = f"the TrainJob {name} failed and left no word: {failed.get('reason')}: {failed.get('message')}"
    if failed.get("reason") == _RUNTIME_REFUSED:
        return Ending.of(PlaceRefused(why))
    return Ending.of(TemporaryError(f"{why}; run again to go on from the last checkpoint"))


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
