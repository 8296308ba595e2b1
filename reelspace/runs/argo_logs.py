"""The logs of a workflow's pods: read from the API while the pods are there, each line once, from those that run at the same time."""

import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reelspace.core.errors import PlaceRefused, ReelspaceError, ServerUnavailable
from reelspace.train.cluster.api import KubernetesApi

Pod = dict[str, Any]
WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
CONTAINER = "main"
_POLL_S = 0.5
_OVER = ("Succeeded", "Failed")
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\S+Z) ?(.*)", re.DOTALL)


@dataclass
class PodLogs:
    """The logs of one workflow's pods; use it while `api` is open."""

    api: KubernetesApi
    workflow: str
    _lines: "queue.SimpleQueue[str | ReelspaceError | None]" = field(default_factory=queue.SimpleQueue)

    def pods(self) -> list[Pod]:
        """Give the pods there are, the oldest first."""
        found = self.api.get(self._path(), labelSelector=f"{WORKFLOW_LABEL}={self.workflow}")
        pods = list((found or {}).get("items", []))
        return sorted(pods, key=lambda pod: (str(pod["metadata"]["creationTimestamp"]), str(pod["metadata"]["name"])))

    def tail(self, pod_name: str, num_lines: int) -> list[str]:
        """Give the last lines of a pod's log; none where it has not begun, or its pod is gone."""
        return list(self.api.lines(self._path(pod_name, "log"), container=CONTAINER, tailLines=str(num_lines)))

    def written(self, pod_name: str) -> Iterator[str]:
        """Give what a pod has written so far."""
        for line in self.api.lines(self._path(pod_name, "log"), container=CONTAINER):
            yield f"{line}\n"

    def followed(self, is_over: Iterable[bool]) -> Iterator[str]:
        """Give the lines of all pods as they come, until the workflow is over and each pod's log is told to its end.

        Args:
            is_over: at first and whenever the workflow changed, whether it is over; ends with it.

        Raises:
            PlaceRefused, ServerUnavailable: the API does not let us read, or does not answer.
        """
        threading.Thread(target=self._guarded, args=(partial(self._watch, is_over),), daemon=True, name="pod-logs").start()
        while (line := self._lines.get()) is not None:
            if isinstance(line, ReelspaceError):
                raise line
            yield line

    def _watch(self, is_over: Iterable[bool]) -> None:
        readers: dict[str, threading.Thread] = {}
        for is_last in is_over:
            # Listed after it was asked: the last pod is there before its workflow is over.
            for pod in self.pods():
                name = pod["metadata"]["name"]
                if name not in readers:
                    readers[name] = threading.Thread(target=self._guarded, args=(partial(self._read, name),), daemon=True, name=name)
                    readers[name].start()
            if is_last:
                break
        for reader in readers.values():
            reader.join()
        self._lines.put(None)

    def _read(self, pod_name: str) -> None:
        last = ""
        while True:
            pod = self.api.get(self._path(pod_name))
            # Asked before reading: what is written before the end is read after it.
            is_last = pod is None or pod.get("status", {}).get("phase") in _OVER
            # To the second: what was passed on within it comes again, and is left out.
            since = {"sinceTime": re.sub(r"\.\d+Z$", "Z", last)} if last else {}
            for line in self.api.lines(self._path(pod_name, "log"), container=CONTAINER, follow="true", timestamps="true", **since):
                stamped = _STAMPED.fullmatch(line)
                if stamped is not None and stamped[1] > last:
                    last = stamped[1]
                    self._lines.put(f"{stamped[2]}\n")
            if is_last:
                return
            time.sleep(_POLL_S)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (PlaceRefused, ServerUnavailable) as error:
            self._lines.put(error)

    def _path(self, pod_name: str = "", part: str = "") -> str:
        words = ["/api/v1/namespaces", self.api.place.namespace, "pods", pod_name, part]
        return "/".join(word for word in words if word)
