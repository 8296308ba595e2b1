"""Hand a run over to plain Argo Workflows: compile, convert, and create a Workflow; `reelspace.runs.argo` asks how it stands."""

import os
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from pipelines.argo import ArgoOptions, Variable, to_workflow_template
from pipelines.compiling.build import Choices, compile_pipeline
from pipelines.compiling.images_lock import read_images_lock
from pipelines.places import Run
from reelspace.core.errors import SettingError
from reelspace.core.settings import Settings, read
from reelspace.runs.argo import API_VERSION, PATIENCE_S, connect, workflow_path
from reelspace.train.cluster.settings import ApiSettings

RUN_LABEL: Final = "reelspace.io/run"
_LOCK = Path(__file__).resolve().parents[1] / "images.lock"
# A pod's name is the workflow's, the task's and a hash, and may have 63 characters where it becomes a host's.
_ID_DIGITS = 12


class ArgoPlace(Settings):
    """Plain Argo Workflows as the place of a run."""

    namespace: str = Field(min_length=1, description="Namespace of the workflow.")
    api: ApiSettings | None = Field(None, description="The Kubernetes API; None is that of the cluster whose pod starts the run.")
    options: ArgoOptions = Field(ArgoOptions(), description="What the cluster adds; the variables and keys of the store too.")
    profile: Literal["cpu", "gpu1", "gpu8"] = Field("cpu", description="What the steps ask of their nodes.")
    patience_s: float = Field(PATIENCE_S, ge=0, le=86_400, description="Seconds that the API may be away before the run is given up.")
    images: Path = Field(_LOCK, description="Digests of the images, as images.lock.")


def start(run: Run) -> dict[str, str]:
    """Create the workflow of a run and give what names it, see `reelspace.runs.argo.connect`.

    Raises:
        SettingError: a setting of the place is wrong, or a parameter cannot be handed to Argo.
        ArgoRefused: the pipeline uses something that Argo has no like of.
        PlaceRefused: the API refuses the workflow, or knows none.
        ServerUnavailable: the API does not answer.
    """
    place = read(ArgoPlace, run.record.place or "{}")
    document = workflow(run, place)
    remote = {"namespace": place.namespace, "workflow": str(document["metadata"]["name"]), **_reached(place)}
    with connect(remote, place.patience_s) as api:
        # One of this name can only be ours, made by a request whose answer was lost: the run's id is new.
        api.create(workflow_path(place.namespace), document)
    return remote


def workflow(run: Run, place: ArgoPlace) -> dict[str, Any]:
    """Give the Workflow of a run: the pipeline's own template with this run's parameters and variables."""
    if not run.store_url.startswith("s3://") and not _is_mounted(run.store_url, place.options):
        raise SettingError(f"--store {run.store_url}: expected s3://bucket/prefix, or a folder of a writable claim in options.mounts")
    for name, value in run.parameters.items():
        if "{{" in value:
            raise SettingError(f"parameter {name!r} holds double braces, which Argo would fill in")
    ours = tuple(Variable(name=name, value=value) for name, value in run.environment.items())
    options = place.options.model_copy(update={"environment": (*place.options.environment, *ours)})
    compiled = compile_pipeline(run.record.pipeline, Choices(read_images_lock(place.images), place.profile))
    template = to_workflow_template(compiled.spec, compiled.platform, options)
    declared = template["spec"].get("arguments", {}).get("parameters", [])
    given = [{"name": one["name"], "value": run.parameters.get(one["name"], one.get("value", ""))} for one in declared]
    return {
        "apiVersion": API_VERSION,
        "kind": "Workflow",
        "metadata": {
            **{name: value for name, value in template["metadata"].items() if name == "annotations"},
            "name": f"{template['metadata']['name']}-{run.record.run_id[:_ID_DIGITS]}",
            "labels": {"app.kubernetes.io/managed-by": "reelspace", RUN_LABEL: run.record.run_id},
        },
        "spec": {**template["spec"], **({"arguments": {"parameters": given}} if given else {})},
    }


def _reached(place: ArgoPlace) -> dict[str, str]:
    api = place.api.model_dump(mode="json", exclude_none=True) if place.api else {}
    kept = {"logs": f"s3://{place.options.s3.bucket}"} if place.options.s3 and place.options.archive_logs else {}
    return {**{name: str(value) for name, value in api.items()}, **kept}


def _is_mounted(folder: str, options: ArgoOptions) -> bool:
    return any(mount.writable and os.path.commonpath([mount.path, folder]) == mount.path for mount in options.mounts)
