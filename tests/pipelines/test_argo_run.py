"""What Argo is given for a run: the pipeline's own template, with this run's parameters, variables and mounts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.argo import ArgoOptions, ClaimMount, Variable
from pipelines.argo_run import ArgoPlace, start, workflow
from pipelines.places import Run
from reelspace.core.errors import ServerUnavailable, SettingError
from reelspace.core.settings import read
from reelspace.runs.record import RunRecord
from tests.cluster.control_plane import free_ports
from tests.pipelines.argo.test_golden import _nothing_unknown, hera_models

ROOT = Path(__file__).resolve().parents[2]
RUN_ID = "0123456789abcdef" * 2
GIVEN = {"tables_uri": "s3://data/world", "media_root": "", "pretrain_settings": '{"steps": 3}'}
MOUNTS = (ClaimMount(claim="python", path="/opt/python"), ClaimMount(claim="media", path="/media", sub_path="films", writable=True))
OPTIONS = ArgoOptions(mounts=MOUNTS, images={"reelspace/python-train:0.1.0": "localhost/system:test"}, environment_secrets=("store",))
PLACE = ArgoPlace(namespace="team", options=OPTIONS)


def run_of(store_url: str = "s3://bucket/store", place: str = "", **parameters: str) -> Run:
    record = RunRecord.begin(RUN_ID, "train_and_publish", ("import_tables",), ("train_and_publish",), "").at("argo", place)
    return Run(record, {**GIVEN, **parameters}, store_url, Path("work"))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return workflow(run_of(), PLACE)


def containers(document: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in document["spec"]["templates"] if "container" in row}


def test_a_run_is_a_workflow_of_its_name_with_every_parameter(document: dict[str, Any]) -> None:
    assert document["kind"] == "Workflow"
    assert document["metadata"]["name"] == f"train-and-publish-{RUN_ID[:12]}"
    assert document["metadata"]["labels"]["reelspace.io/run"] == RUN_ID
    given = {row["name"]: row["value"] for row in document["spec"]["arguments"]["parameters"]}
    assert {name: given[name] for name in GIVEN} == GIVEN
    assert given["distill_settings"] == "{}"
    # The longest name of a pod: the workflow's, the task's, a hash.
    assert len(f"{document['metadata']['name']}-preprocess-signals-1234567890") <= 63


def test_every_step_sees_the_store_the_run_and_the_mounted_claims(document: dict[str, Any]) -> None:
    assert len(containers(document)) == 10
    for row in containers(document).values():
        values = {one["name"]: one.get("value") for one in row["container"]["env"]}
        assert (values["REELSPACE_STORE"], values["REELSPACE_RUN_ID"]) == ("s3://bucket/store", RUN_ID)
        assert row["container"]["envFrom"] == [{"secretRef": {"name": "store"}}]
        mounts = {one["mountPath"]: one for one in row["container"]["volumeMounts"]}
        assert mounts["/opt/python"]["readOnly"] is True
        assert mounts["/media"]["subPath"] == "films"
        assert "readOnly" not in mounts["/media"]
        claims = {one["name"]: one["persistentVolumeClaim"] for one in row["volumes"] if "persistentVolumeClaim" in one}
        # Of the volume too: else the kubelet would give the claim's files to the group of the pod.
        assert claims[mounts["/opt/python"]["name"]] == {"claimName": "python", "readOnly": True}
        assert claims[mounts["/media"]["name"]] == {"claimName": "media"}


def test_an_image_is_replaced_only_where_it_is_named(document: dict[str, Any]) -> None:
    images = {name: row["container"]["image"] for name, row in containers(document).items()}
    assert images["pretrain"] == "localhost/system:test"
    assert images["import-tables"] == "reelspace/python-signals:0.1.0"


def test_the_variables_of_a_run_win_over_those_of_its_place() -> None:
    place = ArgoPlace(namespace="team", options=ArgoOptions(environment=(Variable(name="REELSPACE_RUN_ID", value="other"),)))
    row = containers(workflow(run_of(), place))["promote"]
    assert [one["value"] for one in row["container"]["env"] if one["name"] == "REELSPACE_RUN_ID"] == [RUN_ID]


def test_argos_models_accept_the_workflow(document: dict[str, Any]) -> None:
    hera = hera_models()
    _nothing_unknown(document, hera.Workflow.model_validate(document).model_dump(by_alias=True, exclude_none=True))


def test_a_store_that_pods_do_not_see_is_refused() -> None:
    with pytest.raises(SettingError, match=r"expected s3://bucket/prefix"):
        workflow(run_of("/home/me/store"), PLACE)
    with pytest.raises(SettingError, match=r"expected s3://bucket/prefix"):
        workflow(run_of("/opt/python/store"), PLACE)
    assert workflow(run_of("/media/store"), PLACE)


def test_a_parameter_that_argo_would_fill_in_is_refused() -> None:
    with pytest.raises(SettingError, match="parameter 'media_root' holds double braces"):
        workflow(run_of(media_root="{{workflow.name}}"), PLACE)


def test_a_place_with_an_unknown_key_is_refused_by_its_path() -> None:
    with pytest.raises(SettingError, match=r"options\.retrys"):
        start(run_of(place=json.dumps({"namespace": "team", "options": {"retrys": 2}})))


def test_an_api_that_is_away_is_worth_another_try() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port}"):
        start(run_of(place=json.dumps({"namespace": "team", "patience_s": 0, "api": {"url": f"http://127.0.0.1:{port}"}})))


def test_the_settings_in_the_guide_are_a_place() -> None:
    part = (ROOT / "docs/guides/pipelines.md").read_text().partition("## On Argo\n")[2]
    block = re.findall(r"```json\n(.*?)```", part, re.DOTALL)[0]
    assert workflow(run_of(), read(ArgoPlace, block))["spec"]["serviceAccountName"] == "argo-step"
