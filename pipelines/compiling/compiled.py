"""A pipeline as kfp compiled it, and the tasks in it.

Source: the pipeline_spec.proto of kfp-pipeline-spec 2.17 names every key read here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

IR = dict[str, Any]
_EXIT_HANDLER = re.compile(r"exit-handler-\d+$")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled pipeline.

    `spec` is the first document of the intermediate representation, `platform` the second ({} when nothing is asked of Kubernetes
    in particular), `comments` the lines that kfp writes above them, `undigested` the images that images.lock knows no digest of.
    """

    name: str
    spec: IR
    platform: IR = field(default_factory=dict)
    comments: str = ""
    undigested: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Task:
    """One task: its entry in a DAG, the component it calls, the component that holds that DAG, the tasks around it (outermost first)."""

    place: str
    entry: IR
    component: IR
    enclosing: IR
    around: tuple["Task", ...] = ()

    @property
    def is_dag(self) -> bool:
        """Whether it is a nested pipeline or a group, not a container."""
        return "dag" in self.component

    @property
    def is_loop(self) -> bool:
        """Whether what it calls runs once per item."""
        return "parameterIterator" in self.entry or "artifactIterator" in self.entry

    @property
    def is_exit_handler(self) -> bool:
        """Whether it is the group that an exit task waits for; kfp marks it by its name only."""
        return self.is_dag and _EXIT_HANDLER.search(self.place) is not None


def tasks(compiled: Compiled) -> Iterator[Task]:
    """Give every task of a pipeline, those of groups and nested pipelines after the task that holds them."""
    yield from _tasks_of(compiled.spec, compiled.spec["root"], compiled.spec["pipelineInfo"]["name"], ())


def containers(compiled: Compiled) -> Iterator[tuple[Task, IR]]:
    """Give every task that runs a container, and that container."""
    executors = compiled.spec.get("deploymentSpec", {}).get("executors", {})
    for task in tasks(compiled):
        container = executors.get(task.component.get("executorLabel"), {}).get("container")
        if container is not None:
            yield task, container


def strings(value: object) -> Iterator[str]:
    """Give every string inside a document, keys of mappings left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def _tasks_of(spec: IR, enclosing: IR, place: str, around: tuple[Task, ...]) -> Iterator[Task]:
    for name, entry in sorted(enclosing["dag"]["tasks"].items()):
        component = spec["components"][entry["componentRef"]["name"]]
        task = Task(f"{place}/{name}", entry, component, enclosing, around)
        yield task
        if task.is_dag:
            yield from _tasks_of(spec, component, task.place, (*around, task))
