"""Compiled kfp pipelines as Argo Workflows: `to_workflow_template`, `to_cron_workflow`, and their settings."""

from pipelines.argo.options import ArgoOptions, ClaimMount, CronOptions, S3Options, Variable
from pipelines.argo.refused import ArgoRefused
from pipelines.argo.workflow import to_cron_workflow, to_workflow_template, to_yaml

__all__ = [
    "ArgoOptions",
    "ArgoRefused",
    "ClaimMount",
    "CronOptions",
    "S3Options",
    "Variable",
    "to_cron_workflow",
    "to_workflow_template",
    "to_yaml",
]
