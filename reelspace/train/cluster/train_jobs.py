"""The TrainJobs of a namespace: made, adopted, watched, stopped."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reelspace.core.errors import PlaceRefused, TemporaryError
from reelspace.core.log import log
from reelspace.train.cluster.api import KubernetesApi, Object
from reelspace.train.cluster.manifest import API_VERSION, DIGEST_ANNOTATION, KEY_LABEL, QUEUE_LABEL, STOPPED_ANNOTATION, label_of
from reelspace.train.cluster.runtime import GRACE_S

JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
_POLL_S = 1.0
# Pods have GRACE_S to save; the controllers need their time too.
_GONE_S = GRACE_S + 60.0


@dataclass(frozen=True, slots=True)
class TrainJobs:
    """The TrainJobs beside us; `clock` gives rising seconds."""

    api: KubernetesApi
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def ensure(self, wanted: Mapping[str, Any]) -> None:
        """See that the TrainJob runs: make it, or adopt the one that an earlier try of the same step made.

        A stopped one goes on, a failed one is made anew, and one of the same key that was asked for otherwise (more pods, another image)
        is ended first: it saves, and this one goes on from there.

        Raises:
            PlaceRefused: the name belongs to something else, or the API refuses it.
            TemporaryError: an earlier one does not end.
        """
        self._end_others(wanted)
        name = wanted["metadata"]["name"]
        while self.api.create(self._path(), wanted) is None:
            found = self.get(name)
            if found is None:
                continue
            if found["metadata"].get("annotations", {}).get(DIGEST_ANNOTATION) != wanted["metadata"]["annotations"][DIGEST_ANNOTATION]:
                raise PlaceRefused(f"the TrainJob {name} was not made by this step: delete it, or rename it")
            if "deletionTimestamp" in found["metadata"] or is_over(found):
                self._end(name)
                continue
            log("train_job_adopted", name=name)
            self._resume(found)
            return
        log("train_job_created", name=name)

    def get(self, name: str) -> Object | None:
        """Give a TrainJob; None if there is none."""
        return self.api.get(self._path(name))

    def changes(self, name: str) -> Iterator[Object | None]:
        """Give a TrainJob as it is and whenever it changes, perhaps more than once; None, at last, when it has been deleted."""
        while True:
            found = self.get(name)
            yield found
            if found is None:
                return
            version, selector = found["metadata"]["resourceVersion"], f"metadata.name={name}"
            for event in self.api.watch(self._path(), version, fieldSelector=selector):
                if event["type"] == "DELETED":
                    yield None
                    return
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]
            self.sleep(_POLL_S)

    def stop(self, name: str, grace_s: float) -> bool:
        """Let the pods save and end, and wait for them; gives whether they did in time.

        The TrainJob is suspended, so that the next try goes on with it. One in a queue is deleted: its queue would start it again.
        """
        found = self.get(name)
        if found is None:
            return True
        if QUEUE_LABEL in found["metadata"].get("labels", {}):
            self.api.delete(self._path(name))
        else:
            self.api.patch(self._path(name), {"metadata": {"annotations": {STOPPED_ANNOTATION: "true"}}, "spec": {"suspend": True}})
        return self._until(lambda: not self._running(name), grace_s)

    def delete(self, name: str) -> None:
        """Remove a TrainJob that is done; its pods and their logs go with it."""
        self.api.delete(self._path(name))

    def delete_all_of(self, key: str) -> None:
        """Remove every TrainJob that was made for a step key."""
        for left in self._of(key):
            self.delete(left["metadata"]["name"])

    def pods(self, name: str, more: str = "") -> list[Object]:
        """Give the pods of a TrainJob, also those that have ended; `more` narrows the selection."""
        found = self.api.get(f"/api/v1/namespaces/{self.api.place.namespace}/pods", labelSelector=f"{JOB_LABEL}={name}{more}")
        return list((found or {}).get("items", []))

    def _end_others(self, wanted: Mapping[str, Any]) -> None:
        for other in self._of(wanted["metadata"]["annotations"][KEY_LABEL]):
            if other["metadata"]["name"] != wanted["metadata"]["name"]:
                log("train_job_replaced", name=other["metadata"]["name"], by=wanted["metadata"]["name"])
                self._end(other["metadata"]["name"])

    def _of(self, key: str) -> list[Object]:
        found = self.api.get(self._path(), labelSelector=f"{KEY_LABEL}={label_of(key)}")
        if found is None:
            raise PlaceRefused(f"the Kubernetes API at {self.api.place.url} knows no TrainJobs ({API_VERSION}): install Kubeflow Trainer 2")
        return list(found["items"])

    def _end(self, name: str) -> None:
        """Remove a TrainJob and wait until nothing of it is left.

        It is stopped first: the controller may make anew what is deleted under a TrainJob that is meant to run.
        """
        self.api.patch(self._path(name), {"spec": {"suspend": True}})
        self._await(lambda: not self._running(name), f"the pods of the TrainJob {name} have not ended")
        self.api.delete(self._path(name))
        self._await(lambda: self.get(name) is None, f"the TrainJob {name} is being deleted and has not gone")

    def _resume(self, found: Object) -> None:
        if STOPPED_ANNOTATION not in found["metadata"].get("annotations", {}):
            return
        name = found["metadata"]["name"]
        # Two at once would write over each other's checkpoints.
        self._await(lambda: not self._running(name), f"the pods of the stopped TrainJob {name} have not ended")
        self.api.patch(self._path(name), {"metadata": {"annotations": {STOPPED_ANNOTATION: None}}, "spec": {"suspend": False}})

    def _running(self, name: str) -> list[Object]:
        return [pod for pod in self.pods(name) if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]

    def _await(self, condition: Callable[[], bool], complaint: str) -> None:
        if not self._until(condition, _GONE_S):
            raise TemporaryError(f"{complaint} for {_GONE_S:.0f} s; run again, or look why it does not end")

    def _until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        deadline_s = self.clock() + limit_s
        while not condition():
            if self.clock() > deadline_s:
                return False
            self.sleep(_POLL_S)
        return True

    def _path(self, name: str = "") -> str:
        return f"/apis/{API_VERSION}/namespaces/{self.api.place.namespace}/trainjobs{f'/{name}' if name else ''}"


def condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Give a condition of a TrainJob that is true; None: it is not."""
    found = [one for one in job.get("status", {}).get("conditions", []) if one["type"] == kind and one["status"] == "True"]
    return found[0] if found else None


def is_over(job: Mapping[str, Any]) -> bool:
    """Tell whether a TrainJob has come to its end, good or bad."""
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None
