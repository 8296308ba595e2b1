"""DAGs of tasks: every group of kfp (If, ParallelFor, ExitHandler, a nested pipeline) is a DAG template of its own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.argo.conditions import when
from pipelines.argo.container import container_template
from pipelines.argo.ir import Pipeline
from pipelines.argo.links import (
    arguments,
    artifact_sources,
    check_task,
    check_uncached,
    exit_task,
    items,
    retry_strategy,
    signature,
    upstream,
)
from pipelines.argo.options import ArgoOptions
from pipelines.argo.refused import ArgoRefused, only
from pipelines.argo.values import Value, argument_values, input_parameter, text_of

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Call:
    """A task on its way to a template: what it calls, and with what."""

    name: str
    parent: str
    task: Spec
    component: Spec
    values: Mapping[str, Value]
    artifacts: Mapping[str, str]

    @property
    def where(self) -> str:
        return f"task {self.name!r}"

    @property
    def texts(self) -> dict[str, str]:
        """Arguments by name, without those that only helped to put another one together."""
        return {name: value.text for name, value in self.values.items() if name in _kinds(self.component)}


class Templates:
    """All templates of one workflow in `rows`, the entry point first, each before what it calls; `exit_hook` is what runs at the end."""

    def __init__(self, pipeline: Pipeline, options: ArgoOptions) -> None:
        self.rows: list[dict[str, Any]] = []
        self.exit_hook: dict[str, Any] | None = None
        self._pipeline, self._options = pipeline, options
        self._names: set[str] = set()
        definitions = pipeline.root.get("inputDefinitions", {})
        if "artifacts" in definitions:
            raise ArgoRefused(f"pipeline {pipeline.name!r}: artifacts as inputs of a whole pipeline; pass ids or addresses as parameters")
        self._dag(self._name(pipeline.name, ""), pipeline.root, definitions.get("parameters", {}))

    def _name(self, wanted: str, parent: str) -> str:
        """Give a name that no template has yet: the task's own, or with the group's before it, or with a number."""
        choices = (wanted, f"{parent}-{wanted}", *(f"{parent}-{wanted}-{n}" for n in range(2, len(self._names) + 3)))
        name = next(choice for choice in choices if choice not in self._names)
        self._names.add(name)
        return name

    def _dag(self, name: str, component: Spec, given: Collection[str]) -> None:
        where = f"group {name!r}"
        only(component, {"dag", "inputDefinitions", "outputDefinitions"}, where)
        dag = only(component["dag"], {"tasks", "outputs"}, where)
        template: dict[str, Any] = {"name": name, **signature(component, given, dag.get("outputs", {}), where)}
        self.rows.append(template)
        last = exit_task(dag["tasks"])
        template["dag"] = {"tasks": [self._task(key, task, name) for key, task in dag["tasks"].items() if key != last]}
        if last is not None:
            if component is not self._pipeline.root:
                raise ArgoRefused(f"{where}: dsl.ExitHandler inside another group; Argo has one exit handler, for the whole workflow")
            self.exit_hook = self._exit_hook(last, dag["tasks"][last], name)

    def _exit_hook(self, name: str, task: Spec, parent: str) -> dict[str, Any]:
        call = self._call(name, task, parent)
        # The exit handler stands outside of every DAG: what is an input there is a parameter of the workflow here.
        texts = {key: text.replace("{{inputs.parameters.", "{{workflow.parameters.") for key, text in call.texts.items()}
        return {"template": self._template(call, [])} | arguments(texts, call.artifacts)

    def _task(self, name: str, task: Spec, parent: str) -> dict[str, Any]:
        call = self._call(name, task, parent)
        row: dict[str, Any] = {"name": name}
        if before := upstream(task):
            row["depends"] = " && ".join(before)
        if condition := task.get("triggerPolicy", {}).get("condition"):
            row["when"] = when(condition, call.values, _kinds(call.component), call.where)
        if "parameterIterator" in task:
            return row | self._loop(call)
        return row | {"template": self._template(call, [])} | arguments(call.texts, call.artifacts)

    def _call(self, name: str, task: Spec, parent: str) -> _Call:
        where = f"task {name!r}"
        check_task(task, where)
        component = self._pipeline.component(task["componentRef"]["name"], where)
        inputs = only(task.get("inputs", {}), {"parameters", "artifacts"}, where)
        kinds = _kinds(component)
        values = argument_values(inputs.get("parameters", {}), kinds, where)
        for key, one in component.get("inputDefinitions", {}).get("parameters", {}).items():
            if key not in values and "defaultValue" in one:
                values[key] = Value(text_of(one["defaultValue"], kinds[key], f"{where}, input {key!r}"), "")
        return _Call(name, parent, task, component, values, artifact_sources(inputs.get("artifacts", {}), where))

    def _template(self, call: _Call, more: Collection[str]) -> str:
        """Add the template that a call runs; `more` are inputs beside the call's own."""
        name, given = self._name(call.name, call.parent), [*call.values, *call.artifacts, *more]
        if "dag" in call.component:
            if "retryPolicy" in call.task:
                raise ArgoRefused(f"{call.where}: set_retry on a whole pipeline or group; set it on its tasks")
            check_uncached(call.task, call.where)
            self._dag(name, call.component, given)
            return name
        label = call.component["executorLabel"]
        config = self._pipeline.executor_configs.get(label, {})
        template = container_template(name, call.component, self._pipeline.executors[label], config, given, self._options)
        check_uncached(call.task, call.where)
        self.rows.append({**template, **retry_strategy(call.task, self._options, call.where)})
        return name

    def _loop(self, call: _Call) -> dict[str, Any]:
        """Write a task that runs once per item; where only some may run at a time, a DAG of its own counts them."""
        if call.component.get("outputDefinitions"):
            raise ArgoRefused(f"{call.where}: dsl.Collected; let the tasks write where the next one finds them")
        item, iterator = call.task["parameterIterator"]["itemInput"], call.task["parameterIterator"]
        limit = int(call.task.get("iteratorPolicy", {}).get("parallelismLimit", 0))
        if not limit:
            rounds = items(iterator, call.values, call.where)
            return {"template": self._template(call, [item]), **rounds} | arguments({**call.texts, item: "{{item}}"}, call.artifacts)
        outer = self._name(f"{call.name}-limited", call.parent)
        values = {name: input_parameter(name) for name in call.values}
        artifacts = {name: f"{{{{inputs.artifacts.{name}}}}}" for name in call.artifacts}
        inputs = {"parameters": [{"name": name} for name in values], "artifacts": [{"name": name} for name in artifacts]}
        row: dict[str, Any] = {"name": outer, "inputs": {key: rows for key, rows in inputs.items() if rows}, "parallelism": limit}
        self.rows.append(row)
        task = {"name": "round", "template": self._template(call, [item]), **items(iterator, values, call.where)}
        texts = {name: value.text for name, value in values.items()}
        row["dag"] = {"tasks": [task | arguments({**texts, item: "{{item}}"}, artifacts)]}
        return {"template": outer} | arguments({name: value.text for name, value in call.values.items()}, call.artifacts)


def _kinds(component: Spec) -> dict[str, str]:
    return {name: one["parameterType"] for name, one in component.get("inputDefinitions", {}).get("parameters", {}).items()}
