"""What ties the tasks of a DAG together: arguments, order, repetition, retries."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from pipelines.argo.options import ArgoOptions
from pipelines.argo.refused import ArgoRefused, only
from pipelines.argo.values import Value

Spec = Mapping[str, Any]
AFTER_ALL = "ALL_UPSTREAM_TASKS_COMPLETED"
_TASK = {
    "cachingOptions",
    "componentRef",
    "dependentTasks",
    "inputs",
    "iteratorPolicy",
    "parameterIterator",
    "retryPolicy",
    "taskInfo",
    "triggerPolicy",
}


def check_task(task: Spec, where: str) -> None:
    """Refuse what no task may ask for."""
    if "artifactIterator" in task:
        raise ArgoRefused(f"{where}: dsl.ParallelFor over artifacts; loop over parameters")
    only(task, _TASK, where)
    only(task.get("triggerPolicy", {}), {"condition", "strategy"}, f"{where}, triggerPolicy")


def check_uncached(task: Spec, where: str) -> None:
    """Refuse kfp's cache, which a task uses unless it says otherwise."""
    if task.get("cachingOptions", {}).get("enableCache"):
        raise ArgoRefused(f"{where}: caching; Argo has no cache like kfp's, say set_caching_options(False): steps have keys of their own")


def upstream(task: Spec) -> list[str]:
    """Name the tasks that must be done before, sorted; a skipped one counts as done, as in kfp."""
    inputs = task.get("inputs", {})
    names = set(task.get("dependentTasks", []))
    for spec in (*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()):
        names |= {spec[key]["producerTask"] for key in ("taskOutputParameter", "taskOutputArtifact") if key in spec}
    return sorted(names)


def exit_task(tasks: Mapping[str, Spec]) -> str | None:
    """Give the name of the exit task of a DAG's `dsl.ExitHandler`, None where there is none.

    Raises:
        ArgoRefused: `ignore_upstream_failure()` on a task that is no exit task, two exit handlers, or an exit task that others wait for.
    """
    found = [name for name, task in tasks.items() if task.get("triggerPolicy", {}).get("strategy") == AFTER_ALL]
    for name in found:
        before = tasks[name].get("dependentTasks", [])
        uses = any("taskOutput" in key for source in _sources(tasks[name]) for key in source)
        if len(before) != 1 or not before[0].startswith("exit-handler-") or uses:
            raise ArgoRefused(f"task {name!r}: ignore_upstream_failure; only the exit task of a dsl.ExitHandler runs after a failure")
    if len(found) > 1:
        raise ArgoRefused(f"tasks {', '.join(found)}: two exit handlers; Argo has one, which runs when all is done")
    for name, task in tasks.items():
        if set(upstream(task)) & set(found):
            raise ArgoRefused(f"task {name!r}: waits for an exit task; put it into the exit task")
    return found[0] if found else None


def _sources(task: Spec) -> list[Spec]:
    inputs = task.get("inputs", {})
    return [*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()]


def signature(component: Spec, given: Collection[str], outputs: Spec, where: str) -> dict[str, Any]:
    """Write what a DAG template takes and gives.

    Raises:
        ArgoRefused: an input is left out, or an output comes from one of several tasks (dsl.OneOf) or from all rounds of a loop.
    """
    definitions = component.get("inputDefinitions", {})
    for name in (*definitions.get("parameters", {}), *definitions.get("artifacts", {})):
        if name not in given:
            raise ArgoRefused(f"{where}: input {name!r} is left out; Argo has no None, give a value")
    inputs = {key: [{"name": name} for name in definitions[key]] for key in ("parameters", "artifacts") if definitions.get(key)}
    results: dict[str, Any] = {"parameters": [], "artifacts": []}
    for name, spec in outputs.get("parameters", {}).items():
        if "valueFromOneof" in spec:
            raise ArgoRefused(f"{where}: dsl.OneOf for output {name!r}; let each branch do what follows")
        source = spec["valueFromParameter"]
        value = f"{{{{tasks.{source['producerSubtask']}.outputs.parameters.{source['outputParameterKey']}}}}}"
        results["parameters"].append({"name": name, "valueFrom": {"parameter": value}})
    for name, spec in outputs.get("artifacts", {}).items():
        if len(spec["artifactSelectors"]) != 1:
            raise ArgoRefused(f"{where}: dsl.OneOf for output {name!r}; let each branch do what follows")
        source = spec["artifactSelectors"][0]
        value = f"{{{{tasks.{source['producerSubtask']}.outputs.artifacts.{source['outputArtifactKey']}}}}}"
        results["artifacts"].append({"name": name, "from": value})
    results = {key: rows for key, rows in results.items() if rows}
    return {**({"inputs": inputs} if inputs else {}), **({"outputs": results} if results else {})}


def artifact_sources(artifacts: Mapping[str, Spec], where: str) -> dict[str, str]:
    """Give Argo's reference to each artifact that a task is given."""
    sources = {}
    for name, spec in artifacts.items():
        only(spec, {"taskOutputArtifact", "componentInputArtifact"}, f"{where}, input {name!r}")
        if "taskOutputArtifact" in spec:
            source = spec["taskOutputArtifact"]
            sources[name] = f"{{{{tasks.{source['producerTask']}.outputs.artifacts.{source['outputArtifactKey']}}}}}"
        else:
            sources[name] = f"{{{{inputs.artifacts.{spec['componentInputArtifact']}}}}}"
    return sources


def arguments(parameters: Mapping[str, str], artifacts: Mapping[str, str]) -> dict[str, Any]:
    """Write a task's arguments; nothing where there are none."""
    rows: dict[str, Any] = {}
    if parameters:
        rows["parameters"] = [{"name": name, "value": text} for name, text in parameters.items()]
    if artifacts:
        rows["artifacts"] = [{"name": name, "from": source} for name, source in artifacts.items()]
    return {"arguments": rows} if rows else {}


def items(iterator: Spec, values: Mapping[str, Value], where: str) -> dict[str, Any]:
    """Write what a loop runs over: `withItems` for a list that is known, `withParam` for one that a task gives."""
    source = only(only(iterator, {"itemInput", "items"}, f"{where}, loop")["items"], {"raw", "inputParameter"}, f"{where}, loop")
    if "inputParameter" in source:
        return {"withParam": values[source["inputParameter"]].text}
    if "{{" in source["raw"]:
        raise ArgoRefused(f"{where}: a loop's item with double braces, which Argo would fill in")
    rows = json.loads(source["raw"])
    # Argo takes an empty `withItems` for no loop at all, and would run the body once.
    return {"withItems": rows} if rows else {"withParam": "[]"}


def retry_strategy(task: Spec, options: ArgoOptions, where: str) -> dict[str, Any]:
    """Write when a failed pod is tried again: after a lost pod, or after an exit code that says so; never after a user's error.

    kfp's bound of one wait becomes Argo's `cap`, not its `maxDuration`, which bounds all tries together.
    """
    known = {"maxRetryCount", "backoffDuration", "backoffFactor", "backoffMaxDuration"}
    policy = only(task.get("retryPolicy", {}), known, f"{where}, retryPolicy")
    limit = int(policy.get("maxRetryCount", options.retries))
    if not limit:
        return {}
    codes = ", ".join(map(str, options.retried_exit_codes))
    expression = f"lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [{codes}]"
    strategy: dict[str, Any] = {"limit": limit, "retryPolicy": "Always", "expression": expression}
    if float(policy.get("backoffDuration", "0s").rstrip("s")) > 0:
        factor = float(policy.get("backoffFactor", 2))
        if not factor.is_integer():
            raise ArgoRefused(f"{where}: backoff_factor {factor:g}; Argo takes whole numbers")
        strategy["backoff"] = {"duration": policy["backoffDuration"], "factor": int(factor)}
        if "backoffMaxDuration" in policy:
            strategy["backoff"]["cap"] = policy["backoffMaxDuration"]
    return {"retryStrategy": strategy}
