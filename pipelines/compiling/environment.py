"""What a place adds to a compiled pipeline: variables of its containers, in the clear or from Secrets, and TrainJobs for its trainings."""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

from pipelines.compiling.compiled import IR, Compiled
from reelspace.train.cluster.settings import CLUSTER_VARIABLE, ClusterSettings

_FOR_THE_PODS_OF_A_TRAINING: Final = frozenset({"RESOURCES", "KUBERNETES_AFFINITY", "KUBERNETES_NODE_SELECTOR", "KUBERNETES_TOLERATIONS"})


def with_environment(compiled: Compiled, variables: Mapping[str, str], secrets: Mapping[str, Collection[str]]) -> Compiled:
    """Give a pipeline with more variables in every container; those that a task has already stay.

    Args:
        variables: by name, for everyone who may see the run to read.
        secrets: names of Kubernetes Secrets, each with the keys that become variables of the same name.
    """
    more = _copied(compiled)
    for label, container in _containers(more):
        own = _own_names(more, label)
        _add(container, {name: value for name, value in variables.items() if name not in own})
        for secret, keys in secrets.items():
            if missing := [key for key in keys if key not in own]:
                _platform(more, label).setdefault("secretAsEnv", []).append(_secret_as_env(secret, missing))
    return more


def with_train_jobs(compiled: Compiled, cluster: ClusterSettings) -> Compiled:
    """Give a pipeline whose trainings make TrainJobs there.

    Their pods get what the task asks of a node; the step's own pod, which only waits for them, asks for nothing.
    """
    more = _copied(compiled)
    containers = dict(_containers(more))
    for component in more.spec["components"].values():
        if passed := component.get("taskConfigPassthroughs"):
            _add(containers[component["executorLabel"]], {CLUSTER_VARIABLE: cluster.model_dump_json(exclude_defaults=True)})
            for one in passed:
                if one["field"] in _FOR_THE_PODS_OF_A_TRAINING:
                    # As kfp writes what is false: not at all.
                    one.pop("applyToTask", None)
    return more


def _copied(compiled: Compiled) -> Compiled:
    return replace(compiled, spec=copy.deepcopy(compiled.spec), platform=copy.deepcopy(compiled.platform))


def _containers(compiled: Compiled) -> Iterator[tuple[str, IR]]:
    for label, executor in compiled.spec.get("deploymentSpec", {}).get("executors", {}).items():
        if "container" in executor:
            yield label, executor["container"]


def _platform(compiled: Compiled, label: str) -> IR:
    place: IR = compiled.platform
    for key in ("platforms", "kubernetes", "deploymentSpec", "executors", label):
        place = place.setdefault(key, {})
    return place


def _own_names(compiled: Compiled, label: str) -> set[str]:
    kubernetes = compiled.platform.get("platforms", {}).get("kubernetes", {})
    config = kubernetes.get("deploymentSpec", {}).get("executors", {}).get(label, {})
    rows = [row for kind in ("secretAsEnv", "configMapAsEnv") for one in config.get(kind, []) for row in one["keyToEnv"]]
    container = compiled.spec["deploymentSpec"]["executors"][label]["container"]
    return {row["envVar"] for row in rows} | {row["name"] for row in (*container.get("env", []), *config.get("fieldPathAsEnv", []))}


def _add(container: IR, variables: Mapping[str, str]) -> None:
    if variables:
        container["env"] = [*container.get("env", []), *({"name": name, "value": value} for name, value in variables.items())]


def _secret_as_env(secret: str, keys: Collection[str]) -> IR:
    return {
        "keyToEnv": [{"envVar": key, "secretKey": key} for key in keys],
        "optional": False,
        "secretName": secret,
        "secretNameParameter": {"runtimeValue": {"constant": secret}},
    }
