"""A compiled pipeline as a file: kfp's IR, Kubernetes objects of Kubeflow Pipelines, or an Argo WorkflowTemplate."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.compiling.compiled import Compiled

API = "pipelines.kubeflow.org/v2beta1"


def render_ir(compiled: Compiled) -> str:
    """Give what kfp's own compiler writes, byte for byte, but for the images."""
    documents = [compiled.spec, compiled.platform] if compiled.platform else [compiled.spec]
    return compiled.comments + _dump(documents)


def render_k8s(compiled: Compiled) -> str:
    """Give a Pipeline and a PipelineVersion, as kfp's `--kubernetes-manifest-format` does.

    A PipelineVersion may not change once it is applied, so its name ends in a digest of what it holds.
    """
    name = compiled.spec["pipelineInfo"]["name"]
    held = {"pipelineSpec": compiled.spec} | ({"platformSpec": compiled.platform} if compiled.platform else {})
    digest = hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:12]
    description = compiled.spec["pipelineInfo"].get("description")
    described = {"description": description} if description else {}
    version = f"{name}-{digest}"
    return _dump(
        [
            {"apiVersion": API, "kind": "Pipeline", "metadata": {"name": name}, "spec": {"displayName": name} | described},
            {
                "apiVersion": API,
                "kind": "PipelineVersion",
                "metadata": {"name": version},
                "spec": {"displayName": version, "pipelineName": name} | held | described,
            },
        ]
    )


def render_argo(compiled: Compiled) -> str:
    """Give a WorkflowTemplate for plain Argo Workflows.

    Raises:
        UserError: the pipeline uses what has no counterpart there; the message names it.
    """
    from pipelines.argo import ArgoOptions, to_workflow_template, to_yaml  # the other formats do without

    return to_yaml(to_workflow_template(compiled.spec, compiled.platform, ArgoOptions()))


FORMATS: Mapping[str, Callable[[Compiled], str]] = {"ir": render_ir, "k8s": render_k8s, "argo": render_argo}


def file_name(pipeline: str, format_name: str) -> str:
    """Give the file that holds a pipeline in a format, so that all three fit in one folder."""
    return f"{pipeline}.yaml" if format_name == "ir" else f"{pipeline}.{format_name}.yaml"


def _dump(documents: list[dict[str, Any]]) -> str:
    import yaml  # type: ignore[import-untyped]  # optional dependency of the `pipelines` extra

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        """A dumper of our own: libraries change how everybody's writes texts."""

    Dumper.add_representer(str, yaml.representer.SafeRepresenter.represent_str)
    return str(yaml.dump_all(documents, Dumper=Dumper, sort_keys=True))
