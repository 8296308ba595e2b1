"""The objects that Argo is given: a WorkflowTemplate, and a CronWorkflow that starts it."""

from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from pipelines.argo.container import SCRATCH_VOLUME
from pipelines.argo.dag import Templates
from pipelines.argo.ir import Pipeline, read_pipeline
from pipelines.argo.options import ArgoOptions, CronOptions
from pipelines.argo.refused import ArgoRefused
from pipelines.argo.values import text_of

Spec = Mapping[str, Any]
_VERSION = "argoproj.io/v1alpha1"


def to_workflow_template(spec: Spec, platform: Spec, options: ArgoOptions) -> dict[str, Any]:
    """Convert a compiled pipeline to an Argo WorkflowTemplate that runs the same steps, one pod each.

    Args:
        spec: the first document of a pipeline compiled by kfp 2.17.
        platform: the second document, {} where there is none.
        options: what the cluster adds.

    Returns:
        the object, equal for equal input; `to_yaml` writes it.

    Raises:
        ArgoRefused: the pipeline uses something that is not carried over; the message names it and the task.

    Differences from kfp's own platform: an artifact's metadata is not passed on, only its file or directory; a text with double
    braces given as a parameter is filled in by Argo; an exit task runs when the whole workflow is done, and is told how that ended.
    """
    pipeline = read_pipeline(spec, platform)
    parameters, templates = _parameters(pipeline), Templates(pipeline, options)
    return {
        "apiVersion": _VERSION,
        "kind": "WorkflowTemplate",
        "metadata": _metadata(pipeline.name, pipeline.description, options.namespace),
        "spec": {
            "entrypoint": pipeline.name,
            **({"arguments": {"parameters": parameters}} if parameters else {}),
            **({"serviceAccountName": options.service_account} if options.service_account else {}),
            **({"archiveLogs": True} if options.archive_logs else {}),
            **pipeline.workflow,
            # For the whole pod: Argo's own containers, left to themselves, would leave input files that only root may read.
            "securityContext": {
                "runAsUser": options.user_id,
                "runAsGroup": options.user_id,
                "fsGroup": options.user_id,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [{"name": SCRATCH_VOLUME, "emptyDir": {"sizeLimit": options.scratch_size} if options.scratch_size else {}}],
            **({"hooks": {"exit": templates.exit_hook}} if templates.exit_hook else {}),
            "templates": templates.rows,
        },
    }


def to_cron_workflow(template: Spec, options: CronOptions) -> dict[str, Any]:
    """Give a CronWorkflow that starts a WorkflowTemplate of ours at its times, never two at once.

    Args:
        template: what `to_workflow_template` gave; it must be in the cluster, the CronWorkflow only names it.
        options: when, and with which parameters.

    Raises:
        ArgoRefused: a parameter is not one of the pipeline's, or one without a default is missing.
    """
    name, declared = template["metadata"]["name"], template["spec"].get("arguments", {}).get("parameters", [])
    given = {one.name: one.value for one in options.arguments}
    known = {one["name"] for one in declared}
    if unknown := sorted(set(given) - known):
        raise ArgoRefused(f"pipeline {name!r} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    if missing := [one["name"] for one in declared if "value" not in one and one["name"] not in given]:
        raise ArgoRefused(f"pipeline {name!r}: no value for {', '.join(missing)}, which a schedule must give")
    workflow: dict[str, Any] = {"workflowTemplateRef": {"name": name}}
    if given:
        workflow["arguments"] = {"parameters": [{"name": key, "value": value} for key, value in given.items()]}
    return {
        "apiVersion": _VERSION,
        "kind": "CronWorkflow",
        "metadata": {key: value for key, value in template["metadata"].items() if key in ("name", "namespace")},
        "spec": {
            "schedules": [options.schedule],
            "timezone": options.timezone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": options.late_s,
            "successfulJobsHistoryLimit": options.kept_successes,
            "failedJobsHistoryLimit": options.kept_failures,
            **({"suspend": True} if options.suspended else {}),
            "workflowSpec": workflow,
        },
    }


def _metadata(name: str, description: str, namespace: str | None) -> dict[str, Any]:
    return {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        **({"annotations": {"workflows.argoproj.io/description": description}} if description else {}),
    }


def _parameters(pipeline: Pipeline) -> list[dict[str, Any]]:
    rows = []
    for name, one in pipeline.root.get("inputDefinitions", {}).get("parameters", {}).items():
        where = f"parameter {name!r} of pipeline {pipeline.name!r}"
        if "defaultValue" in one:
            rows.append({"name": name, "value": text_of(one["defaultValue"], one["parameterType"], where)})
        elif one.get("isOptional"):
            raise ArgoRefused(f"{where}: its default is None, which Argo does not have; give another")
        else:
            rows.append({"name": name})
    return rows


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Texts of several lines stand as blocks, so that a diff shows the line that changed."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(document: Spec) -> str:
    """Write an object as YAML in the order it has; equal objects give equal bytes."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True))
