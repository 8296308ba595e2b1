"""A run on its way to the place that runs it, and what each kind of place must offer."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

from reelspace.core.steps import RUN_ID_VARIABLE, STORE_VARIABLE
from reelspace.runs.record import RunRecord
from reelspace.runs.where import Where


@dataclass(frozen=True, slots=True)
class Run:
    """What a place is given; `record.place` holds its settings as JSON ("" is its defaults), `record.steps` names the steps."""

    record: RunRecord
    parameters: Mapping[str, str]
    store_url: str
    work: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every step must see, beside the keys of the store."""
        return {STORE_VARIABLE: self.store_url, RUN_ID_VARIABLE: self.record.run_id}


class RemoteModule(Protocol):
    """A module that hands a run over to a place that goes on by itself."""

    def start(self, run: Run) -> dict[str, str]:
        """Start the run there and give what names it: `RunRecord.remote`, never empty, without secrets."""


class ContainerModule(Protocol):
    """A module that makes kfp's local runner run its tasks in containers."""

    def containers(self, run: Run) -> AbstractContextManager[None]:
        """Run the tasks in containers while the block runs, and leave none behind."""


_REMOTE: Final[Mapping[Where, str]] = {"argo": "pipelines.argo_run", "kfp": "pipelines.kubeflow_run"}


def remote_module(where: Where) -> RemoteModule:
    """Give the module of a place that goes on by itself; only the one that is used is loaded."""
    return cast(RemoteModule, import_module(_REMOTE[where]))


def container_module() -> ContainerModule:
    """Give the module of containers of this machine."""
    return cast(ContainerModule, import_module("pipelines.podman"))
