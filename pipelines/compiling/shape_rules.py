"""Rules about the shape of a DAG: what kfp, its backend or its local runner is known to break on."""

import re
from collections.abc import Iterator
from typing import Any

from pipelines.compiling.compiled import IR, Compiled, Task, containers, strings, tasks
from pipelines.compiling.findings import Finding

# As kfp writes them: {{$.inputs.parameters['x']}} in a container, inputs.parameter_values['x'] in a condition.
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.(?:parameters|artifacts)\[['\"]+([^'\"]+)['\"]+\]")
_CONDITION = re.compile(r"inputs\.(?:parameter_values|parameters|artifacts)\[['\"]([^'\"]+)['\"]\]")


def undeclared_channel(compiled: Compiled) -> Iterator[Finding]:
    """Every input that a task reads is declared by the DAG around it, every producer stands beside it, every placeholder is an input.

    kfp 2.17 breaks this for resources that are pipeline parameters, inside any group.
    """
    for task in tasks(compiled):
        declared = _declared(task.enclosing)
        for name in sorted(_read_from_around(task.entry.get("inputs", {})) - declared):
            yield _undeclared(task, f"reads {name!r}, which the DAG around it does not declare")
        for producer in sorted(_producers(task) - set(task.enclosing["dag"]["tasks"])):
            yield _undeclared(task, f"waits for {producer!r}, which is no task of its DAG")
        for name in sorted(_of_itself(task.entry) - _given(task)):
            yield _undeclared(task, f"its condition or loop reads {name!r}, which is none of its inputs")
    for task, container in containers(compiled):
        for name in sorted(_placeholders(container) - _given(task)):
            yield _undeclared(task, f"its container reads {name!r}, which is none of its inputs")
        for name in sorted(_read_from_around(_platform(compiled, task)) - _declared(task.enclosing)):
            yield _undeclared(task, f"its Kubernetes settings read {name!r}, which the DAG around it does not declare")


def retry_in_loop(compiled: Compiled) -> Iterator[Finding]:
    """No task inside a loop asks for retries: the backend ignores them there (kubeflow/pipelines#12389)."""
    for task in tasks(compiled):
        loop = next((one for one in (*task.around, task) if one.is_loop), None)
        if loop is not None and "retryPolicy" in task.entry:
            message = f"retries inside the loop {loop.place} are ignored; let the step itself try again, or move it out of the loop"
            yield Finding("retry-in-loop", task.place, message)


def loop_in_exit_handler(compiled: Compiled) -> Iterator[Finding]:
    """No loop inside an exit handler: such a pipeline fails on the backend (kubeflow/pipelines#12390)."""
    for task in tasks(compiled):
        handler = next((one for one in task.around if one.is_exit_handler), None)
        if task.is_loop and handler is not None:
            message = f"a loop inside the exit handler {handler.place} fails on the backend; move it out, or loop inside one step"
            yield Finding("loop-in-exit-handler", task.place, message)


def artifact_only_call(compiled: Compiled) -> Iterator[Finding]:
    """Every nested pipeline or exit handler with artifacts also takes a parameter: kfp's local runner fails without one; loops it runs."""
    for task in tasks(compiled):
        inputs = task.entry.get("inputs", {})
        if task.is_dag and not task.is_loop and inputs.get("artifacts") and not inputs.get("parameters"):
            message = "takes artifacts and no parameter: kfp's local runner cannot call that; give it a parameter, or call its steps here"
            yield Finding("artifact-only-call", task.place, message)


def _undeclared(task: Task, what: str) -> Finding:
    return Finding("undeclared-channel", task.place, f"{what}; use a constant (resources come from a profile), or pass it as an argument")


def _declared(component: IR) -> set[str]:
    definitions = component.get("inputDefinitions", {})
    return set(definitions.get("parameters", {})) | set(definitions.get("artifacts", {}))


def _given(task: Task) -> set[str]:
    inputs = task.entry.get("inputs", {})
    return set(inputs.get("parameters", {})) | set(inputs.get("artifacts", {})) | _declared(task.component)


def _read_from_around(document: Any) -> set[str]:
    return set(_values_of(document, ("componentInputParameter", "componentInputArtifact")))


def _producers(task: Task) -> set[str]:
    inputs = task.entry.get("inputs", {})
    return set(_values_of(inputs, ("producerTask",))) | set(task.entry.get("dependentTasks", ()))


def _of_itself(entry: IR) -> set[str]:
    condition = entry.get("triggerPolicy", {}).get("condition", "")
    iterated = entry.get("parameterIterator", {}).get("items", {}).get("inputParameter")
    artifacts = entry.get("artifactIterator", {}).get("items", {}).get("inputArtifact")
    return set(_CONDITION.findall(condition)) | {name for name in (iterated, artifacts) if name}


def _placeholders(container: IR) -> set[str]:
    return {name for text in strings(container) for name in _PLACEHOLDER.findall(text)}


def _platform(compiled: Compiled, task: Task) -> IR:
    kubernetes = compiled.platform.get("platforms", {}).get("kubernetes", {})
    settings: IR = kubernetes.get("deploymentSpec", {}).get("executors", {}).get(task.component["executorLabel"], {})
    return settings


def _values_of(document: Any, keys: tuple[str, ...]) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key in keys and isinstance(value, str):
                yield value
            else:
                yield from _values_of(value, keys)
    elif isinstance(document, list):
        for one in document:
            yield from _values_of(one, keys)
