"""Hand a run over to Kubeflow Pipelines by its SDK: compile for this run, submit; `reelspace.runs.kubeflow` asks how it stands."""

import tempfile
import warnings
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from pipelines.argo import Variable
from pipelines.compiling.build import Choices, compile_pipeline
from pipelines.compiling.compiled import Compiled
from pipelines.compiling.environment import with_environment, with_train_jobs
from pipelines.compiling.images_lock import read_images_lock
from pipelines.compiling.render import render_ir
from pipelines.compiling.secret_rules import secret_in_arguments
from pipelines.places import Run
from reelspace.core.errors import PlaceRefused, ReelspaceError, ServerUnavailable, SettingError
from reelspace.core.settings import Settings, read
from reelspace.train.cluster.settings import ClusterSettings

_LOCK = Path(__file__).resolve().parents[1] / "images.lock"
_STORE_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_ID_DIGITS = 12
_PASSING = 500


class KubeflowPlace(Settings):
    """Kubeflow Pipelines as the place of a run."""

    url: str = Field(pattern=r"^https?://[^\s@?#]+$", description="http(s) address of the API of Kubeflow Pipelines.")
    token_file: Path | None = Field(None, description="File with a bearer token; read anew for every request.")
    ca_file: Path | None = Field(None, description="PEM file of the authority that signed the server's certificate; None: the system's.")
    namespace: str | None = Field(None, min_length=1, description="Namespace of the run where every user has one; None: there is one.")
    experiment: str = Field("reelspace", min_length=1, description="Experiment that the run belongs to; it is made when it is new.")
    service_account: str | None = Field(None, min_length=1, description="Service account of the pods; None: that of the server.")
    pipeline_root: str | None = Field(None, min_length=1, description="Where manifests lie between steps; None: as the server says.")
    store_secret: str | None = Field(
        None, min_length=1, description="Secret whose AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY open the store."
    )
    environment: tuple[Variable, ...] = Field((), description="Variables of every step, such as the address of the store; no secrets.")
    train_job: ClusterSettings | None = Field(None, description="TrainJobs for pretrain and distill; None: each trains in its own pod.")
    profile: Literal["cpu", "gpu1", "gpu8"] = Field("cpu", description="What the steps ask of their nodes.")
    images: Path = Field(_LOCK, description="Digests of the images, as images.lock.")


def start(run: Run) -> dict[str, str]:
    """Submit a run and give what names it, see `reelspace.runs.kubeflow`.

    Raises:
        SettingError: a setting of the place is wrong.
        PlaceRefused: the server refuses the run.
        ServerUnavailable: it does not answer.
    """
    place = read(KubeflowPlace, run.record.place or "{}")
    files = {name: path.resolve() for name, path in (("token_file", place.token_file), ("ca_file", place.ca_file)) if path is not None}
    for name, path in files.items():
        if not path.is_file():
            raise SettingError(f"{name} of the place: no file {path}")
    package = render_ir(compiled_for(run, place))
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "pipeline.yaml"
        file.write_text(package)
        run_id = _submitted(run, place, file)
    return {"url": place.url, "run": run_id, **{name: str(path) for name, path in files.items()}}


def compiled_for(run: Run, place: KubeflowPlace) -> Compiled:
    """Compile the pipeline of a run: its id is a variable of every step, so that they write the journal that the record names.

    Raises:
        SettingError: the pods could not reach the store, or a variable is a secret in the clear.
    """
    if not run.store_url.startswith("s3://"):
        raise SettingError(f"--store {run.store_url}: expected s3://bucket/prefix, which the pods of Kubeflow Pipelines reach too")
    variables = {**{one.name: one.value for one in place.environment}, **run.environment}
    secrets = {place.store_secret: _STORE_KEYS} if place.store_secret else {}
    compiled = compile_pipeline(run.record.pipeline, Choices(read_images_lock(place.images), place.profile))
    compiled = with_environment(compiled, variables, secrets)
    if finding := next(secret_in_arguments(compiled), None):
        raise SettingError(str(finding))
    return compiled if place.train_job is None else with_train_jobs(compiled, place.train_job)


def _submitted(run: Run, place: KubeflowPlace, package: Path) -> str:
    import kfp_server_api  # type: ignore[import-untyped]  # optional dependency of the `pipelines` extra, as the next one
    from urllib3.exceptions import HTTPError

    try:
        result = _client(place).create_run_from_pipeline_package(
            str(package),
            arguments=dict(run.parameters),
            run_name=f"{run.record.pipeline} {run.record.run_id[:_ID_DIGITS]}",
            experiment_name=place.experiment,
            namespace=place.namespace,
            pipeline_root=place.pipeline_root,
            service_account=place.service_account,
        )
    except kfp_server_api.ApiException as error:
        raise _refusal(place, error) from error
    except (HTTPError, TimeoutError) as error:
        raise ServerUnavailable(f"Kubeflow Pipelines at {place.url} does not answer: {error}") from error
    return str(result.run_id)


def _client(place: KubeflowPlace) -> Any:
    from kfp import Client

    with warnings.catch_warnings():
        # Every client warns that it is one of version 2.
        warnings.filterwarnings("ignore", category=FutureWarning)
        return Client(
            host=place.url,
            namespace=place.namespace or "kubeflow",
            existing_token=place.token_file.read_text().strip() if place.token_file else None,
            ssl_ca_cert=str(place.ca_file) if place.ca_file else None,
        )


def _refusal(place: KubeflowPlace, error: Any) -> ReelspaceError:
    text = f"Kubeflow Pipelines at {place.url} refused the run ({error.status}): {error.body or error.reason}"
    return ServerUnavailable(text) if (error.status or _PASSING) >= _PASSING else PlaceRefused(text)
