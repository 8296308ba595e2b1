"""The log of a training's first pod, shown as it is written."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reelspace.core.errors import PlaceRefused, ServerUnavailable
from reelspace.core.log import log
from reelspace.train.cluster.api import Object
from reelspace.train.cluster.runtime import CONTAINER, REPLICATED_JOB
from reelspace.train.cluster.train_jobs import TrainJobs

_FIRST = f",jobset.sigs.k8s.io/replicatedjob-name={REPLICATED_JOB},batch.kubernetes.io/job-completion-index=0"
_POLL_S = 1.0
_LAST_S = 5.0
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\S+Z) ?(.*)", re.DOTALL)


@dataclass
class PodLog:
    """Passes on every line once, also over a dropped connection and from one pod to the next; what cannot be read stops no training."""

    jobs: TrainJobs
    name: str
    write: Callable[[str], None]
    _is_over: threading.Event = field(default_factory=threading.Event)
    _last: dict[str, str] = field(default_factory=dict)
    """Pod's uid -> the time of the last line that was passed on."""
    _ended: set[str] = field(default_factory=set)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the block runs, and what is left of it for a moment after."""
        thread = threading.Thread(target=self._run, daemon=True, name="pod-log")
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join(_LAST_S)

    def _run(self) -> None:
        try:
            while True:
                # One more look once it is over: the last lines come late.
                is_last = self._is_over.is_set()
                for pod in self._pods():
                    self._show(pod, follow=not is_last)
                if is_last or self.jobs.api.is_closed:
                    return
                self._is_over.wait(_POLL_S)
        except (PlaceRefused, ServerUnavailable) as error:
            log("log_not_shown", train_job=self.name, reason=str(error))

    def _pods(self) -> list[Object]:
        """Give the first pods there have been, the oldest first, but those that are told to their end."""
        found = [pod for pod in self.jobs.pods(self.name, _FIRST) if pod["metadata"]["uid"] not in self._ended]
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))

    def _show(self, pod: Object, *, follow: bool) -> None:
        uid, last = pod["metadata"]["uid"], self._last.get(pod["metadata"]["uid"], "")
        place = pod["metadata"]
        path = f"/api/v1/namespaces/{place['namespace']}/pods/{place['name']}/log"
        # To the second: what was passed on within it comes again, and is left out.
        since = {"sinceTime": re.sub(r"\.\d+Z$", "Z", last)} if last else {}
        for line in self.jobs.api.lines(path, container=CONTAINER, follow=str(follow).lower(), timestamps="true", **since):
            stamped = _STAMPED.fullmatch(line)
            if stamped is None:
                continue
            if stamped[1] > last:
                self._last[uid] = stamped[1]
                self.write(stamped[2])
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            self._ended.add(uid)
