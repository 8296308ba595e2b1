"""The two documents of a compiled pipeline, with every part that is not known refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.argo.refused import ArgoRefused, only

Spec = Mapping[str, Any]
SCHEMA = "2.1.0"
_WORKFLOW = {
    "resourceTtlOnCompletion": ("ttlStrategy", "secondsAfterCompletion"),
    "resourceTtlOnSuccess": ("ttlStrategy", "secondsAfterSuccess"),
    "resourceTtlOnFailure": ("ttlStrategy", "secondsAfterFailure"),
}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A compiled pipeline.

    `workflow` holds what the platform document sets for the run as a whole, as fields of Argo's spec.
    """

    name: str
    description: str
    root: Spec
    components: Spec
    executors: Spec
    executor_configs: Spec
    workflow: Spec

    def component(self, name: str, where: str) -> Spec:
        """Give a component by the name that a task calls it by."""
        if name not in self.components:
            raise ArgoRefused(f"{where}: calls component {name!r}, which the compiled pipeline does not hold")
        component: Spec = self.components[name]
        return component


def read_pipeline(spec: Spec, platform: Spec) -> Pipeline:
    """Take the two documents apart.

    Args:
        spec: the first document, kfp's intermediate representation.
        platform: the second, or {} where the pipeline asks nothing of the platform.

    Raises:
        ArgoRefused: another schema, another platform, a pipeline root, a workspace.
    """
    known = {"components", "deploymentSpec", "pipelineInfo", "root", "schemaVersion", "sdkVersion"}
    only(spec, known, "compiled pipeline")
    if spec.get("schemaVersion") != SCHEMA:
        raise ArgoRefused(f"compiled pipeline: schemaVersion {spec.get('schemaVersion')!r}, expected {SCHEMA}; compile with kfp 2.17")
    info = only(spec["pipelineInfo"], {"name", "description", "displayName"}, "pipelineInfo")
    platforms = only(platform, {"platforms"}, "platform document").get("platforms", {})
    kubernetes = only(platforms, {"kubernetes"}, "platforms").get("kubernetes", {})
    only(kubernetes, {"deploymentSpec", "pipelineConfig"}, "platforms.kubernetes")
    return Pipeline(
        name=info["name"],
        description=info.get("description", ""),
        root=spec["root"],
        components=spec.get("components", {}),
        executors=only(spec.get("deploymentSpec", {}), {"executors"}, "deploymentSpec").get("executors", {}),
        executor_configs=kubernetes.get("deploymentSpec", {}).get("executors", {}),
        workflow=_workflow(kubernetes.get("pipelineConfig", {})),
    )


def _workflow(config: Spec) -> dict[str, Any]:
    if "workspace" in config:
        raise ArgoRefused("pipelineConfig: dsl.WorkspaceConfig; bytes belong in the store, or mount a claim by name")
    only(config, {*_WORKFLOW, "activeDeadlineSeconds"}, "pipelineConfig")
    workflow: dict[str, Any] = {}
    if "activeDeadlineSeconds" in config:
        workflow["activeDeadlineSeconds"] = int(config["activeDeadlineSeconds"])
    for key, (section, field) in _WORKFLOW.items():
        if key in config:
            workflow.setdefault(section, {})[field] = int(config[key])
    return workflow
